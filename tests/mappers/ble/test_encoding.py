"""Bytes to values and back: vectors of the specifications, and rules that hold for every value."""

import base64
import contextlib
import math
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mappers.ble.encoding import Encoding, NotDecodable, NotEncodable
from mappers.ble.numbers import NoValue, medfloat, medfloat_raw, signed
from mappers.ble.rawtype import RawType
from mappers.ble.uuids import assigned, full_uuid, short_uuid
from twin.model import ValueType

pytestmark = pytest.mark.fast

INT, FLOAT, TEXT, BYTES, BOOL = ValueType.INT, ValueType.FLOAT, ValueType.STRING, ValueType.BYTES, ValueType.BOOLEAN
NUMBERS = [kind for kind in RawType if kind.startswith(("uint", "int", "float", "medfloat"))]
WHOLE = [kind for kind in RawType if kind.whole]


@pytest.mark.parametrize(
    ("raw", "bits", "value"),
    [
        (0xFF00016C, 32, 36.4),  # a thermometer's example in IEEE 11073-20601
        (0x00000072, 32, 114.0),
        (0xFE000E42, 32, 36.5),
        (0x0072, 16, 114.0),
        (0xF16C, 16, 36.4),
        (0xF000 | 0xFFF, 16, -0.1),
        (0x8001, 16, 1e-8),
        (0x7801, 16, -2047e7),
        (0x07FD, 16, 2045.0),
        (0x17FE, 16, 20460.0),  # special only with exponent 0
    ],
)
def test_a_medical_float_of_the_standard(raw, bits, value):
    assert medfloat(raw, bits) == value


@pytest.mark.parametrize(
    ("raw", "bits", "says"),
    [
        (0x07FF, 16, "not a number"),
        (0x0800, 16, "not at this resolution"),
        (0x07FE, 16, "infinite"),
        (0x0802, 16, "infinite"),
        (0x0801, 16, "reserved"),
        (0x007FFFFF, 32, "not a number"),
        (0x00800000, 32, "not at this resolution"),
        (0x007FFFFE, 32, "infinite"),
        (0x00800002, 32, "infinite"),
    ],
)
def test_a_medical_float_that_is_no_number(raw, bits, says):
    with pytest.raises(NoValue, match=says):
        medfloat(raw, bits)


@given(st.integers(0, 0xFFFF))
def test_every_medical_float_of_16_bits_keeps_its_value(raw):
    try:
        value = medfloat(raw, 16)
    except NoValue:
        return
    if abs(value) <= 2045e7:
        again = medfloat(medfloat_raw(value, 16), 16)
        special = abs(signed(raw & 0xFFF, 12)) > 2045  # read with an exponent, never written: a digit less
        assert math.isclose(again, value, rel_tol=1 / 400) if special else again == value


@given(st.floats(-1e100, 1e100), st.sampled_from([16, 32]))
def test_a_medical_float_is_as_near_as_its_digits_allow(value, bits):
    try:
        again = medfloat(medfloat_raw(value, bits), bits)
    except ValueError:
        assert bits == 16
        assert abs(value) > 2045e7 * 0.9999
        return
    smallest = 10.0 ** (-8 if bits == 16 else -128)
    assert abs(again - value) <= max(smallest, abs(value) / (400 if bits == 16 else 1_670_000 / 2))


@pytest.mark.parametrize("value", [math.inf, math.nan])
def test_a_medical_float_is_finite(value):
    with pytest.raises(ValueError, match="has no medfloat16"):
        medfloat_raw(value, 16)


@pytest.mark.parametrize(
    ("encoding", "given_", "wanted", "value"),
    [
        (Encoding(RawType.INT16, divisor=100), "d007", FLOAT, 20.0),
        (Encoding(RawType.INT16, divisor=100), "30f8", FLOAT, -20.0),
        (Encoding(RawType.UINT24), "010203", INT, 0x030201),
        (Encoding(RawType.UINT24, big=True), "010203", INT, 0x010203),
        (Encoding(RawType.INT24), "ffffff", INT, -1),
        (Encoding(RawType.INT40, at=1), "00ffffffff7f", INT, 2**39 - 1),
        (Encoding(RawType.UINT8, at=2), "010203", INT, 3),
        (Encoding(RawType.UINT8, bit=4, bits=2), "2f", INT, 2),
        (Encoding(RawType.INT8, bit=4, bits=2), "2f", INT, -2),
        (Encoding(RawType.UINT16, big=True, bit=15), "8000", INT, 1),
        (Encoding(RawType.BOOLEAN), "02", BOOL, True),
        (Encoding(RawType.BOOLEAN, bit=0), "02", BOOL, False),
        (Encoding(RawType.FLOAT16), "003c", FLOAT, 1.0),
        (Encoding(RawType.FLOAT32), "0000803f", FLOAT, 1.0),
        (Encoding(RawType.FLOAT64, big=True), "3ff0000000000000", FLOAT, 1.0),
        (Encoding(RawType.MEDFLOAT32, at=1), "006c0100ff", FLOAT, 36.4),
        (Encoding(RawType.MEDFLOAT16), "6cf1", FLOAT, 36.4),
        (Encoding(RawType.UTF8), "c3a900", TEXT, "é"),
        (Encoding(RawType.UTF8, length=2), "414243", TEXT, "AB"),
        (Encoding(RawType.UTF8), "", TEXT, ""),
        (Encoding(RawType.BYTES, at=1), "0102", BYTES, "Ag=="),
        (Encoding(RawType.UINT8, at=1, wider=RawType.UINT16), "0048", INT, 72),
        (Encoding(RawType.UINT8, at=1, wider=RawType.UINT16), "014801", INT, 328),
        (Encoding(), "2a01", INT, 298),
        (Encoding(big=True), "2a01", INT, 0x2A01),
        (Encoding(), "0000803f", FLOAT, 1.0),
        (Encoding(), "414200", TEXT, "AB"),
        (Encoding(), "0001", BOOL, True),
        (Encoding(), "0001", BYTES, "AAE="),
        (Encoding(names={"ON": b"\1", "OFF": b"\0"}), "01", TEXT, "ON"),
    ],
)
def test_bytes_are_read_as_the_field_says(encoding, given_, wanted, value):
    assert encoding.decode(bytes.fromhex(given_), wanted) == value


@pytest.mark.parametrize(
    ("encoding", "given_", "wanted", "says"),
    [
        (Encoding(RawType.UINT16), "01", INT, r"1 bytes came \(01\), 2 are needed"),
        (Encoding(RawType.UINT16, at=9), "01", INT, "11 are needed"),
        (Encoding(RawType.UTF8, at=9), "01", TEXT, "10 are needed"),
        (Encoding(RawType.UTF8), "ff", TEXT, "is not UTF-8 text"),
        (Encoding(), "", INT, "1 are needed|without a type"),
        (Encoding(), "010203", FLOAT, "without a type"),
        (Encoding(), "01", ValueType.JSON, "without a type"),
    ],
)
def test_bytes_that_are_no_value_are_refused_in_words(encoding, given_, wanted, says):
    with pytest.raises(NotDecodable, match=says):
        encoding.decode(bytes.fromhex(given_), wanted)


def test_a_raw_number_that_means_not_known_is_no_value():
    with pytest.raises(NoValue, match="0x8000"):
        Encoding(RawType.INT16, unknown=(0x8000,)).decode(b"\x00\x80", FLOAT)


@given(st.data(), st.sampled_from(WHOLE), st.booleans(), st.integers(0, 3))
def test_a_whole_number_comes_back(drawn, kind, big, at):
    bits = 8 * kind.size
    low, high = (0, 2**bits - 1) if kind.startswith("u") else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
    value = drawn.draw(st.integers(low, high))
    held = drawn.draw(st.binary(max_size=12))
    encoding = Encoding(kind, at=at, big=big)
    written = encoding.encode(value, INT, held)
    assert encoding.decode(written, INT) == value
    for outside in (low - 1, high + 1):
        with pytest.raises(NotEncodable):
            encoding.encode(outside, INT)


@given(st.data(), st.sampled_from([kind for kind in WHOLE if kind.startswith("u")]), st.booleans())
def test_writing_bits_leaves_the_others(drawn, kind, big):
    size = kind.size
    bit = drawn.draw(st.integers(0, 8 * size - 1))
    bits = drawn.draw(st.integers(1, 8 * size - bit))
    held = drawn.draw(st.binary(min_size=size + 1, max_size=size + 3))
    value = drawn.draw(st.integers(0, 2**bits - 1))
    encoding = Encoding(kind, at=1, big=big, bit=bit, bits=bits)
    written = encoding.encode(value, INT, held)
    assert encoding.decode(written, INT) == value
    mask = ((1 << bits) - 1) << bit
    order = "big" if big else "little"
    before, after = (int.from_bytes(one[1 : 1 + size].ljust(size, b"\0"), order) for one in (held, written))
    assert before & ~mask == after & ~mask
    assert (written[:1], written[1 + size :]) == (held[:1], held[1 + size :])


@given(st.sampled_from(list(RawType)), st.sampled_from(list(ValueType)), st.binary(max_size=24), st.integers(0, 30))
def test_whatever_bytes_come_are_a_value_or_refused(kind, wanted, given_, at):
    for encoding in (Encoding(kind, at=at), Encoding(kind, big=True, divisor=10), Encoding(kind, length=4)):
        with contextlib.suppress(NotDecodable, NoValue):
            value = encoding.decode(given_, wanted)
            assert isinstance(value, bool | int | float | str)


@given(
    st.sampled_from(list(RawType)),
    st.sampled_from(list(ValueType)),
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(), st.lists(st.integers())),
    st.binary(max_size=9),
)
def test_whatever_value_is_written_has_bytes_or_is_refused_in_words(kind, wanted, value, held):
    for encoding in (Encoding(kind), Encoding(kind, at=2, multiplier=5), Encoding(kind, length=3)):
        with contextlib.suppress(NotEncodable):
            assert isinstance(encoding.encode(value, wanted, held), bytes)


@pytest.mark.parametrize(
    ("encoding", "value", "wanted", "held", "written"),
    [
        (Encoding(RawType.INT16, divisor=100), -20.0, FLOAT, "", "30f8"),
        (Encoding(RawType.UTF8, length=4), "AB", TEXT, "", "41420000"),
        (Encoding(RawType.BYTES), base64.b64encode(b"\1\2").decode(), BYTES, "", "0102"),
        (Encoding(names={"ON": b"\1"}), "ON", TEXT, "", "01"),
        (Encoding(RawType.BOOLEAN, bit=3), True, BOOL, "f0", "f8"),
        (Encoding(), 300, INT, "0000", "2c01"),
        (Encoding(), 300, INT, "", "2c01"),
        (Encoding(), 1.0, FLOAT, struct.pack("<f", 0).hex(), "0000803f"),
        (Encoding(), True, BOOL, "", "01"),
    ],
)
def test_values_are_written_as_the_field_says(encoding, value, wanted, held, written):
    assert encoding.encode(value, wanted, bytes.fromhex(held)).hex() == written


@pytest.mark.parametrize(
    ("text", "full"),
    [
        ("2A6E", "00002a6e-0000-1000-8000-00805f9b34fb"),
        ("0x2a6e", "00002a6e-0000-1000-8000-00805f9b34fb"),
        ("f000aa0104514000b000000000000000", "f000aa01-0451-4000-b000-000000000000"),
        ("F000AA01-0451-4000-B000-000000000000", "f000aa01-0451-4000-b000-000000000000"),
    ],
)
def test_a_uuid_of_any_form_is_one(text, full):
    assert full_uuid(text) == full
    assert full_uuid(short_uuid(full)) == full


def test_a_uuid_that_is_none_is_refused():
    assert assigned(full_uuid("2A6E")) == 0x2A6E
    assert assigned(full_uuid("f000aa01-0451-4000-b000-000000000000")) is None
    with pytest.raises(ValueError, match="'2A6' is not a UUID; for example 2A6E"):
        full_uuid("2A6")
