"""Framings: the published examples, any payload in any chunks, noise, and the declared refusals."""

from contextlib import suppress
from itertools import pairwise

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from mappers.serialgpio.checksum import Checksum, checksum
from mappers.serialgpio.framing import (
    LONGEST_BYTES,
    Check,
    FixedFramer,
    Framer,
    LengthFramer,
    LineFramer,
    NotFramable,
    SlipFramer,
    StxFramer,
)

pytestmark = pytest.mark.fast

CHECKS = st.builds(Check, st.sampled_from(Checksum), st.sampled_from(["big", "little"]), st.booleans())
MODBUS = Check(Checksum.CRC16_MODBUS, "little")


def framers() -> st.SearchStrategy:
    """Makers of every framing, each to be called once a side."""
    text_checks = st.builds(Check, st.sampled_from(Checksum), st.sampled_from(["big", "little"]), st.just(True))
    starts = st.binary(max_size=3)
    return st.one_of(
        st.tuples(st.just(LineFramer), st.tuples(st.sampled_from([b"\n", b"\r\n", b">", b"\r\r"]), text_checks)),
        st.tuples(st.just(FixedFramer), st.tuples(st.integers(1, 9), starts, CHECKS)),
        st.tuples(st.just(StxFramer), st.tuples(st.just(2), st.just(3), st.just(16), CHECKS)),
        st.tuples(st.just(StxFramer), st.tuples(st.just(2), st.just(3), st.none(), text_checks)),
        st.tuples(st.just(SlipFramer), st.tuples(CHECKS)),
        st.tuples(st.just(LengthFramer), st.tuples(st.sampled_from([1, 2, 4]), st.sampled_from(["big", "little"]))),
    ).map(lambda pair: lambda: pair[0](*pair[1]))


def chunks(stream: bytes, cuts: list[int]) -> list[bytes]:
    places = [0, *sorted(cut % (len(stream) + 1) for cut in cuts), len(stream)]
    return [stream[a:b] for a, b in pairwise(places)]


def received(framer: Framer, stream: bytes, cuts: list[int]) -> list[bytes]:
    return [payload for chunk in chunks(stream, cuts) for payload in framer.feed(chunk)]


@given(framers(), st.lists(st.binary(min_size=1, max_size=40), max_size=5), st.lists(st.integers(0, 400), max_size=9))
def test_payloads_come_back_whole_in_any_chunks(make, payloads, cuts):
    sender = make()
    sent, stream = [], b""
    for payload in payloads:
        try:
            stream += sender.frame(payload)
        except NotFramable:
            continue
        sent.append(payload)
    framer = make()
    assert received(framer, stream, cuts) == sent
    assert framer.dropped == 0


@given(st.integers(1, 9), st.binary(min_size=9, max_size=9))
def test_payloads_of_the_fixed_length_come_back(length, noise):
    framer = FixedFramer(length, b"\xaa\x55", MODBUS)
    sender = FixedFramer(length, b"\xaa\x55", MODBUS)
    assert framer.feed(sender.frame(noise[:length]) * 3) == [noise[:length]] * 3


@given(framers(), st.binary(max_size=300), st.lists(st.integers(0, 300), max_size=9))
def test_no_bytes_raise(make, noise, cuts):
    framer = make()
    received(framer, noise, cuts)
    framer.silent()
    framer.reset()


@given(framers(), st.binary(max_size=60))
def test_a_payload_that_has_no_frame_is_refused_as_declared(make, payload):
    with suppress(NotFramable):
        make().frame(payload)


@given(st.binary(max_size=50))
def test_slip_recovers_after_noise(noise):
    assert SlipFramer(Check()).feed(noise + SlipFramer(Check()).frame(b"whole"))[-1:] == [b"whole"]


@given(st.binary(max_size=50))
def test_stx_recovers_after_noise(noise):
    assume(b"\x02" not in noise)
    assert StxFramer().feed(noise + b"\x02whole\x03") == [b"whole"]


@given(st.binary(min_size=3, max_size=60), st.integers(0, 1000), st.integers(1, 255))
def test_a_changed_byte_is_noticed(payload, at, flip):
    frame = bytearray(FixedFramer(len(payload), check=MODBUS).frame(payload))
    frame[at % len(frame)] ^= flip
    framer = FixedFramer(len(payload), check=MODBUS)
    assert framer.feed(bytes(frame)) == []
    assert framer.dropped


@pytest.mark.parametrize(
    ("framer", "payload", "frame"),
    [
        (LineFramer(b"\r\n"), b"gpio read 0", "67 70 69 6f 20 72 65 61 64 20 30 0d 0a"),
        (LineFramer(b"\r", Check(Checksum.SUM8, as_text=True)), b"$012", "24 30 31 32 42 37 0d"),  # DCON: $012B7
        (FixedFramer(3, check=Check(Checksum.SUM8)), b"\xa0\x01\x01", "a0 01 01 a2"),  # relay 1 on
        (FixedFramer(6, check=MODBUS), bytes.fromhex("010300000001"), "01 03 00 00 00 01 84 0a"),  # Modbus' own
        (SlipFramer(Check()), b"a\xc0b\xdbc", "c0 61 db dc 62 db dd 63 c0"),
        (StxFramer(escape=0x10), b"a\x02\x10\x03", "02 61 10 02 10 10 10 03 03"),
        (StxFramer(check=Check(Checksum.XOR8, as_text=True)), b"AB", "02 41 42 30 33 03"),
        (LengthFramer(2, "little", start=b"\xaa", extra=2), b"abc", "aa 05 00 61 62 63"),
        (LengthFramer(1, check=Check(Checksum.CRC16_CCITT)), b"123456789", "09 31 32 33 34 35 36 37 38 39 29 b1"),
    ],
)
def test_published_frames(framer, payload, frame):
    assert framer.frame(payload).hex(" ") == frame
    assert framer.feed(bytes.fromhex(frame)) == [payload]


@pytest.mark.parametrize(
    ("kind", "value"),
    [  # of "123456789", as the catalogue of parametrised CRC algorithms has them
        (Checksum.CRC8, 0xF4),
        (Checksum.CRC8_MAXIM, 0xA1),
        (Checksum.CRC16_MODBUS, 0x4B37),
        (Checksum.CRC16_CCITT, 0x29B1),
        (Checksum.CRC16_XMODEM, 0x31C3),
        (Checksum.CRC32, 0xCBF43926),
        (Checksum.SUM8, 0xDD),
        (Checksum.LRC, 0x23),
        (Checksum.XOR8, 0x31),
        (Checksum.NONE, 0),
    ],
)
def test_checks_of_the_catalogue(kind, value):
    assert checksum(kind, b"123456789") == value
    assert value < 1 << 8 * kind.size or kind is Checksum.NONE


def test_a_frame_after_a_wrong_check_is_found():
    good = FixedFramer(4, check=MODBUS).frame(b"good")
    framer = FixedFramer(4, check=MODBUS)
    assert framer.feed(b"\x00" + good[:-1] + b"\xff" + good) == [b"good"]
    length = LengthFramer(1, start=b"\xaa", check=MODBUS)
    frame = LengthFramer(1, start=b"\xaa", check=MODBUS).frame(b"good")
    assert length.feed(b"\xaa\x03" + frame + frame) == [b"good", b"good"]


def test_silence_ends_a_frame_without_an_end():
    for framer in (FixedFramer(4), LengthFramer(1)):
        assert framer.feed(b"\x04ab") == []
        framer.silent()
        assert framer.dropped == 1
        assert framer.feed(b"\x04abc" if isinstance(framer, FixedFramer) else b"\x02ab") != []


def test_what_has_an_end_is_not_cut_by_silence():
    for framer in (LineFramer(b"\n"), StxFramer(), SlipFramer(Check())):
        framer.feed(framer.frame(b"slow")[:-1])
        framer.silent()
        assert framer.feed(framer.frame(b"slow")[-1:]) == [b"slow"]


@pytest.mark.parametrize(
    "framer", [LineFramer(b"\n"), StxFramer(), SlipFramer(Check()), LengthFramer(4), FixedFramer(9)]
)
def test_endless_noise_takes_no_more_memory(framer):
    for _ in range(30):
        framer.feed(b"\x02" + b"x" * 999)
    assert len(framer._buffer) <= 3 * LONGEST_BYTES


def test_a_length_that_is_none_begins_anew():
    assert LengthFramer(1, extra=3).feed(b"\x02\x04a") == [b"a"]
    framer = LengthFramer(2)
    assert framer.feed(b"\xff\x00\x01a") == [b"a"]
    assert framer.dropped == 1


def test_a_frame_that_is_too_long_is_not_sent():
    with pytest.raises(NotFramable, match="300 bytes is too long"):
        LengthFramer(1).frame(bytes(300))
    with pytest.raises(NotFramable, match="has 3 bytes here, this one has 1"):
        FixedFramer(3).frame(b"a")
    with pytest.raises(NotFramable, match="no escape"):
        StxFramer().frame(b"\x02")
    with pytest.raises(NotFramable, match="no empty frames"):
        SlipFramer(Check()).frame(b"")


def test_a_start_within_a_frame_begins_anew():
    framer = StxFramer()
    assert framer.feed(b"\x02lost\x02whole\x03") == [b"whole"]
    assert framer.dropped == 1


def test_a_broken_escape_of_slip_is_dropped():
    framer = SlipFramer(Check())
    assert framer.feed(b"\xc0a\xdbb\xc0\xc0ok\xc0") == [b"ok"]
    assert framer.dropped == 1
