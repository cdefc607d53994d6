"""What people may write, in our form and in KubeEdge's, and what they are told otherwise."""

from __future__ import annotations

import re
from importlib.resources import files

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from mappers.modbus import MAPPER
from mappers.modbus.config import ModbusConnection, ModbusDevice, split_kubeedge
from mappers.modbus.encoding import Encoding, Order, RawType
from mappers.modbus.plan import Table
from mappers.modbus.point import ModbusPoint
from mappers.sdk import ValueType

pytestmark = pytest.mark.fast


def point(**keys):
    return ModbusPoint.model_validate(keys)


def problem(model, keys):
    with pytest.raises(ValidationError) as caught:
        model.model_validate(keys)
    (error,) = caught.value.errors()
    return error["msg"].removeprefix("Value error, ")


def test_connection_has_a_default_for_all_but_the_host():
    config = ModbusConnection.model_validate({"host": "plc"})
    assert (config.transport, config.port, config.timeout_ms, config.retries) == ("tcp", 502, 1000, 0)
    assert (config.max_block, config.max_block_bits, config.gap) == (125, 2000, None)


def test_camel_case_and_snake_case_are_the_same():
    camel = {"serialPort": "/dev/ttyS0", "baudRate": 19200, "dataBits": 8, "stopBits": 2, "timeoutMs": 300}
    snake = {"serial_port": "/dev/ttyS0", "baudrate": 19200, "data_bits": 8, "stop_bits": 2, "timeout_ms": 300}
    both = [ModbusConnection.model_validate({"transport": "rtu", **keys}) for keys in (camel, snake)]
    assert both[0] == both[1]


@pytest.mark.parametrize(
    ("written", "parity"),
    [("even", "even"), ("E", "even"), ("odd", "odd"), ("O", "odd"), ("N", "none"), ("None", "none"), ("", "none")],
)
def test_parity_is_a_word_or_a_letter(written, parity):
    assert ModbusConnection.model_validate({"serialPort": "/dev/x", "parity": written}).parity == parity


@pytest.mark.parametrize(
    ("keys", "text"),
    [
        ({}, "transport tcp needs a host; for example host: 192.168.1.10 (KubeEdge's key is ip)"),
        ({"transport": "rtu"}, "transport rtu needs a serialPort; for example serialPort: /dev/ttyUSB0"),
        ({"host": "a", "hots": "b"}, "Extra inputs are not permitted"),
        ({"host": "a", "maxBlock": 126}, "Input should be less than or equal to 125"),
        ({"host": "a", "transport": "udp"}, "Input should be 'tcp', 'tls', 'rtu', 'ascii' or 'rtuOverTcp'"),
        ({"transport": "tls"}, "transport tls needs a host; for example host: 192.168.1.10 (KubeEdge's key is ip)"),
        ({"transport": "ascii"}, "transport ascii needs a serialPort; for example serialPort: /dev/ttyUSB0"),
        (
            {"host": "a", "transport": "rtuOverTcp", "serverName": "b"},
            "serverName means nothing to transport rtuOverTcp; use transport: tls, or leave serverName out",
        ),
        (
            {"host": "a", "transport": "tls", "certificate": "/c.pem"},
            "certificate and privateKey go together; give both, or none if the host asks for none",
        ),
        (
            {"serialPort": "/dev/x", "connections": 2},
            "connections 2 go with a host, not with a serial port; leave connections out",
        ),
        (
            {"serialPort": "/dev/x", "dataBits": 7},
            "dataBits 7 cannot carry the bytes of rtu; use dataBits: 8, or transport: ascii",
        ),
        ({"serialPort": "/dev/x", "parity": "mark"}, "Input should be 'none', 'even' or 'odd'"),
    ],
)
def test_connection_errors_say_what_to_write(keys, text):
    assert problem(ModbusConnection, keys) == text


@pytest.mark.parametrize("unit", [0, 1, 247, 255])
def test_units(unit):
    assert ModbusDevice.model_validate({"unit": unit}).unit == unit
    assert ModbusDevice.model_validate({"slaveID": unit}).unit == unit


@pytest.mark.parametrize("unit", [-1, 248, 254, 256])
def test_units_that_do_not_exist(unit):
    assert problem(ModbusDevice, {"unit": unit}) == (f"unit {unit} is not 0 to 247, or 255 on TCP; for example unit: 1")


def test_kubeedge_keys_of_one_map_are_split():
    keys = {"ip": "10.0.0.5", "port": "1502", "slaveID": "3", "timeout": 2, "customizedValues": {"a": 1}}
    connection, device = split_kubeedge(keys)
    config = ModbusConnection.model_validate(connection)
    assert (config.transport, config.host, config.port, config.timeout_ms) == ("tcp", "10.0.0.5", 1502, 2000)
    assert ModbusDevice.model_validate(device).unit == 3


def test_kubeedge_serial_keys():
    keys = {"serialPort": "/dev/ttyS1", "baudRate": 19200, "dataBits": 8, "parity": "even", "stopBits": 1, "slaveID": 7}
    connection, device = split_kubeedge(keys)
    config = ModbusConnection.model_validate(connection)
    assert (config.transport, config.serial_port, config.baudrate, config.parity) == (
        "rtu",
        "/dev/ttyS1",
        19200,
        "even",
    )
    assert device == {"slaveID": 7}


def test_groups_of_the_older_kubeedge_api_are_opened():
    connection, device = split_kubeedge({"modbus": {"slaveID": 9}, "tcp": {"ip": "h", "port": 503}, "commType": "tcp"})
    assert ModbusConnection.model_validate(connection).port == 503
    assert ModbusDevice.model_validate(device).unit == 9


@pytest.mark.parametrize(("timeout", "timeout_ms"), [(1, 1000), ("1.5", 1500), (500, 500), (3000, 3000)])
def test_kubeedge_timeout_below_100_is_in_seconds(timeout, timeout_ms):
    assert ModbusConnection.model_validate({"ip": "h", "timeout": timeout}).timeout_ms == timeout_ms


def test_native_point():
    found = point(table="holding", address=4, type="float32", wordOrder="little", scale=0.1, offset=-40)
    assert found.encoding(ValueType.FLOAT) == Encoding(RawType.FLOAT32, 2, Order.BIG, Order.LITTLE)
    assert (found.scale, found.offset) == (0.1, -40)


def test_bit_and_coil_need_no_type():
    assert point(table="holding", address=0, bit=3).encoding(ValueType.BOOLEAN).type is RawType.BOOL
    assert point(table="coil", address=0).encoding(ValueType.BOOLEAN).type is RawType.BOOL


NUMBERING = "Modbus addresses start at 0 - did you mean 40001-style numbering? use address: {} with table: {}"


@pytest.mark.parametrize(
    ("keys", "text"),
    [
        (
            {"table": "holding", "address": 70000, "type": "int16"},
            "address 70000 is over 65535; " + NUMBERING.format(0, "holding"),
        ),
        (
            {"table": "holding", "address": 400101, "type": "int16"},
            "address 400101 is over 65535; " + NUMBERING.format(100, "holding"),
        ),
        (
            {"table": "input", "address": 300001, "type": "int16"},
            "address 300001 is over 65535; " + NUMBERING.format(0, "input"),
        ),
        (
            {"table": "holding", "address": -1, "type": "int16"},
            "address -1 is below 0; Modbus addresses are 0 to 65535",
        ),
        (
            {"table": "holding", "address": 65535, "type": "int32"},
            "address 65535 with 2 registers ends at 65536, over 65535; the value must lie inside the address space",
        ),
        (
            {"table": "coil", "address": 0, "type": "int16"},
            "a coil is one bit: its type is bool, not int16; leave type out",
        ),
        (
            {"table": "discrete", "address": 0, "bit": 1},
            "bit picks a bit of a register; a discrete is one bit already, leave bit out",
        ),
        (
            {"table": "holding", "address": 0, "bit": 1, "type": "uint16"},
            "bit 1 of a register is of type bool, not uint16; leave type out",
        ),
        (
            {"table": "holding", "address": 0},
            "type is missing; for example type: uint16 (or length, to use the property's)",
        ),
        (
            {"table": "holding", "address": 0, "type": "string"},
            "a string needs its length in registers; for example length: 8",
        ),
        (
            {"table": "holding", "address": 0, "type": "int32", "length": 4},
            "a int32 has 2 registers, not 4; leave length out",
        ),
        (
            {"table": "holding", "address": 0, "bits": 3},
            "bits 3 is the width of a field, whose lowest bit is missing; for example bit: 4",
        ),
        (
            {"table": "holding", "address": 0, "bit": 14, "bits": 3},
            "bits 3 from bit 14 reach beyond the register; bit and bits make at most 16",
        ),
        (
            {"table": "holding", "address": 0, "bit": 1, "bits": 3, "type": "int16"},
            "a field of 3 bits is a whole number, not int16; leave type out",
        ),
        (
            {"table": "discrete", "address": 0, "bits": 2},
            "bits picks bits of a register; a discrete is one bit already, leave bits out",
        ),
        ({"table": "holding", "address": 0, "type": "int16", "adress": 1}, "Extra inputs are not permitted"),
        ({"table": "holding", "address": 0, "type": "int16", "bit": 16}, "Input should be less than or equal to 15"),
        (
            {"register": "Holding Tank", "offset": 0},
            "register 'Holding Tank' is not known; use one of CoilRegister, DiscreteInputRegister, InputRegister,"
            " HoldingRegister",
        ),
        (
            {"register": "HoldingRegister"},
            "offset is missing: in a visitor with the key register it is the address; for example offset: 0",
        ),
        (
            {"register": "HoldingRegister", "offset": 0, "limit": 0},
            "limit 0 is not a count of registers; for example limit: 2",
        ),
        (
            {"register": "HoldingRegister", "offset": 0, "isSwap": "maybe"},
            "isSwap 'maybe' is not true or false; for example isSwap: true",
        ),
        (
            {"register": "HoldingRegister", "offset": 0, "limit": 1, "dataType": "float32"},
            "dataType float32 has 2 registers, but limit is 1; use limit: 2",
        ),
        (
            {"register": "HoldingRegister", "offset": 0, "limit": 3, "dataType": "int"},
            "dataType int does not have 3 registers; use a limit of 1 or 2 or 4",
        ),
        (
            {"register": "HoldingRegister", "offset": 70000},
            "address 70000 is over 65535; " + NUMBERING.format(0, "holding"),
        ),
    ],
)
def test_point_errors_say_what_to_write(keys, text):
    assert problem(ModbusPoint, keys) == text


@pytest.mark.parametrize(
    ("register", "table"),
    [
        ("CoilRegister", Table.COIL),
        ("coil", Table.COIL),
        ("DiscreteInputRegister", Table.DISCRETE),
        ("discrete", Table.DISCRETE),
        ("InputRegister", Table.INPUT),
        ("INPUT", Table.INPUT),
        ("HoldingRegister", Table.HOLDING),
        ("holdingregisters", Table.HOLDING),
    ],
)
def test_kubeedge_register_names(register, table):
    assert point(register=register, offset=2, limit=1).table is table


@pytest.mark.parametrize(
    ("limit", "value_type", "raw_type"),
    [
        (1, ValueType.INT, RawType.INT16),
        (2, ValueType.INT, RawType.INT32),
        (4, ValueType.INT, RawType.INT64),
        (1, ValueType.FLOAT, RawType.INT16),
        (2, ValueType.FLOAT, RawType.FLOAT32),
        (2, ValueType.DOUBLE, RawType.FLOAT32),
        (4, ValueType.DOUBLE, RawType.FLOAT64),
        (5, ValueType.STRING, RawType.STRING),
        (1, ValueType.BOOLEAN, RawType.BOOL),
    ],
)
def test_kubeedge_point_without_data_type_is_read_as_its_property(limit, value_type, raw_type):
    found = point(register="HoldingRegister", offset=2, limit=limit).encoding(value_type)
    assert (found.type, found.registers) == (raw_type, limit)


def test_property_type_that_does_not_fit_the_limit():
    with pytest.raises(ValueError, match=r"type INT cannot be read from 3 registers without a type \(1, 2, 4 would do"):
        point(register="HoldingRegister", offset=0, limit=3).encoding(ValueType.INT)


def test_kubeedge_offset_is_the_address_and_swaps_are_orders():
    found = point(
        register="HoldingRegister", offset=2, limit=2, scale=0.5, isSwap=True, isRegisterSwap=True, extra="tolerated"
    )
    assert (found.address, found.offset, found.scale) == (2, 0.0, 0.5)
    assert found.encoding(ValueType.INT) == Encoding(RawType.INT32, 2, Order.LITTLE, Order.LITTLE)


def test_kubeedge_scale_of_zero_is_one_not_given():
    assert point(register="HoldingRegister", offset=2, scale=0).scale == 1.0


@pytest.mark.parametrize(
    ("name", "limit", "raw_type"),
    [
        ("int16", 1, "int16"),
        ("float", 2, "float32"),
        ("int", 4, "int64"),
        ("string", 6, "string"),
        ("boolean", 1, "bool"),
    ],
)
def test_kubeedge_data_type(name, limit, raw_type):
    assert point(register="HoldingRegister", offset=0, limit=limit, dataType=name).type == raw_type


def test_kubeedge_coil():
    found = point(register="CoilRegister", offset=3, limit=1, dataType="boolean", isSwap=False)
    assert found.encoding(ValueType.BOOLEAN) == Encoding(RawType.BOOL, 1)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=5), inner, max_size=2),
    max_leaves=4,
)
KEYS = ["table", "address", "type", "bit", "length", "register", "offset", "limit", "dataType", "isSwap", "scale"]


@given(st.dictionaries(st.sampled_from(KEYS), JSON | st.sampled_from(["holding", "coil", "int16", "Coil"])))
def test_whatever_is_written_gives_a_point_or_a_validation_error(keys):
    try:
        found = ModbusPoint.model_validate(keys)
    except ValidationError:
        return
    assert 1 <= found.registers <= 125


def test_mapper_names_its_models():
    assert (MAPPER.connection, MAPPER.device, MAPPER.point) == (ModbusConnection, ModbusDevice, ModbusPoint)
    assert MAPPER.connection.model_json_schema()["properties"].keys() >= {"host", "serialPort", "baudRate"}
    assert "unit" in MAPPER.device.model_json_schema()["properties"]


@pytest.mark.parametrize(
    ("keys", "text"),
    [
        (
            {"register": "HoldingRegister", "offset": 0, "dataType": "decimal"},
            "dataType 'decimal' is not known; use one of bool, uint16,",
        ),
        ({"register": "HoldingRegister", "offset": 0, "limit": "two"}, "limit 'two' is not a count of registers"),
    ],
)
def test_kubeedge_point_errors_begin_with_the_key(keys, text):
    assert problem(ModbusPoint, keys).startswith(text)


def test_kubeedge_timeout_that_is_no_number_is_named():
    assert problem(ModbusConnection, {"ip": "h", "timeout": "soon"}).startswith("Input should be a valid integer")


def test_sample_is_valid_and_names_every_option_with_its_default():
    text = (files("mappers.modbus") / "sample.yaml").read_text()
    model, connection, device = yaml.safe_load_all(text)
    ModbusConnection.model_validate(connection["spec"]["config"])
    ModbusDevice.model_validate(device["spec"]["address"])
    types = {each["name"]: ValueType(each["type"]) for each in model["spec"]["properties"]}
    for each in device["spec"]["properties"]:
        ModbusPoint.model_validate(each["visitors"]["configData"]).encoding(types[each["name"]])
    shown = yaml.safe_load("\n".join(re.findall(r"^    # (\w+: \S+)$", text, re.MULTILINE)))
    defaults = {field.alias: field.default for field in ModbusConnection.model_fields.values()}
    assert shown == {key: value for key, value in defaults.items() if key not in ("transport", "host")}
    written = set().union(*(each["visitors"]["configData"] for each in device["spec"]["properties"]))
    assert written >= {field.alias for field in ModbusPoint.model_fields.values()}
