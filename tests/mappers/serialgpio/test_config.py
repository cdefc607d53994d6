"""What people write: keys, notations, types that fit; words for mistakes are in tests/golden/config/serialgpio."""

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from edgehub.checking import checked
from mappers.sdk import Capability, ValueType
from mappers.sdk.capability import capabilities
from mappers.sdk.registry import Registry
from mappers.serialgpio import MAPPER
from mappers.serialgpio.config import SerialgpioConnection, SerialgpioDevice, SerialgpioScan
from mappers.serialgpio.exchange import exchange_of
from mappers.serialgpio.field import Field, FieldType, NotDecodable
from mappers.serialgpio.framing import NotFramable
from mappers.serialgpio.framing_config import FramingConfig
from mappers.serialgpio.point import SerialgpioPoint
from mappers.serialgpio.template import NotEncodable, check_template, filled, literal
from twin.manifest.yaml import Source

pytestmark = pytest.mark.fast

HERE = Path(__file__).parents[3] / "mappers" / "serialgpio"


class Entry:
    name = "serialgpio"
    value = "mappers.serialgpio:MAPPER"
    dist = None

    def load(self):
        return MAPPER


def test_a_sample_fits_and_shows_every_key():
    text = ""
    for path in sorted(HERE.glob("*.yaml")):
        checked([Source(path.name, path.read_bytes())], Registry([Entry()]))
        text += path.read_text(encoding="utf-8")
    readme = (HERE / "README.md").read_text(encoding="utf-8")
    for model in (SerialgpioConnection, SerialgpioDevice, SerialgpioPoint, FramingConfig):
        for field, known in model.model_fields.items():
            key = known.alias or field
            assert re.search(rf"\b{key}\b", text), f"{key} is in no sample"
            assert re.search(rf"\b{key}\b", readme), f"{key} is not in README.md"


def test_every_driver_offers_what_the_mapper_says():
    for config in ({}, {"backend": "frames"}, {"backend": "module", "module": "dcon"}):
        driver = MAPPER.driver(SerialgpioConnection.model_validate(config))
        assert capabilities(driver) == MAPPER.capabilities == {Capability.SUBSCRIBE, Capability.DISCOVER}


KUBEEDGE = """
apiVersion: devices.kubeedge.io/v1beta1
kind: DeviceModel
metadata: {name: adam, namespace: default}
spec:
  protocol: serialgpio
  properties:
    - {name: pump, type: BOOLEAN, accessMode: ReadWrite}
---
apiVersion: devices.kubeedge.io/v1beta1
kind: Device
metadata: {name: adam-1, namespace: default}
spec:
  deviceModelRef: {name: adam}
  nodeName: edge-node
  protocol:
    protocolName: serialgpio
    configData: {backend: module, module: dcon, serialPort: /dev/ttyUSB0, unit: "01"}
  properties:
    - name: pump
      collectCycle: 1000
      visitors:
        protocolName: serialgpio
        configData: {line: 0, direction: output}
"""


def test_documents_of_kubeedges_form_are_taken():
    checked([Source("kubeedge.yaml", KUBEEDGE.encode())], Registry([Entry()]))
    connection, device = MAPPER.split({"serialPort": "/dev/ttyUSB0", "unit": "01", "strange": 1})
    assert (connection, device) == ({"serialPort": "/dev/ttyUSB0", "strange": 1}, {"unit": "01"})


@pytest.mark.parametrize("name", ["serialgpio", "GPIO", "firmata"])
def test_a_protocol_name_finds_the_mapper(name):
    found = Registry([Entry()]).by_protocol(name)
    assert found is not None
    assert found.mapper is MAPPER


def test_the_speed_is_that_of_the_sketch_or_of_most_modules():
    assert SerialgpioConnection().speed == 57_600
    assert SerialgpioConnection(backend="frames").speed == 9600
    assert SerialgpioConnection(backend="frames", baud_rate=115_200).speed == 115_200
    assert not SerialgpioScan().probe


@pytest.mark.parametrize(
    ("address", "fits"),
    [
        ({"line": 2}, "BOOLEAN"),
        ({"line": 2, "edge": "both"}, "INT FLOAT DOUBLE"),
        ({"line": "A0", "kind": "analog"}, "INT FLOAT DOUBLE"),
        ({"match": "x"}, "INT FLOAT DOUBLE STRING BOOLEAN"),
        ({"write": "x"}, "INT FLOAT DOUBLE STRING BOOLEAN"),
        ({"type": "uint8"}, "INT FLOAT DOUBLE BOOLEAN"),
        ({"type": "uint8", "bit": 3}, "BOOLEAN"),
        ({"type": "float32"}, "INT FLOAT DOUBLE"),
        ({"type": "text"}, "STRING"),
        ({"type": "bytes"}, "BYTES"),
    ],
)
def test_types_that_fit(address, fits):
    point = SerialgpioPoint.model_validate(address)
    assert {kind.value for kind in ValueType if not point.mismatch(kind)} == set(fits.split())


@pytest.mark.parametrize(
    ("text", "value", "sent"),
    [
        ("V {value}", 3, b"V 3"),
        ("V {value}", 3.0, b"V 3"),
        ("V {value:.1f}", 2.25, b"V 2.2"),
        ("hex:A0 {value:04X}", 258.0, b"\xa0\x01\x02"),
        ("S {value}", "é", b"S \xc3\xa9"),
        ("{unit}{{{value}}}", 1, b"07{1}"),
    ],
)
def test_templates(text, value, sent):
    check_template(text, frozenset({"unit", "value"}))
    assert filled(text, unit="07", value=value) == sent


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{values}", "{values} in '{values}' is not known; {unit} and {value} can be filled in"),
        ("{", "'{' is no template: "),
        ("{value!r}", "has more than a format"),
        ("{value:{unit}}", "has more than a format"),
        ("{value.__class__}", "is not known"),
        ("{0}", "{0} in '{0}' is not known"),
    ],
)
def test_what_is_no_template(text, said):
    with pytest.raises(ValueError, match=re.escape(said)):
        check_template(text, frozenset({"unit", "value"}))


@given(st.text(max_size=20), st.one_of(st.integers(), st.floats(), st.text(max_size=5), st.booleans()))
def test_a_checked_template_gives_bytes_or_the_declared_refusal(text, value):
    try:
        check_template(text, frozenset({"value"}))
    except ValueError:
        return
    try:
        assert isinstance(filled(text, value=value), bytes)
    except NotEncodable as error:
        assert str(error)  # noqa: PT017  # either is fine


def test_a_format_cannot_ask_for_megabytes():
    with pytest.raises(NotEncodable, match="too wide"):
        filled("{value:99999999d}", value=1)


def test_literals():
    assert literal("hex:0d 0A") == b"\r\n"
    assert literal("\r") == b"\r"
    with pytest.raises(ValueError, match="is not hexadecimal"):
        literal("hex:0")


@pytest.mark.parametrize(
    ("text", "kind", "value"),
    [
        ("x=12", ValueType.INT, 12),
        ("x=12.5", ValueType.INT, 12.5),  # the SDK rounds
        ("x=12", ValueType.DOUBLE, 12.0),
        ("x=on", ValueType.BOOLEAN, True),
        ("x=0", ValueType.BOOLEAN, False),
        ("x=on", ValueType.STRING, "on"),
    ],
)
def test_values_in_text(text, kind, value):
    found = Field(match=re.compile(r"x=(\S+)")).decode(text.encode(), kind)
    assert found == value
    assert type(found) is type(value)


def test_words_for_on_and_off():
    field = Field(match=re.compile(r"\w+"), words=("OPEN", "SHUT"))
    assert field.decode(b"OPEN", ValueType.BOOLEAN) is True
    assert field.decode(b"SHUT", ValueType.BOOLEAN) is False
    with pytest.raises(NotDecodable, match="neither on nor off"):
        field.decode(b"AJAR", ValueType.BOOLEAN)


@given(
    st.binary(max_size=40),
    st.sampled_from([None, *FieldType]),
    st.integers(0, 9),
    st.integers(0, 9),
    st.sampled_from(ValueType),
)
def test_a_message_has_the_value_or_not(payload, kind, at, length, value_type):
    field = Field(match=None if kind else re.compile("(.*)x?"), type=kind, at=at, length=length)
    if field.accepts(payload):
        try:
            field.decode(payload, value_type)
        except NotDecodable as error:
            assert str(error)  # noqa: PT017  # either is fine


@given(
    st.fixed_dictionaries(
        {"type": st.sampled_from(["line", "fixed", "length", "stx", "slip"])},
        optional={
            "end": st.sampled_from(["", "\r", "hex:03", "x" * 9]),
            "sendEnd": st.sampled_from(["", "\r"]),
            "start": st.sampled_from(["", "hex:02", "hex:A5 5A"]),
            "escape": st.sampled_from(["", "hex:10"]),
            "length": st.integers(1, 9),
            "lengthBytes": st.sampled_from([1, 2, 4]),
            "lengthExtra": st.integers(0, 3),
            "crc": st.sampled_from(["none", "sum8", "crc16-modbus"]),
            "crcText": st.booleans(),
        },
    ),
    st.binary(min_size=1, max_size=9),
)
def test_a_framing_that_is_accepted_carries_messages(settings, payload):
    try:
        config = FramingConfig.model_validate(settings)
    except ValidationError:
        return
    try:
        sent = config.framed(payload)
    except NotFramable:
        return
    if config.type == "fixed" and config.length != len(payload):
        return  # what is sent may have another length than what comes
    if config.send_end and config.send_end != config.end:
        return
    assert config.framer().feed(sent) == [payload]


def test_what_a_point_says_is_asked_and_sent():
    point = SerialgpioPoint.model_validate({"request": "{unit}R", "match": "=(.)", "write": "{unit}W{value:d}"})
    exchange = exchange_of(point, "5")
    assert (exchange.request, exchange.write(True)) == (b"5R", b"5W1")
    assert exchange_of(SerialgpioPoint(write="{value}"), "").write(False) == b"0"
