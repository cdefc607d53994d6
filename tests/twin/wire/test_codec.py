"""The one door for bytes: what it lets in, what it refuses, and that it never fails in another way."""

import contextlib
import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from twin.errors import InvalidMessage, TooLarge
from twin.model import Quality, Reason
from twin.wire.api import GetRequest, Reply, SetRequest, WatchRequest
from twin.wire.codec import MAX_REPORT_BYTES, decode, decode_report, encode, encode_report
from twin.wire.messages import Ack, Delta, Mark, Report

pytestmark = pytest.mark.fast


def report(values, more=""):
    return f'{{"id":1,"at":2,"values":{values}{more}}}'.encode()


def set_request(desired):
    return f'{{"twin":"plant/tank","desired":{desired}}}'.encode()


@pytest.mark.parametrize(
    "payload",
    [
        b'{"id":1,"at":2,"id":1}',
        b'{"id":1,"id":2,"at":2}',
        b'{"id":1,"\\u0069d":2,"at":2}',
        report('{"a":1}', ',"values":{"a":1}'),
        report('{"a":1,"a":1}'),
        report('{"a":1,"a":2}'),
        report('{"a":1,"\\u0061":2}'),
        report('{"\\u0061":1,"\\u0061":2}'),
        report('{"a":"x","a":1}'),
        report('{"a":1,"a":"x"}'),
        report('{"a":{"x":1,"x":2}}'),
        report('{"a":[1,{"x":{"y":1,"y":1}}]}'),
        report('{"a":{"x":1,"\\u0078":2},"b":"\\""}'),
        report("{}", ',"marks":{"a":{},"a":{}}'),
        report("{}", ',"marks":{"a":{"quality":"bad","quality":"bad"}}'),
        report('{"":1,"":2}'),
        report('{"a":1}', ',"times":{"a":1,"a":2}'),
        report('{"a":1,"a":1}', ',"times":{"a":1}'),
    ],
)
def test_a_key_that_stands_twice_is_refused_at_every_level(payload):
    with pytest.raises(InvalidMessage, match="stands twice"):
        decode_report(payload, what="report")


@pytest.mark.parametrize(
    "payload",
    [
        b'{"twin":"a","twin":"a"}',
        set_request('{"a":1,"a":1}'),
        set_request('{"a":{"x":[{"y":1,"\\u0079":1}]}}'),
    ],
)
def test_requests_too(payload):
    with pytest.raises(InvalidMessage, match="stands twice"):
        decode(SetRequest, payload, what="set")


@pytest.mark.parametrize("constant", ["NaN", "Infinity", "-Infinity"])
def test_constants_that_are_not_json_are_refused_in_requests(constant):
    for desired in (f'{{"a":{constant}}}', f'{{"a":[{{"b":{constant}}}]}}'):
        with pytest.raises(InvalidMessage, match="is not JSON"):
            decode(SetRequest, set_request(desired), what="set")


@pytest.mark.parametrize("name", ["raw", "level", "note", "valve", "mode"])
@pytest.mark.parametrize("text", ["NaN", "Infinity", "-Infinity", "1e999", "-1e999", "[1e999]", "[NaN]"])
async def test_a_number_that_is_not_finite_ends_at_the_rule_of_its_property(tank, key, name, text):
    values = decode_report(report(f'{{"{name}":{text}}}'), what="r").values
    outcome = tank.engine.report(key, values, {}, at=1, by="m")
    assert outcome.nothing_taken
    assert tank.engine.document(key).reported == {}


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"null",
        b"[]",
        b"1",
        b"\xff",
        b"{}",
        b'{"id":1,"at":2}x',
        b'{"id":1,"at":2,}',
        b"{'id':1,'at':2}",
        b'\xef\xbb\xbf{"id":1,"at":2}',
        '{"id":1,"at":2}'.encode("utf-16"),
        report('{"a":"\xff"}').replace("ÿ".encode(), b"\xff"),
        report('{"a":"x"}').replace(b"x", b"\xc0\x80"),
        report('{"a":"x"}').replace(b"x", b"\xed\xa0\x80"),
        report('{"a":"\\ud800"}'),
        report('{"a":"\\udfff\\ud800"}'),
        report('{"\\ud800":1}'),
        report('{"a":"\\u0000\0"}'),
        report('{"a":' + "[" * 100_000 + "}"),
        report('{"a":' + "[" * 100_000 + "]" * 100_000 + "}"),
        report('{"a":' + '{"x":' * 30_000 + "1" + "}" * 30_000 + "}"),
        report('{"a":' + "9" * 5000 + "}"),
        report('{"a":["",' + "9" * 5000 + "]}"),
        report("{}", ',"unknown":1'),
        report("{}", ',"marks":{"a":{"quality":"fine"}}'),
        report("{}", ',"marks":{"a":{"quality":"bad","why":"x"}}'),
        report("[]"),
        report("null"),
        b'{"id":-1,"at":2}',
        b'{"id":9007199254740992,"at":2}',
        b'{"id":1,"at":-2}',
        b'{"id":1.5,"at":2}',
        b'{"id":null,"at":2}',
        b'{"id":1}',
    ],
    ids=lambda payload: payload[:40],
)
def test_what_is_no_report_is_an_invalid_message_of_bounded_length(payload):
    with pytest.raises(InvalidMessage, match=r"^report of tank: ") as caught:
        decode_report(payload, what="report of tank")
    assert len(str(caught.value)) < 400


def test_the_longest_numbers_pass_both_parsers():
    for digits in ("9" * 4299, "9" * 4300, "-" + "9" * 4299):
        for text in (digits, f'["x",{digits}]'):
            try:
                decode_report(report(f'{{"a":{text}}}'), what="r")
            except InvalidMessage as error:
                assert "out of range" in error.message  # noqa: PT017 passing is as good


def test_size_is_checked_before_parsing():
    with pytest.raises(TooLarge, match="262145 bytes are over the limit of 262144"):
        decode_report(b"x" * (MAX_REPORT_BYTES + 1), what="report")
    with pytest.raises(TooLarge):
        decode(GetRequest, b'{"twin":"tank"}', what="get", max_bytes=5)
    padded = b'{"id":1,"at":2}'.ljust(MAX_REPORT_BYTES)
    assert decode_report(padded, what="report") == Report(id=1, at=2)


def test_escapes_and_quotes_in_values_pass():
    payload = report('{"a":"say \\"x\\"","\\u0062":"\\ud83c\\udf31","c":{"d":"\\u0022"},"e":["f"],"":0}')
    assert decode_report(payload, what="r").values == {
        "a": 'say "x"', "b": "🌱", "c": {"d": '"'}, "e": ["f"], "": 0,
    }  # fmt: skip


def test_values_keep_their_types():
    payload = report('{"a":1,"b":1.0,"c":true,"d":null,"e":100000000000000000000000000000,"f":[1,1.0,false]}')
    assert repr(decode_report(payload, what="r").values) == repr(
        {"a": 1, "b": 1.0, "c": True, "d": None, "e": 10**29, "f": [1, 1.0, False]}
    )


# -- the quick test for doubled keys says what a slow one says ---------------------------------------------------------

KEYS = st.sampled_from(['"a"', '"\\u0061"', '"b"', '"q\\""', '"\\u0022"', '""', '"ü"'])
SCALARS = st.sampled_from(
    ["1", "1.0", "-0", "1e3", "true", "null", '""', '"a"', '"\\""', '"\\u0022"', '"\\\\"', '"a\\"b\\"c"', "[]", "{}"]
)


def joined(members):
    return "{" + ",".join(f"{name}:{value}" for name, value in members) + "}"


def objects(values):
    return st.lists(st.tuples(KEYS, values), max_size=4).map(joined)


VALUES = st.recursive(
    SCALARS, lambda inner: objects(inner) | st.lists(inner, max_size=3).map(lambda all_: f"[{','.join(all_)}]")
)
MARKS = objects(
    st.lists(st.sampled_from([('"quality"', '"bad"'), ('"reason"', '"stale"'), ('"qu\\u0061lity"', '"bad"')]))
    .map(joined)
)  # fmt: skip
TOP = st.one_of(
    st.tuples(st.sampled_from(['"id"', '"at"', '"\\u0069d"']), st.sampled_from(["1", "2", '"3"', "true", "1.0"])),
    st.tuples(st.sampled_from(['"values"', '"v\\u0061lues"']), objects(VALUES)),
    st.tuples(st.just('"marks"'), MARKS),
    st.tuples(st.just('"more"'), SCALARS),
)
REPORTS = st.builds(
    lambda members, more, space: space.join(joined([*members, *more]).split(",")).encode(),
    st.permutations([('"id"', "1"), ('"at"', "2")]),
    st.lists(st.tuples(st.just('"values"'), objects(VALUES)), max_size=1) | st.lists(TOP, max_size=3),
    st.sampled_from([",", ", ", ",\n"]),
)


def reference(payload):
    """Slow and plain: every object looked at, then the model."""

    def unique(pairs):
        if len({name for name, _ in pairs}) != len(pairs):
            raise ValueError
        return dict(pairs)

    json.loads(payload.decode("utf-8"), object_pairs_hook=unique)
    return Report.model_validate_json(payload)


def both(payload):
    try:
        wanted = reference(payload)
    except (ValueError, RecursionError):  # pydantic's error is a ValueError
        with pytest.raises(InvalidMessage):
            decode_report(payload, what="report")
    else:
        found = decode_report(payload, what="report")
        assert repr(found) == repr(wanted)


@given(REPORTS)
@example(report('{"a":"\\"","a":1}'))
@example(report('{"a":1,"a":""}'))
@example(b'{"id":"1","id":1,"at":2}')
def test_a_report_is_accepted_exactly_when_a_slow_reference_accepts_it(payload):
    both(payload)


@given(REPORTS, st.data())
def test_a_report_with_a_piece_torn_out_or_doubled_is_too(payload, data):
    start = data.draw(st.integers(0, len(payload)))
    end = data.draw(st.integers(start, min(len(payload), start + 12)))
    both(payload[:start] + payload[start:end] * data.draw(st.sampled_from([0, 2])) + payload[end:])


@given(st.binary(max_size=200))
def test_any_bytes_are_a_message_or_an_invalid_one(payload):
    for model in (Report, SetRequest, WatchRequest, Reply, Ack, Delta):
        with contextlib.suppress(InvalidMessage):
            decode(model, payload, what="bytes")
    with pytest.raises(InvalidMessage):
        decode_report(payload, what="bytes")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)


@given(st.integers(0, 2**53 - 1), st.dictionaries(st.text(), JSON, max_size=4))
def test_what_encode_writes_decode_reads(number, values):
    message = Report(id=number, at=0, values=values)
    assert repr(decode_report(encode(message), what="r").values) == repr(values)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)
MARKS = st.builds(Mark, quality=st.sampled_from(Quality), reason=st.sampled_from(Reason))


@given(
    st.dictionaries(st.text(max_size=3), JSON, max_size=4),
    st.dictionaries(st.text(max_size=3), MARKS, max_size=2),
    st.dictionaries(st.text(max_size=3), st.integers(0, 2**50), max_size=2),
)
def test_a_report_that_is_written_in_a_hurry_is_the_same_report(values, marks, times):
    report = Report.model_construct(id=1, at=2, values=values, marks=marks, times=times)
    assert encode_report(1, 2, values, marks, times) == encode(report)


@pytest.mark.parametrize("payload", [b'{"stored":[1,NaN]}', b'{"stored":[1,Infinity]}', b'{"stored":[-Infinity]}'])
def test_a_number_that_is_not_finite_is_refused_in_a_message_with_one_key(payload):
    with pytest.raises(InvalidMessage):
        decode(Ack, payload, what="ack")
