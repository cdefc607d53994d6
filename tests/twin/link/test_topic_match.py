import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from twin.errors import InvalidName
from twin.link.topic_match import CACHE_TOPICS, Routes, checked_filter, checked_topic, matches

pytestmark = pytest.mark.fast

levels = st.lists(st.text(alphabet="ab$", max_size=2), min_size=1, max_size=4)


@pytest.mark.parametrize(
    ("topic_filter", "topic", "expected"),
    [
        ("a", "a", True),
        ("a", "a/b", False),
        ("a/b", "a", False),
        ("+", "a", True),
        ("+", "/a", False),
        ("/+", "/a", True),
        ("+/+", "/a", True),
        ("#", "a/b", True),
        ("a/#", "a", True),
        ("a/#", "ab", False),
        ("#", "$SYS/x", False),
        ("+/x", "$SYS/x", False),
        ("$SYS/#", "$SYS/x", True),
        ("a/#", "a/$x", True),
    ],
)
def test_matching_follows_the_specification(topic_filter, topic, expected):
    assert matches(topic_filter, topic) is expected


@given(levels)
def test_a_topic_matches_itself(parts):
    topic = "/".join(parts)
    assert matches(topic, topic)


@given(levels, st.data())
def test_a_plus_stands_for_any_one_level(parts, data):
    at = data.draw(st.integers(1, len(parts)))
    topic = "/".join(["first", *parts])
    wild = ["first", *parts]
    wild[at] = "+"
    assert matches("/".join(wild), topic)
    assert not matches("/".join(wild), topic + "/more")


@example("$share/")
@example("$share/group/topic")
@given(st.text())
def test_an_accepted_topic_is_an_accepted_filter_that_matches_it(text):
    try:
        topic = checked_topic(text)
    except InvalidName:
        return
    assert matches(checked_filter(topic), topic)


def test_a_copy_for_one_filter_goes_to_the_handlers_that_filter_owns():
    routes = Routes()
    first, second = (lambda message: None), (lambda message: None)
    wide = routes.add("a/#", first, 0)
    narrow = routes.add("a/b", first, 1)
    routes.add("a/b", second, 0)
    assert narrow.qos == 1
    assert routes.handlers("a/b") == (first, second)
    assert routes.handlers("a/b", wide.number) == (first,)
    assert routes.handlers("a/b", narrow.number) == (second,)
    assert routes.on_subscribe("a/b", narrow.number) == (first, second)
    assert routes.remove(wide, first)
    assert routes.handlers("a/b", narrow.number) == (first, second)
    assert routes.handlers("a/b", wide.number) == ()


def test_the_cache_is_bounded():
    routes = Routes()
    routes.add("#", lambda message: None, 0)
    for number in range(CACHE_TOPICS + 10):
        routes.handlers(f"t/{number}")
    assert len(routes._cache) <= CACHE_TOPICS
