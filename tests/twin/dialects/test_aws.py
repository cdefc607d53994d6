"""AWS's rules of a shadow: what is read, how it merges, what differs, and what is said."""

import contextlib
import copy
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twin.dialects import aws
from twin.dialects.aws import Half, Kept
from twin.dialects.aws_request import MAX_PAYLOAD_BYTES, Rejected, read_token, read_update
from twin.document import DELETED, Leaf, Slot, TwinDocument
from twin.model import Kind, Section, TwinKey, TwinSpec

pytestmark = pytest.mark.fast

KEY = TwinKey(Kind.SHADOW, "default", "lamp.config")
EMPTY = aws.shadow(0, Half(), Half())
NAMES = st.sampled_from(["a", "b", "c"])
SCALARS = st.booleans() | st.integers(0, 3) | st.sampled_from(["x", 1.5]) | st.lists(st.integers(0, 2), max_size=2)
VALUES = st.recursive(SCALARS, lambda inner: st.dictionaries(NAMES, inner, max_size=3), max_leaves=6)
PATCHES = st.dictionaries(
    NAMES,
    st.recursive(SCALARS | st.none(), lambda inner: st.dictionaries(NAMES, inner, max_size=3), max_leaves=6),
    max_size=3,
)


def update(**sections):
    return read_update(json.dumps({"state": sections}).encode())


def played(*patches, section="reported"):
    now = EMPTY
    for number, patch in enumerate(patches, start=1):
        now = aws.updated(now, update(**{section: patch}), number)
    return now


def nested(levels):
    return {"one": nested(levels - 1)} if levels > 1 else {"one": 1}


# -- requests ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("payload", "code", "said"),
    [
        (b"", 400, "Invalid JSON"),
        (b"{", 400, "Invalid JSON"),
        (b"nul", 400, "Invalid JSON"),
        (b"[]", 400, "Invalid JSON"),
        (b"7", 400, "Invalid JSON"),
        (b'{"state":{"desired":{"a":NaN}}}', 400, "Invalid JSON"),
        (b'{"state":{"desired":{"a":1,"a":2}}}', 400, "Invalid JSON"),
        (b"[" * 60_000, 400, "too many levels of nesting"),
        (b"{}", 400, "Missing required node: state"),
        (b'{"state":[]}', 400, "State node must be an object"),
        (b'{"state":7}', 400, "State node must be an object"),
        (b'{"state":{"desired":[]}}', 400, "Desired node must be an object"),
        (b'{"state":{"reported":"x"}}', 400, "Reported node must be an object"),
        (b'{"state":{"wanted":{}}}', 400, "State contains an invalid node"),
        (b'{"state":{"desired":{"a":[null]}}}', 400, "State contains an invalid node"),
        (b'{"state":{"desired":{"a":[[1,null]]}}}', 400, "State contains an invalid node"),
        (b'{"state":{},"version":"1"}', 400, "Invalid version"),
        (b'{"state":{},"version":1.5}', 400, "Invalid version"),
        (b'{"state":{},"version":true}', 400, "Invalid version"),
        (b'{"state":{},"version":-1}', 400, "Invalid version"),
        (b'{"state":{},"clientToken":7}', 400, "Invalid clientToken"),
        (json.dumps({"state": {}, "clientToken": "x" * 65}).encode(), 400, "Invalid clientToken"),
        (json.dumps({"state": {}, "clientToken": "ü" * 33}).encode(), 400, "Invalid clientToken"),
        (b'{"state":{},"clientToken":"\\ud800"}', 400, "Invalid clientToken"),
        (json.dumps({"state": {"desired": nested(9)}}).encode(), 400, "too many levels of nesting; maximum is 8"),
        (b'{"state":{"desired":{"a":"\xff"}}}', 415, "UTF-8"),
        (b" " * (MAX_PAYLOAD_BYTES + 1), 413, "exceeds the maximum size"),
    ],
)
def test_what_cannot_be_read_is_refused_in_awss_words(payload, code, said):
    with pytest.raises(Rejected) as refusal:
        read_update(payload)
    assert refusal.value.code == code
    assert said in refusal.value.message


def test_a_refusal_repeats_the_token_if_that_can_be_read():
    with pytest.raises(Rejected) as refusal:
        read_update(b'{"state":7,"clientToken":"t1"}')
    assert refusal.value.token == "t1"


def test_what_fits_is_read():
    request = read_update(json.dumps({"state": {"desired": nested(8)}, "version": 0, "clientToken": "x" * 64}).encode())
    assert (request.version, request.token) == (0, "x" * 64)
    assert request.sections == {Section.DESIRED: nested(8)}
    assert read_update(b'{"state":null}').sections == {Section.DESIRED: None, Section.REPORTED: None}
    assert read_update(b'{"state":{"desired":null}}').sections == {Section.DESIRED: None}
    assert read_update(b'{"state":{},"version":null,"clientToken":null,"more":1}').sections == {}


@pytest.mark.parametrize(
    ("payload", "token"), [(b"", None), (b'{"clientToken":"t"}', "t"), (b"\xff{", None), (b"[1]", None), (b"{}", None)]
)
def test_of_a_get_only_the_token_is_read(payload, token):
    assert read_token(payload) == token


@pytest.mark.parametrize(("payload", "code"), [(b'{"clientToken":[]}', 400), (b" " * (MAX_PAYLOAD_BYTES + 1), 413)])
def test_a_get_with_a_bad_token_or_size_is_refused(payload, code):
    with pytest.raises(Rejected) as refusal:
        read_token(payload)
    assert refusal.value.code == code


@given(
    st.binary(max_size=60) | st.recursive(SCALARS | st.none(), lambda v: st.lists(v)).map(json.dumps).map(str.encode)
)
def test_garbage_is_read_or_refused_and_nothing_else(payload):
    for read in (read_update, read_token):
        with contextlib.suppress(Rejected):
            read(payload)


# -- merging -----------------------------------------------------------------------------------------------------------


def merge_patch(target, patch):
    """RFC 7396, written a second time."""
    if not isinstance(patch, dict):
        return patch
    target = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            target.pop(name, None)
        else:
            target[name] = merge_patch(target.get(name), value)
    return target


def shape(value):
    return {name: shape(one) for name, one in value.items()} if isinstance(value, dict) else None


def leaves(value, path=()):
    if isinstance(value, dict):
        return {place: leaf for name, one in value.items() for place, leaf in leaves(one, (*path, name)).items()}
    return {path: value}


@given(st.lists(PATCHES, max_size=5), st.sampled_from(["desired", "reported"]))
def test_objects_are_merged_as_rfc_7396_says_and_every_leaf_keeps_its_time(patches, section):
    now, expected, written = EMPTY, {}, {}
    for number, patch in enumerate(patches, start=1):
        kept = copy.deepcopy(patch)
        now = aws.updated(now, update(**{section: patch}), number)
        assert patch == kept
        expected = merge_patch(expected, patch)
        written |= {place: number for place, leaf in leaves(patch).items() if leaf is not None}
    half = now.desired if section == "desired" else now.reported
    assert half.values == expected
    assert now.version == len(patches)
    assert shape(half.stamps) == shape(half.values)
    assert leaves(half.stamps) == {place: written[place] for place in leaves(half.values) if place in written} | {
        place: {} for place, leaf in leaves(half.values).items() if leaf == {}
    }


@given(st.lists(PATCHES, min_size=1, max_size=4))
def test_whole_properties_are_written_and_only_those_that_the_update_names(patches):
    *earlier, last = patches
    before = played(*earlier)
    request = update(reported=last)
    after = aws.updated(before, request, 9)
    written = aws.writes(before.reported, after.reported, request, Section.REPORTED)
    assert written.keys() <= last.keys()
    twin = dict(before.reported.values)
    for name, value in written.items():
        assert value is not DELETED or name in twin
        twin.pop(name, None) if value is DELETED else twin.update({name: value})
    assert twin == after.reported.values
    assert aws.writes(before.desired, after.desired, request, Section.DESIRED) == {}


def test_a_section_that_is_null_goes_and_so_does_the_whole_state():
    before = aws.updated(played({"a": 1}), update(desired={"a": 2}), 5)
    request = read_update(b'{"state":{"desired":null}}')
    after = aws.updated(before, request, 6)
    assert json.loads(after.state) == {"reported": {"a": 1}}
    assert aws.writes(before.desired, after.desired, request, Section.DESIRED) == {"a": DELETED}
    assert aws.updated(before, read_update(b'{"state":null}'), 6).empty


# -- differences -------------------------------------------------------------------------------------------------------


@given(st.dictionaries(NAMES, VALUES, max_size=3), st.dictionaries(NAMES, VALUES, max_size=3))
def test_the_delta_is_what_brings_reported_to_desired(desired, reported):
    now = aws.updated(played(reported), update(desired=desired), 9)
    state, stamps = aws.delta(now, desired)
    assert shape(state) == shape(stamps)
    settled = aws.updated(now, update(reported=json.loads(json.dumps(state))), 10)
    assert aws.delta(settled, desired)[0] == {}


@given(st.dictionaries(NAMES, VALUES, max_size=3), st.dictionaries(NAMES, VALUES, max_size=3))
def test_a_device_that_reports_what_is_desired_and_more_has_no_delta(desired, more):
    now = aws.updated(played(more, desired), update(desired=desired), 9)
    assert aws.delta(now, desired)[0] == {}


def test_one_is_not_true_and_properties_that_the_twin_counts_as_met_are_left_out():
    now = aws.updated(played({"a": True, "b": {"c": 1}}), update(desired={"a": 1, "b": {"c": True}, "near": 1.0}), 9)
    assert aws.delta(now, ["a", "b"])[0] == {"a": 1, "b": {"c": True}}


# -- twins -------------------------------------------------------------------------------------------------------------


def twin(desired=None, reported=None, at=7000):
    return TwinDocument(
        TwinSpec(KEY, ""),
        3,
        {name: Leaf(edge=Slot(value, 1, at=at)) for name, value in (desired or {}).items()},
        {name: Slot(value, 1, at=at) for name, value in (reported or {}).items()},
    )


def test_a_twin_is_a_shadow_whoever_wrote_it():
    now = aws.shadow_of_twin(twin({"a": {"b": 1}, "gone": DELETED, "none": None}, {"a": [1]}), Kept())
    assert json.loads(now.state) == {"desired": {"a": {"b": 1}}, "reported": {"a": [1]}}
    assert json.loads(now.metadata) == {
        "desired": {"a": {"b": {"timestamp": 7}}},
        "reported": {"a": {"timestamp": 7}},
    }
    assert now.version == 3


def test_a_note_brings_the_times_within_an_object_back_as_long_as_its_value_stands():
    now = played({"a": {"b": 1, "c": {"d": 1}}}, {"a": {"c": {"d": 2}}, "x": 1})
    kept = aws.kept(aws.note(now, exists=True))
    assert kept.exists
    again = aws.shadow_of_twin(twin(reported=now.reported.values), kept)
    assert again.reported.stamps == {"a": {"b": 1, "c": {"d": 2}}, "x": 7}
    other = aws.shadow_of_twin(twin(reported={"a": {"b": 9, "c": {"d": 2}}}), kept)
    assert other.reported.stamps == {"a": {"b": 7, "c": {"d": 7}}}


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "{}", '{"exists":true,"desired":{"a":1}}', '{"exists":1,"reported":[]}']
)
def test_a_note_that_cannot_be_read_holds_nothing(text):
    assert aws.kept(text) == Kept()


def test_a_delete_names_all_that_stands():
    assert aws.wiped(twin({"a": 1, "gone": DELETED, "n": None}, {"b": None})) == (
        {"a": DELETED, "n": DELETED},
        {"b": DELETED},
    )


# -- sizes and messages ------------------------------------------------------------------------------------------------


def test_the_size_of_the_whole_state_counts_but_for_a_twin_with_a_model():
    small = update(reported={"a": 1})
    after = aws.updated(played({"text": "ü" * 50}), small, 1)
    assert aws.fits(small, after, 135, modelled=False)
    assert not aws.fits(small, after, 100, modelled=False)
    assert aws.fits(small, after, 40, modelled=True)
    spaced = read_update(b'{"state":' + b" " * 100 + b'{"reported":{"a":1}}}')
    assert aws.fits(spaced, after, 40, modelled=True)
    assert not aws.fits(spaced, after, 19, modelled=True)


def test_messages_are_awss():
    before = played({"on": False, "rgb": {"r": 1, "g": 2}})
    request = read_update(b'{"state":{"desired":{"on":true,"rgb":{"r":5},"old":null}},"clientToken":"t"}')
    after = aws.updated(before, request, 7)
    assert json.loads(aws.accepted(request, after, 8)) == {
        "state": {"desired": {"on": True, "rgb": {"r": 5}, "old": None}},
        "metadata": {"desired": {"on": {"timestamp": 8}, "rgb": {"r": {"timestamp": 8}}}},
        "version": 2,
        "timestamp": 8,
        "clientToken": "t",
    }
    state, stamps = aws.delta(after, ["on", "rgb"])
    assert json.loads(aws.delta_message(state, stamps, 2, 8, "t")) == {
        "version": 2,
        "state": {"on": True, "rgb": {"r": 5}},
        "metadata": {"on": {"timestamp": 7}, "rgb": {"r": {"timestamp": 7}}},
        "timestamp": 8,
        "clientToken": "t",
    }
    reported = {"on": False, "rgb": {"r": 1, "g": 2}}
    times = {"on": {"timestamp": 1}, "rgb": {"r": {"timestamp": 1}, "g": {"timestamp": 1}}}
    assert json.loads(aws.documents(before, after, 8, None)) == {
        "previous": {"state": {"reported": reported}, "metadata": {"reported": times}, "version": 1},
        "current": {
            "state": {"desired": {"on": True, "rgb": {"r": 5}}, "reported": reported},
            "metadata": {
                "desired": {"on": {"timestamp": 7}, "rgb": {"r": {"timestamp": 7}}},
                "reported": times,
            },
            "version": 2,
        },
        "timestamp": 8,
    }
    found = json.loads(aws.got(after, ["on", "rgb"], 9, "g"))
    assert found["state"]["delta"] == state
    assert found.keys() == {"state", "metadata", "version", "timestamp", "clientToken"}
    assert json.loads(aws.got(before, [], 9, None))["state"] == {"reported": reported}
    assert json.loads(aws.deleted(3, 9, "t")) == {"version": 3, "timestamp": 9, "clientToken": "t"}
    assert json.loads(aws.rejected(409, 'a "b"', 9, None)) == {"code": 409, "message": 'a "b"', "timestamp": 9}
    assert json.loads(aws.got(EMPTY, [], 9, None))["state"] == {}
