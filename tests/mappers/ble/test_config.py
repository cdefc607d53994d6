"""What people write: native and KubeEdge's keys, and words for each class of mistake."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from mappers.ble.config import BleConnection, BleDevice, BleScan, split_kubeedge
from mappers.ble.point import BlePoint
from mappers.ble.rawtype import RawType
from twin.model import ValueType

pytestmark = pytest.mark.fast

MAC = {"mac": "c4:7c:8d:6a:12:34"}


@pytest.mark.parametrize(
    ("model", "given_", "text"),
    [
        (BleDevice, {"mac": "x"}, "mac 'x' is not a Bluetooth address; for example mac: C4:7C:8D:6A:12:34"),
        (BleDevice, {**MAC, "bindkey": "12"}, "bindkey is not 32 hexadecimal digits; copy it from the sensor's own"),
        (BleConnection, {"adapter": "usb0"}, "adapter 'usb0' is not the name of an adapter; for example adapter: hci0"),
        (BleConnection, {"timeoutMs": 0}, "Input should be greater than or equal to 1"),
        (BleScan, {"seconds": 0}, "Input should be greater than 0"),
        (BlePoint, {}, "characteristic is missing; for example characteristic: 2A6E (or serviceData, "),
        (BlePoint, {"characteristic": "2A6"}, "'2A6' is not a UUID; for example 2A6E or "),
        (BlePoint, {"characteristic": "2A6E", "bthome": "battery"}, "characteristic and bthome are given together; "),
        (BlePoint, {"serviceData": "FCD2", "service": "180F"}, "service tells which of several characteristics is "),
        (BlePoint, {"bthome": "heat death"}, "bthome 'heat death' is not the name of an object; for "),
        (BlePoint, {"characteristic": "2A6E", "type": "int17"}, "Input should be 'auto', 'boolean', "),
        (BlePoint, {"characteristic": "2A6E", "bits": 3}, "bits is the width of a bit field; add bit, its lowest bit"),
        (BlePoint, {"characteristic": "2A6E", "bit": 3}, "bit is for whole numbers, type is auto; for example "),
        (
            BlePoint,
            {"characteristic": "2A6E", "type": "uint8", "bit": 7, "bits": 2},
            "bit 8 is beyond a uint8; use a wider type, or fewer bits",
        ),
        (
            BlePoint,
            {"characteristic": "2A6E", "type": "uint8", "length": 1},
            "length is for utf8, bytes and auto; a uint8 has 1: remove length",
        ),
        (BlePoint, {"characteristic": "FF01", "names": {"ON": "x"}}, "names 'ON': 'x' is not hexadecimal bytes; for "),
        (BlePoint, {"manufacturerData": 70000}, "Input should be less than or equal to 65535"),
        (BlePoint, {"characteristicUUID": "FF01", "dataWrite": {"ON": [300]}}, "dataWrite 'ON': [300] is not a list "),
        (BlePoint, {"characteristicUUID": "FF01", "dataWrite": [1]}, "dataWrite is not a map of words to bytes; for "),
        (BlePoint, {"characteristicUUID": "FF01", "dataConverter": 1}, "dataConverter is not a map; for example "),
        (BlePoint, {"characteristicUUID": "FF01", "dataConverter": {"startIndex": -1}}, "startIndex -1 is not a whole"),
        (BlePoint, {"characteristicUUID": "FF01", "dataConverter": {"endIndex": 8}}, "dataConverter has 9 bytes from "),
        (
            BlePoint,
            {"characteristicUUID": "FF01", "dataConverter": {"startIndex": 0, "shiftRight": 8}},
            "shiftRight 8 leaves nothing of 1 bytes; use less than 8",
        ),
        (
            BlePoint,
            {
                "characteristicUUID": "FF01",
                "dataConverter": {"startIndex": 0, "orderOfOperations": [{"operationType": "Root"}]},
            },
            "orderOfOperations {'operationType': 'Root'} is no operation; for example {operationType: Multiply",
        ),
    ],
)
def test_a_mistake_is_told_in_words(model, given_, text):
    with pytest.raises(ValidationError) as raised:
        model.model_validate(given_)
    (problem,) = raised.value.errors(include_url=False)
    assert problem["msg"].removeprefix("Value error, ").startswith(text)


def test_keys_of_a_device():
    device = BleDevice.model_validate({**MAC, "bindkey": "231d39c1d7cc1ab1aee224cd096db932"})
    assert (device.mac, device.key) == ("C4:7C:8D:6A:12:34", bytes.fromhex("231d39c1d7cc1ab1aee224cd096db932"))
    assert "231d" not in repr(device)
    assert BleDevice.model_validate(MAC).key is None


@pytest.mark.parametrize(
    ("point", "fits", "misfits"),
    [
        ({"characteristic": "2A6E"}, ("DOUBLE", "FLOAT", "INT"), ("STRING", "BOOLEAN", "JSON")),
        ({"characteristic": "2A29"}, ("STRING",), ("INT", "BYTES")),
        ({"characteristic": "FF01"}, ("INT", "STRING", "BYTES", "BOOLEAN"), ("JSON", "STREAM")),
        ({"characteristic": "FF01", "type": "uint8", "bit": 3}, ("BOOLEAN", "INT"), ("STRING",)),
        ({"characteristic": "FF01", "type": "boolean"}, ("BOOLEAN",), ("INT",)),
        ({"characteristic": "FF01", "names": {"ON": "01"}}, ("STRING",), ("INT", "BOOLEAN")),
        ({"bthome": "window"}, ("BOOLEAN",), ("INT",)),
        ({"advertised": "rssi"}, ("INT", "DOUBLE"), ("STRING",)),
        ({"advertised": "name"}, ("STRING",), ("INT",)),
    ],
)
def test_a_point_fits_some_types_of_properties(point, fits, misfits):
    made = BlePoint.model_validate(point)
    assert [made.mismatch(ValueType(one)) for one in fits] == [""] * len(fits)
    assert all("; " in made.mismatch(ValueType(one)) for one in misfits)


def test_kubeedges_keys_are_taken_unchanged_in_both_shapes():
    old = {"bluetooth": {"macAddress": "A4:C1:38:1A:49:90"}, "common": {"customizedValues": {"x": 1}}}
    new = {"macAddress": "A4:C1:38:1A:49:90"}
    for given_ in (old, new):
        connection, device = split_kubeedge(given_)
        assert BleConnection.model_validate(connection) == BleConnection()
        assert BleDevice.model_validate(device).mac == "A4:C1:38:1A:49:90"


def test_kubeedges_converter_is_taken_unchanged():
    """The temperature of its SensorTag example."""
    point = BlePoint.model_validate(
        {
            "characteristicUUID": "f000aa0104514000b000000000000000",
            "dataConverter": {
                "startIndex": 3,
                "endIndex": 2,
                "shiftRight": 2,
                "orderOfOperations": [{"operationType": "Multiply", "operationValue": 0.03125}],
            },
        }
    )
    assert point.characteristic == "f000aa01-0451-4000-b000-000000000000"
    raw = point.encoding().decode(bytes.fromhex("0000 300c"), ValueType.DOUBLE)
    assert (raw, raw * point.scale + point.offset) == (0x0C30 >> 2, 24.375)


@pytest.mark.parametrize("on", [[1], "AQ=="])
def test_kubeedges_words_are_taken_unchanged(on):
    point = BlePoint.model_validate(
        {"characteristicUUID": "f000aa0204514000b000000000000000", "dataWrite": {"ON": on, "OFF": [0]}}
    )
    assert point.encoding().encode("ON", ValueType.STRING) == b"\1"
    assert point.encoding().decode(b"\0", ValueType.STRING) == "OFF"
    assert point.mismatch(ValueType.STRING) == ""


@given(
    st.lists(st.tuples(st.sampled_from(["Add", "Subtract", "Multiply", "Divide"]), st.integers(1, 9)), max_size=5),
    st.integers(0, 4),
    st.integers(0, 255),
)
def test_a_chain_of_kubeedges_operations_is_one_line(operations, left, raw):
    converter = {
        "startIndex": 0,
        "endIndex": 0,
        "shiftLeft": left,
        "orderOfOperations": [{"operationType": kind, "operationValue": number} for kind, number in operations],
    }
    point = BlePoint.model_validate({"characteristicUUID": "FF01", "dataConverter": converter})
    wanted = float(raw << left)
    for kind, number in operations:
        wanted = {
            "Add": wanted + number, "Subtract": wanted - number, "Multiply": wanted * number, "Divide": wanted / number
        }[kind]  # fmt: skip
    assert raw * point.scale + point.offset == pytest.approx(wanted)


def test_other_names_of_types_are_taken():
    for name, type_ in (("sint16", RawType.INT16), ("SFLOAT", RawType.MEDFLOAT16), ("utf8s", RawType.UTF8)):
        assert BlePoint.model_validate({"characteristic": "FF01", "type": name}).type is type_
