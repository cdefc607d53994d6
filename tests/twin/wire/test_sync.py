"""The codec between gateway and cloud: what is written is read again, and nothing else is taken."""

import dataclasses
import json
import math
import typing
import zlib
from pathlib import Path

import pytest
from hypothesis import given

from tests.twin.wire.sync_messages import ANY, MESSAGES, ROWS, TANK
from twin import exchange as ex
from twin.document import DELETED, Slot
from twin.errors import InvalidMessage, TooLarge
from twin.model import Section, Site
from twin.wire.sync import COMPRESS_FROM, MAX_BYTES, decode, encode, encode_json

pytestmark = pytest.mark.fast

GOLDEN = Path(__file__).parents[2] / "golden" / "sync" / "v1"


def same(a, b):
    """Equal, and 1, 1.0 and true are not; the order of rows counts only in a frame."""

    def told_apart(message):
        fields = {field.name: getattr(message, field.name) for field in dataclasses.fields(message)}
        if isinstance(message, ex.Twins):
            fields["rows"] = sorted(map(repr, message.rows))
        return {
            name: sorted(map(repr, one)) if isinstance(one, frozenset) else canonical(one)
            for name, one in fields.items()
        }

    return type(a) is type(b) and told_apart(a) == told_apart(b)


def canonical(value):
    if isinstance(value, ex.Standing):
        return (value.runs, sorted(value.met), value.cursor, value.top)
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value).__name__, [canonical(one) for one in value]
    if isinstance(value, tuple | list):
        return [canonical(one) for one in value]
    if isinstance(value, frozenset):
        return sorted(map(repr, value))
    return repr(value)


@pytest.mark.parametrize("name", MESSAGES)
def test_a_message_is_written_as_it_always_was(name):
    assert encode_json(MESSAGES[name]) == (GOLDEN / f"{name}.json").read_bytes()


@pytest.mark.parametrize("name", MESSAGES)
def test_an_old_message_is_read_as_it_always_was(name):
    assert same(decode((GOLDEN / f"{name}.json").read_bytes()), MESSAGES[name])


def test_every_message_has_its_file_and_every_file_its_message():
    assert {file.stem for file in GOLDEN.iterdir()} == set(MESSAGES)
    assert {type(one) for one in MESSAGES.values()} == set(typing.get_args(ex.SyncMessage))


@given(ANY)
def test_any_message_comes_out_as_it_went_in(message):
    assert same(decode(encode(message)), message)


def test_a_long_message_is_compressed_and_a_short_one_is_not():
    short, long = MESSAGES["alive"], frame_of(100)
    assert encode(short)[:1] == b"{"
    assert encode(long)[:1] == b"\x78"
    assert len(encode(long)) < len(encode_json(long)) / 2
    assert decode(encode_json(long)) == decode(encode(long)) == long
    assert len(encode_json(short)) <= COMPRESS_FROM


def test_rows_are_shorter_than_each_by_itself():
    rows = frame_of(2000).rows
    alone = sum(
        len(
            json.dumps(
                [
                    str(row.key),
                    row.property,
                    row.slot.value,
                    row.slot.tick,
                    row.slot.seen,
                    row.slot.by,
                    row.slot.at,
                    "good",
                ],
                separators=(",", ":"),
            )
        )
        for row in rows
    )
    assert len(encode_json(ex.Frame("s", 0, rows[-1].slot.tick, rows))) < 0.8 * alone


def frame_of(count):
    rows = tuple(
        ex.Row(
            dataclasses.replace(TANK, name=f"t{number // 4}"),
            f"uid-{number // 4}",
            Section.REPORTED,
            f"p{number % 4}",
            Site.EDGE,
            Slot(number / 8, 1_700_000_000_000_000 + number, 0, "mapper", 1_700_000_000_000),
        )
        for number in range(count)
    )
    return ex.Frame("s", 0, rows[-1].slot.tick, rows)


@pytest.mark.parametrize("name", MESSAGES)
def test_a_key_we_do_not_know_is_refused(name):
    body = json.loads(encode_json(MESSAGES[name]))
    with pytest.raises(InvalidMessage, match="nosuch"):
        decode(json.dumps({**body, "nosuch": 1}).encode())


FRAME = json.loads(encode_json(MESSAGES["frame"]))
SERIES = json.loads(encode_json(MESSAGES["history"]))


def changed(tree, path, value):
    *steps, last = path
    copy = json.loads(json.dumps(tree))
    at = copy
    for step in steps:
        at = at[step]
    at[last] = value
    return json.dumps(copy).encode()


PART = ("twins", 0, "rows", 0)
BAD = {
    "nothing": (b"", "not JSON"),
    "no JSON": (b"{", "not JSON"),
    "a list": (b"[1]", "no type"),
    "no type": (b"{}", "no type"),
    "an unknown type": (b'{"type":"nosuch"}', "'nosuch'"),
    "a type that is no text": (b'{"type":{"a":1}}', "no type"),
    "a key twice": (b'{"type":"alive","session":"a","session":"b"}', "stands twice"),
    "NaN": (b'{"type":"command","desired":{"a":NaN}}', "finite"),
    "too great a number": (b'{"type":"command","desired":{"a":1e999}}', "finite"),
    "thousands of digits": (b'{"type":"command","desired":{"a":' + b"9" * 5000 + b"}}", "not JSON"),
    "half a surrogate pair": (b'{"type":"alive","session":"\\ud800"}', "not JSON"),
    "no UTF-8": (b'{"type":"alive","session":"\xff"}', "not JSON"),
    "depth": (b'{"type":"command","desired":' + b"[" * 100_000, "not JSON"),
    "a session that is no text": (b'{"type":"alive","session":1}', "session"),
    "an empty session": (b'{"type":"alive","session":""}', "session"),
    "a tick that is true": (changed(FRAME, ("upto",), True), "upto"),
    "a tick below zero": (changed(FRAME, ("base",), 0), ""),
    "a tick beyond 64 bits": (changed(FRAME, ("base",), 2**63 - 2), "2\\^63"),
    "a twin without kind": (changed(FRAME, ("twins", 0, "twin"), "plant/tank"), "kind/namespace/name"),
    "a twin of no kind": (changed(FRAME, ("twins", 0, "twin"), "nosuch/plant/tank"), "nosuch"),
    "a topic in a name": (changed(FRAME, ("twins", 0, "twin"), "device/plant/#"), "#"),
    "a column too short": (changed(FRAME, (*PART, "values"), [1]), "differ in length"),
    "a name that is none": (changed(FRAME, (*PART, "names", 0), "a b"), "property"),
    "a deleted one with a value": (changed(FRAME, (*PART, "deleted"), [0]), "deleted"),
    "a deleted one that is not there": (changed(FRAME, (*PART, "deleted"), [9]), "deleted"),
    "a mark of one that is not there": (changed(FRAME, (*PART, "marks"), [[9, "bad", ""]]), "marks"),
    "a quality of no name": (changed(FRAME, (*PART, "marks"), [[0, "fine", ""]]), "marks"),
    "a history column too short": (changed(SERIES, ("series", 0, "ticks"), [1]), "differ in length"),
    "a digest too short": (
        b'{"type":"digests","session":"s","digests":[["device/a/b","u","AAAA"]]}',
        "16 bytes",
    ),
    "compressed, cut short": (encode(frame_of(100))[:-9], "cut short"),
    "compressed, and more": (encode(frame_of(100)) + b"x", "followed"),
    "compressed, damaged": (b"\x78\x01" + bytes(range(40)), "decompressing|cut short"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_not_a_message_is_refused_by_name(name):
    payload, reason = BAD[name]
    if name == "a tick below zero":
        payload = changed(FRAME, (*PART, "ticks"), [-(2**62), 1, 2])
    with pytest.raises(InvalidMessage, match=f"(?s)^of gw-1: .*{reason}"):
        decode(payload, what="of gw-1")


def test_a_bomb_is_refused_before_it_takes_memory():
    bomb = zlib.compress(b'{"type":"alive","session":"' + b" " * (64 * 1024 * 1024), 9)
    assert len(bomb) < 100_000
    with pytest.raises(TooLarge):
        decode(bomb)
    with pytest.raises(TooLarge):
        decode(b"{" + b" " * MAX_BYTES)


def test_a_message_too_large_is_not_written():
    rows = tuple(row._replace(slot=row.slot._replace(value="x" * (MAX_BYTES // 3))) for row in ROWS)
    with pytest.raises(TooLarge, match="Frame"):
        encode(ex.Frame("s", 0, 9, rows))
    with pytest.raises(InvalidMessage, match="Command"):
        encode(dataclasses.replace(MESSAGES["command"], desired={"a": float("nan")}))


def test_a_reported_value_of_the_cloud_cannot_be_written():
    row = ROWS[0]._replace(site=Site.CLOUD)
    with pytest.raises(InvalidMessage, match="only the edge reports"):
        encode(ex.Twins("s", (row,)))


def test_a_portion_ends_at_rows_or_bytes_and_is_never_empty():
    rows = frame_of(100).rows
    assert len(ex.portion(rows)) == 100
    assert len(ex.portion(rows, max_rows=7)) == 7
    assert 5 < len(ex.portion(rows, max_bytes=1000)) < 30
    large = rows[0]._replace(slot=rows[0].slot._replace(value=["x" * 5000]))
    assert ex.portion([large, *rows], max_bytes=1000) == [large]
    assert ex.portion([]) == []
    deleted = rows[0]._replace(slot=rows[0].slot._replace(value=DELETED))
    assert ex.portion([deleted]) == [deleted]


@pytest.mark.parametrize("odd", ["\0content", "plain", "ü", 'a "b" \\'])
def test_content_that_many_gateways_get_goes_over_the_line_as_any_other(odd):
    raws = [{"kind": "Service", "metadata": {"name": odd, "labels": {odd: odd}}, "spec": {"n": [1, 1.5, None]}}, {}]
    refs = [ex.DocumentRef("Service", "plant", f"s{number}") for number in range(3)]
    states = [ex.DocumentState(ref, odd, 1, "h", frozenset()) for ref in refs]
    plain = ex.Documents("n1.s1", tuple(map(ex.DocumentRow, states, [*raws, None])), (refs[0],))
    shared = ex.Documents("n1.s1", tuple(map(ex.DocumentRow, states, [*map(ex.Shared, raws), None])), (refs[0],))
    assert decode(encode(shared)) == decode(encode(plain)) == plain


def test_content_that_json_does_not_have_is_refused_when_many_get_it_too():
    state = ex.DocumentState(ex.DocumentRef("Service", "plant", "s"), "u", 1, "h", frozenset())
    with pytest.raises(InvalidMessage):
        encode(ex.Documents("n1.s1", (ex.DocumentRow(state, ex.Shared({"spec": math.nan})),)))
