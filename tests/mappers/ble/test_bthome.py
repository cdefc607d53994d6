"""BTHome: the examples of its specification, and rules for whatever anybody advertises."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mappers.ble.bthome import packet
from mappers.ble.bthome_kinds import KINDS, NAMES
from mappers.ble.encoding import NotDecodable

pytestmark = pytest.mark.fast

KEY = bytes.fromhex("231d39c1d7cc1ab1aee224cd096db932")
MAC = "54:48:E6:8F:80:A5"
SEALED = bytes.fromhex("41a47266c95f730011223378237214")
"""The example of bthome.io/encryption: 25.06 degrees, 50.55 percent."""


@pytest.mark.parametrize(
    ("given_", "values"),
    [
        ("40 02ca09 03bf13", {"temperature": 25.06, "humidity": 50.55}),
        ("40 0009 0161 0c780c", {"packetId": 9, "battery": 97, "voltage": 3.192}),
        ("40 04138a01 05138a14", {"pressure": 1008.83, "illuminance": 13460.67}),
        ("40 065e1f 075e1f", {"mass": 80.30, "massPounds": 80.30}),
        ("40 08ca06 0960 0a138a14 0b021b00", {"dewPoint": 17.38, "count": 96, "energy": 1346.067, "power": 69.14}),
        ("40 0d120c 0e021c 12e204 133301 14020c", {"pm25": 3090, "pm10": 7170, "co2": 1250, "tvoc": 307}),
        ("44 3a05", {"button": 5}),
        ("40 3f020c 400c00 414e00 424e3400", {"rotation": 307.4, "distanceMillimetres": 12, "distance": 7.8}),
        ("40 4511 01 4632", {"temperature": 27.3, "uvIndex": 5.0}),
        ("40 5da5c5 5c02fb0000", {"current": -14.939, "power": 642.58}),
        ("40 57ea 58ea", {"temperature": -22}),
        ("40 0f01 1000 1101 2d01", {"generic": True, "powerOn": False, "opening": True, "window": True}),
        ("40 530c48656c6c6f20576f726c6421", {"text": "Hello World!"}),
        ("40 54020102", {"raw": "AQI="}),
        ("40 f00100 f100010204", {"deviceType": 1, "firmware": 0x04020100}),
    ],
)
def test_an_example_of_the_specification(given_, values):
    read = packet(bytes.fromhex(given_))
    assert {name: read.value(name) for name in values} == pytest.approx(values)
    assert read.unknown is None


def test_objects_of_one_name_are_counted():
    read = packet(bytes.fromhex("40 57ea 58ea"))
    assert (read.value("temperature", 1), read.value("temperature", 2)) == (-22, -7.7)
    with pytest.raises(KeyError):
        read.value("temperature", 3)


def test_what_follows_an_unknown_object_is_left():
    read = packet(bytes.fromhex("40 0161 ee 02ca09"))
    assert ([one.name for one in read.found], read.unknown) == (["battery"], 0xEE)


def test_the_encrypted_example_of_the_specification():
    read = packet(SEALED, MAC, KEY)
    assert (read.value("temperature"), read.value("humidity"), read.counter) == (25.06, 50.55, 0x33221100)


@pytest.mark.parametrize(
    ("given_", "address", "key", "says"),
    [
        (SEALED, MAC, None, "encrypted; give the device its bindkey"),
        (SEALED, MAC, bytes(16), "does not fit the bindkey"),
        (SEALED, "54:48:E6:8F:80:A6", KEY, "does not fit the bindkey"),
        (SEALED[:-1] + b"\0", MAC, KEY, "does not fit the bindkey"),
        (SEALED[:9], MAC, KEY, "too short"),
        (b"\x40\x01\x61", MAC, KEY, "is not encrypted, though"),
        (b"", MAC, None, "is empty"),
        (b"\x20\x01", MAC, None, "version 1 is not known"),
        (b"\x40\x02\x01", MAC, None, "ends within its temperature"),
        (b"\x40\x53", MAC, None, "ends within its text"),
        (b"\x40\x53\x05ab", MAC, None, "ends within its text"),
    ],
)
def test_what_cannot_be_read_is_refused_in_words(given_, address, key, says):
    with pytest.raises(NotDecodable, match=says):
        packet(given_, address, key)


@given(st.binary(max_size=40), st.sampled_from([None, KEY]))
def test_whatever_is_advertised_is_read_or_refused(given_, key):
    with contextlib.suppress(NotDecodable):
        assert all(one.name in NAMES for one in packet(given_, MAC, key).found)


@given(st.binary(max_size=40))
def test_whatever_is_advertised_in_plain_text_is_read_or_refused(objects):
    with contextlib.suppress(NotDecodable):
        for one in packet(b"\x40" + objects).found:
            assert one.kind in KINDS.values()


def test_the_ids_are_those_of_the_specification():
    gaps = {*range(0x30, 0x3A), 0x3B, *range(0x65, 0xF0)}
    assert set(KINDS) == set(range(0xF3)) - gaps
    assert (KINDS[0x11].name, KINDS[0x15].name, KINDS[0x2D].name) == ("opening", "batteryLow", "window")
