"""Topics: what is built can be read back, and nothing that was not built by us can be."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twin.errors import InvalidName
from twin.model import NAME, Kind, TwinKey
from twin.wire import topics

pytestmark = pytest.mark.fast

NAMES = st.from_regex(NAME, fullmatch=True).filter(lambda name: len(name) <= 63)
KEYS = st.builds(TwinKey, st.sampled_from(Kind), NAMES, NAMES)
EVIL = [
    "",
    "#",
    "+",
    "a#",
    "a+b",
    "a\0b",
    "$SYS",
    "A",
    "ä",
    ".a",
    "a.",
    "-",
    "a b",
    "a\n",
    "a" * 64,
    "a" * 70_000,
    "\ud800",
]


@given(NAMES, KEYS)
def test_a_report_topic_can_be_read_back(reporter, key):
    assert topics.parse_report(topics.report(reporter, key)) == topics.ReportTopic(reporter, key)


@given(KEYS)
def test_a_delta_topic_can_be_read_back(key):
    assert topics.parse_delta(topics.delta(key)) == key


@given(NAMES)
def test_account_topics_can_be_read_back(account):
    assert topics.parse_mapper(topics.mapper_state(account)) == account
    assert topics.parse_mapper(topics.mapper_config(account)) == account
    assert topics.is_reply(topics.reply(account, "1"))


def test_the_topics_are_these():
    key = TwinKey.parse("plant/tank")
    assert topics.report("modbus", key) == "et/1/report/modbus/device/plant/tank"
    assert topics.reports_of("modbus") == "et/1/report/modbus/#"
    assert topics.ack("modbus") == "et/1/ack/modbus"
    assert topics.delta(key) == "et/1/delta/device/plant/tank"
    assert topics.mapper_config("modbus") == "et/1/mapper/modbus/config"
    assert topics.mapper_state("modbus") == "et/1/mapper/modbus/state"
    assert topics.request("get") == "et/1/api/get"
    assert topics.parse_request("et/1/api/get") == "get"
    assert topics.reply("me", "7") == "et/1/reply/me/7"
    assert topics.replies("me") == "et/1/reply/me/#"


@pytest.mark.parametrize("evil", EVIL, ids=range(len(EVIL)))
@pytest.mark.parametrize("level", [3, 4, 5, 6])
def test_no_level_of_a_report_topic_takes_anything_but_a_name(evil, level):
    levels = ["et", "1", "report", "modbus", "device", "plant", "tank"]
    levels[level] = evil
    with pytest.raises(InvalidName) as caught:
        topics.parse_report("/".join(levels))
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize("evil", EVIL, ids=range(len(EVIL)))
@pytest.mark.parametrize("level", [3, 4, 5])
def test_no_level_of_a_delta_topic_takes_anything_but_a_name(evil, level):
    levels = ["et", "1", "delta", "device", "plant", "tank"]
    levels[level] = evil
    with pytest.raises(InvalidName):
        topics.parse_delta("/".join(levels))


@pytest.mark.parametrize("evil", EVIL, ids=range(len(EVIL)))
def test_no_mapper_account_but_a_name(evil):
    with pytest.raises(InvalidName):
        topics.parse_mapper(f"et/1/mapper/{evil}/state")


@pytest.mark.parametrize(
    "topic", ["", "et/1/report", "et/1/report/m/device/plant", "et/1/report/m/device/plant/tank/x"]
)
def test_a_topic_of_another_depth_is_refused(topic):
    with pytest.raises(InvalidName):
        topics.parse_report(topic)
    with pytest.raises(InvalidName):
        topics.parse_delta(topic)


@given(st.text())
def test_any_text_is_a_topic_or_an_invalid_name(text):
    for parse in (topics.parse_report, topics.parse_delta):
        with pytest.raises(InvalidName):
            parse(text)


@pytest.mark.parametrize(
    "topic",
    [
        "",
        "et/1/reply",
        "et/1/reply/me",
        "et/1/reply/me/1/more",
        "et/1/reply/me/#",
        "et/1/reply/+/1",
        "et/1/reply/me/a\0b",
        "et/1/reply//1",
        "et/1/reply/me/",
        "et/1/replyx/me/1",
        "et/1/report/me/1",
        "et/2/reply/me/1",
        "/et/1/reply/me",
        "$SYS/broker/reply/me/1",
        "$share/et/1/reply/me",
        "et/1/delta/device/plant/tank",
        "et/1/reply/me/" + "a" * 70_000,
    ],
    ids=lambda topic: topic[:30],
)
def test_replies_go_nowhere_else(topic):
    assert not topics.is_reply(topic)


@pytest.mark.parametrize("text", ["a/b/c/d", "nokind/plant/tank", "device//tank", "/tank", "tank/", "a\nb"])
def test_a_twin_key_is_one_to_three_names(text):
    with pytest.raises(InvalidName):
        TwinKey.parse(text)


def test_a_short_twin_key_is_a_device_in_the_default_namespace():
    assert str(TwinKey.parse("tank")) == "device/default/tank"
    assert str(TwinKey.parse("plant/tank")) == "device/plant/tank"
    assert str(TwinKey.parse("pod/plant/tank")) == "pod/plant/tank"
