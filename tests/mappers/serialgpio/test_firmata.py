"""Firmata on the wire: the published frames both ways, any chunks, noise."""

from contextlib import suppress
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mappers.serialgpio.firmata import (
    CAPABILITY_QUERY,
    FIRMWARE_QUERY,
    MAPPING_QUERY,
    Analog,
    AnalogMapping,
    Capabilities,
    ExtendedAnalog,
    Firmware,
    Mode,
    PinState,
    PinStateQuery,
    Ports,
    ReportAnalog,
    ReportPort,
    Reset,
    Sampling,
    SetMode,
    SetPin,
    Sysex,
    Text,
    Version,
    VersionQuery,
)
from mappers.serialgpio.firmata_decoder import Decoder, NotDecodable, Side, decode

pytestmark = pytest.mark.fast

IO = {Mode.INPUT: 1, Mode.PULLUP: 1, Mode.OUTPUT: 1, Mode.SERVO: 14}
UNO_2_3 = Capabilities(({}, {}, IO, {Mode.INPUT: 1, Mode.PULLUP: 1, Mode.OUTPUT: 1, Mode.PWM: 8, Mode.SERVO: 14}))

# As in protocol.md, and as StandardFirmata 2.5 says them at its start.
FROM_BOARD = [
    ("f9 02 05", Version(2, 5)),
    (
        "f0 79 02 05 53 00 74 00 61 00 6e 00 64 00 61 00 72 00 64 00 46 00 69 00 72 00 6d 00 61 00 74 00 61 00 2e 00"
        " 69 00 6e 00 6f 00 f7",
        Firmware(2, 5, "StandardFirmata.ino"),
    ),
    ("f0 6c 7f 7f 00 01 0b 01 01 01 04 0e 7f 00 01 0b 01 01 01 03 08 04 0e 7f f7", UNO_2_3),
    ("f0 6a 7f 7f 00 01 f7", AnalogMapping((None, None, 0, 1))),
    ("90 04 00", Ports(0, 4)),
    ("91 00 01", Ports(1, 0x80)),
    ("e2 7f 07", Analog(2, 1023)),
    ("f0 6e 0d 01 01 f7", PinState(13, Mode.OUTPUT, 1)),
    ("f0 6e 03 03 00 02 f7", PinState(3, Mode.PWM, 256)),
    ("f0 71 49 00 32 00 43 00 f7", Text("I2C")),
    ("f0 71 43 01 29 01 f7", Text("é")),
]
TO_BOARD = [
    ("f0 79 f7", FIRMWARE_QUERY),
    ("f0 6b f7", CAPABILITY_QUERY),
    ("f0 69 f7", MAPPING_QUERY),
    ("f9", VersionQuery()),
    ("c3 01", ReportAnalog(3, True)),
    ("d1 00", ReportPort(1, False)),
    ("f4 0d 01", SetMode(13, Mode.OUTPUT)),
    ("f4 02 0b", SetMode(2, Mode.PULLUP)),
    ("f5 0d 01", SetPin(13, True)),
    ("e9 00 01", Analog(9, 128)),
    ("f0 6f 14 00 01 f7", ExtendedAnalog(20, 128)),
    ("f0 6f 14 7f 7f 01 f7", ExtendedAnalog(20, 0x7FFF)),
    ("f0 6d 0d f7", PinStateQuery(13)),
    ("f0 7a 13 00 f7", Sampling(19)),
    ("f0 7a 68 07 f7", Sampling(1000)),
    ("ff", Reset()),
    ("f0 01 05 f7", Sysex(1, b"\x05")),
]
BOTH = [(Side.BOARD, *one) for one in FROM_BOARD] + [(Side.HOST, *one) for one in TO_BOARD]


@pytest.mark.parametrize(("side", "text", "message"), BOTH, ids=lambda one: str(one)[:40])
def test_published_frames_are_written_and_read(side, text, message):
    assert message.wire().hex(" ") == text
    assert decode(bytes.fromhex(text), side) == message


@pytest.mark.parametrize("side", Side)
@given(cuts=st.lists(st.integers(0, 200), max_size=12))
def test_messages_are_read_in_any_chunks(side, cuts):
    mine = [(bytes.fromhex(text), message) for one, text, message in BOTH if one is side]
    stream = b"".join(text for text, _ in mine)
    places = [0, *sorted(cut % len(stream) for cut in cuts), len(stream)]
    decoder = Decoder(side)
    found = [one for a, b in pairwise(places) for one in decoder.feed(stream[a:b])]
    assert found == [message for _, message in mine]
    assert decoder.dropped == 0


@pytest.mark.parametrize("side", Side)
@given(noise=st.binary(max_size=200))
def test_noise_never_raises_and_ends_with_the_next_message(side, noise):
    decoder = Decoder(side)
    decoder.feed(noise)
    assert decoder.feed(bytes.fromhex("f4 0d 01 f4 0d 00"))[-1] == SetMode(13, 0)


@pytest.mark.parametrize("side", Side)
@given(message=st.binary(max_size=12) | st.binary(max_size=12).map(lambda inner: b"\xf0" + inner + b"\xf7"))
def test_one_message_is_read_or_refused_as_declared(side, message):
    with suppress(NotDecodable):
        decode(message, side)


@pytest.mark.parametrize(
    "text",
    [
        "f0 79 02 f7",
        "f0 6c 00 01 f7",
        "f0 6c 00 7f f7",
        "f0 6e 0d 01 f7",
        "f0 6d f7",
        "f0 6d 01 02 f7",
        "f0 6f 14 f7",
        "f0 7a 13 f7",
        "f0 f7",
        "f0 79",
        "12",
        "f4 0d",
        "f4 8d 01",
        "",
    ],
)
def test_a_message_cut_short_is_refused(text):
    with pytest.raises(NotDecodable):
        decode(bytes.fromhex(text), Side.BOARD)


def test_what_is_dropped_is_counted_once_a_stretch():
    decoder = Decoder(Side.BOARD)
    assert decoder.feed(bytes.fromhex("01 02 03 90 90 04 00")) == [Ports(0, 4)]
    assert decoder.dropped == 1
    assert decoder.feed(bytes.fromhex("f0 79 02 f7 f0 71 f9 02 05")) == [Version(2, 5)]
    assert decoder.dropped == 2


def test_a_sysex_without_end_takes_no_more_memory():
    decoder = Decoder(Side.BOARD)
    assert decoder.feed(b"\xf0" + b"\x01" * 20_000) == []
    assert len(decoder._message) < 5000
    assert decoder.feed(b"\x90\x04\x00") == [Ports(0, 4)]
