"""Standard characteristics and presentation formats."""

import pytest
from bleak.uuids import normalize_uuid_16, uuidstr_to_str
from hypothesis import given
from hypothesis import strategies as st

from mappers.ble.rawtype import RawType
from mappers.ble.standard import STANDARDS, presented
from twin.model import ValueType

pytestmark = pytest.mark.fast


@pytest.mark.parametrize("number", STANDARDS, ids=lambda number: f"{number:04X}")
def test_a_standard_characteristic_has_the_name_that_the_sig_gave_its_number(number):
    assigned = uuidstr_to_str(normalize_uuid_16(number)).replace("\textsubscript{2}", "\u2082")
    assert assigned.lower() == STANDARDS[number].title.lower()


@pytest.mark.parametrize(
    ("number", "given_", "value"),
    [
        (0x2A19, "64", 100),
        (0x2A6E, "c509", 25.01),
        (0x2A6D, "e67a0f00", 101450.2),
        (0x2A37, "004b", 75),
        (0x2A37, "012c01", 300),
        (0x2A1C, "006c0100ff", 36.4),
        (0x2B18, "4003", 13.0),
        (0x2A29, "41636d65", "Acme"),
    ],
)
def test_a_standard_characteristic_is_read(number, given_, value):
    standard = STANDARDS[number]
    assert standard.encoding.decode(bytes.fromhex(given_), standard.type) == value


@pytest.mark.parametrize(
    ("given_", "type_", "divisor", "multiplier", "unit", "fits"),
    [
        ("0efe2f27010000", RawType.INT16, 100, 1, "°C", ValueType.DOUBLE),
        ("0400ad27010000", RawType.UINT8, 1, 1, "%", ValueType.INT),
        ("06022427010000", RawType.UINT16, 1, 100, "Pa", ValueType.INT),
        ("14000127010000", RawType.FLOAT32, 1, 1, "m", ValueType.DOUBLE),
        ("19000027010000", RawType.UTF8, 1, 1, "", ValueType.STRING),
        ("0600ff27010000", RawType.UINT16, 1, 1, "0x27FF", ValueType.INT),
    ],
)
def test_a_presentation_format_is_read(given_, type_, divisor, multiplier, unit, fits):
    said = presented(bytes.fromhex(given_))
    assert said is not None
    encoding = said.encoding
    assert (encoding.type, encoding.divisor, encoding.multiplier, said.unit) == (type_, divisor, multiplier, unit)
    assert said.type is fits


@given(st.binary(max_size=9))
def test_whatever_a_presentation_format_says(given_):
    said = presented(given_)
    assert said is None or said.encoding.type in RawType
