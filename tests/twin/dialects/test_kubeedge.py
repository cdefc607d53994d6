"""The recorded steps of a KubeEdge node, in order, compared as bytes with times and drawn ids masked."""

import json
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twin.dialects.kubeedge import get, update

pytestmark = pytest.mark.fast

STEPS = [
    json.loads(line)
    for line in (Path(__file__).parents[2] / "conformance/kubeedge-twin.jsonl").read_text("utf-8").splitlines()
]
UUID = "3b241101-e2bb-4255-8caf-4136c566a962"


def masked(body):
    # The recorded bodies were decoded and written again, so Go's own escapes of <, > and & are gone from them.
    body = re.sub(r"\\u00(26|3c|3e)", lambda escape: chr(int(escape[1], 16)), body)
    text = re.sub(r'"timestamp":\d+', '"timestamp":0', body)
    return re.sub(r'"event_id":"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"', '"event_id":"~"', text)


def answers():
    known = {"default/d1": {}}
    for step in STEPS:
        device, payload = step["device"], step["in"].encode()
        if step["kind"] == "get":
            answer = get(device, known.get(device), payload, now_ms=step["n"])
        else:
            answer = update(
                device, known.get(device), payload, now_ms=step["n"], event_id=lambda: UUID, sync=step["kind"] == "sync"
            )
        if answer.twins is not None:
            known[device] = answer.twins
        yield step, answer


def test_every_recorded_answer_is_given_byte_for_byte():
    wrong = []
    for step, answer in answers():
        if step["out"] is None:
            continue
        given_ = [(one.resource, one.cloud, masked(one.body.decode())) for one in answer.sent]
        wanted = [
            (one["resource"], one["to"] == "SendToCloud", masked(json.dumps(one["body"], separators=(",", ":"))))
            for one in step["out"]
        ]
        if given_ != wanted:
            wrong.append((step["n"], given_, wanted))
    assert wrong == []


def test_the_answers_that_were_not_recorded_follow_the_rules():
    ends = {
        step["n"]: [one.resource.rpartition("/")[2] for one in answer.sent]
        for step, answer in answers()
        if step["out"] is None
    }
    changed = ["result", "document", "delta", "edge_updated"]
    assert ends == {
        5: ["result"],
        9: ["result"],
        12: changed,
        14: changed,
        18: ["result", "delta"],
        22: ["result", "document", "edge_updated"],
        24: ["result", "document", "edge_updated"],
        27: ["result", "document", "edge_updated"],
        30: ["result"],
        34: ["document"],
        37: ["document", "delta", "edge_updated"],
        38: ["delta", "edge_updated"],
    }


@given(st.binary(max_size=60), st.booleans())
def test_garbage_is_answered_and_never_raises(payload, sync):
    assert update("a/b", {}, payload, now_ms=1, event_id=lambda: UUID, sync=sync).twins in (None, {})
    assert get("a/b", {}, payload, now_ms=1).sent


def test_a_lone_surrogate_is_written_as_go_writes_it():
    payload = b'{"event_id":"\\ud800","twin":{"a":{"actual":{"value":"1"}}}}'
    answer = update("default/d1", {}, payload, now_ms=1, event_id=lambda: UUID)
    assert b'"event_id":"\xef\xbf\xbd"' in answer.sent[0].body


def test_deeply_nested_json_is_answered_like_any_other_garbage():
    answer = get("default/d1", {}, b"[" * 100_000, now_ms=1)
    assert json.loads(answer.sent[0].body)["code"] == 400
