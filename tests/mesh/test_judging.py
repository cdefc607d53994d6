"""Whom to believe of an endpoint: what was found here, then what others found, then the lists; and when all is lost."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.judging import VOTE_AGE_MS, Heard, Known, judged, next_ms
from mesh.model.policies import StaleRule
from mesh.model.services import Origin
from tests.mesh.tables import at, pkey, service

pytestmark = pytest.mark.fast

ONE = at("10.0.0.1:80")
TWO = at("10.0.0.2:80")
FAR = at("10.0.2.1:80", node="gw-2", origin=Origin.CLOUD)
PEER = at("10.0.3.1:80", node="gw-3", origin=Origin.PEER)
AGE = StaleRule(max_age_ms=1000)
DROP = StaleRule(max_age_ms=1000, drop=True)


def spot(endpoint):
    return pkey(), endpoint.place


def heard(at_ms=0, **found):
    return Heard({spot({"one": ONE, "two": TWO}[name]): alive for name, alive in found.items()}, at_ms)


def states(*endpoints, known, now_ms=0, rule=AGE):
    found = judged(service("web", *endpoints), rule, known, now_ms).ports[0].endpoints
    return {one.place: "stale" if one.stale and one.ready else one.ready for one in found}


def test_what_was_found_here_counts_whatever_others_say():
    dead = Known(here={spot(ONE): False}, others={"b": heard(one=True), "c": heard(one=True)})
    assert states(ONE, TWO, known=dead) == {ONE.place: False, TWO.place: True}
    alive = Known(here={spot(ONE): True}, others={"b": heard(one=False), "c": heard(one=False)})
    assert states(ONE, TWO, known=alive) == {ONE.place: True, TWO.place: True}


def test_what_is_not_ready_does_not_become_so_by_a_probe():
    known = Known(here={spot(ONE): True})
    assert states(at("10.0.0.1:80", ready=False), TWO, known=known)[ONE.place] is False


@pytest.mark.parametrize(
    ("votes", "state"),
    [
        ([False, False], False),
        ([False, False, True], False),
        ([False, True], True),
        ([True, True, False], True),
        ([False], "stale"),
        ([True], True),
    ],
)
def test_the_most_of_two_or_more_others_decide_and_one_alone_is_doubted(votes, state):
    others = {f"gw-{number}": heard(one=alive) for number, alive in enumerate(votes)}
    assert states(ONE, TWO, known=Known(others=others))[ONE.place] == state


def test_a_gateway_has_no_vote_about_itself():
    mine = at("10.0.0.1:80", node="gw-3")
    others = {"gw-3": heard(one=True), "gw-2": heard(one=False), "gw-4": heard(one=False)}
    assert states(mine, TWO, known=Known(others=others))[ONE.place] is False
    assert states(mine, TWO, known=Known(others={"gw-3": heard(one=False)}))[ONE.place] is True


def test_old_votes_say_nothing():
    others = {"b": heard(one=False), "c": heard(one=False)}
    assert states(ONE, TWO, known=Known(others=others), now_ms=VOTE_AGE_MS)[ONE.place] is False
    assert states(ONE, TWO, known=Known(others=others), now_ms=VOTE_AGE_MS + 1)[ONE.place] is True


def test_if_all_are_found_dead_health_is_not_asked():
    known = Known(here={spot(ONE): False, spot(TWO): False})
    assert states(ONE, TWO, known=known) == {ONE.place: True, TWO.place: True}
    not_ready = at("10.0.0.3:80", ready=False)
    assert states(ONE, not_ready, known=known) == {ONE.place: True, not_ready.place: False}


@pytest.mark.parametrize(
    ("endpoint", "known"),
    [
        (FAR, Known(cloud_lost_ms=500)),
        (PEER, Known(peers_lost_ms={"gw-3": 500})),
        (PEER, Known(since_ms=500)),
    ],
)
def test_what_was_heard_too_long_ago_comes_last_or_is_dropped(endpoint, known):
    assert states(ONE, endpoint, known=known, now_ms=1499)[endpoint.place] is True
    assert states(ONE, endpoint, known=known, now_ms=1500)[endpoint.place] == "stale"
    assert states(ONE, endpoint, known=known, now_ms=1499, rule=DROP)[endpoint.place] is True
    assert states(ONE, endpoint, known=known, now_ms=1500, rule=DROP) == {ONE.place: True}


@pytest.mark.parametrize(
    ("endpoint", "known"),
    [
        (FAR, Known()),
        (PEER, Known(peers=frozenset({"gw-3"}), peers_lost_ms={"gw-3": 0})),
        (at("192.0.2.1:80", origin=Origin.CLOUD), Known(cloud_lost_ms=0)),
        (at("10.0.0.9:80", node="gw-2"), Known(cloud_lost_ms=0)),
        (at("10.0.0.9:80", node="gw-1", origin=Origin.HERE), Known(cloud_lost_ms=0)),
    ],
)
def test_what_is_heard_or_known_here_does_not_age(endpoint, known):
    assert states(endpoint, known=known, now_ms=10**9)[endpoint.place] is True


def test_what_was_stale_when_it_came_stays_so():
    assert states(at("10.0.0.1:80", stale=True), known=Known())[ONE.place] == "stale"


def test_two_gateways_without_a_cloud_stop_using_a_dead_third():
    third = at("10.0.3.1:80", node="gw-3", origin=Origin.CLOUD)
    known = Known(here={spot(third): False}, others={"gw-2": heard()}, cloud_lost_ms=0)
    assert states(ONE, third, known=known) == {ONE.place: True, third.place: False}


def test_a_service_that_nothing_is_held_against_stays_the_same_object():
    web = service("web", ONE, FAR)
    assert judged(web, AGE, Known(cloud_lost_ms=0), 999) is web


findings = st.dictionaries(st.sampled_from([spot(ONE), spot(TWO), spot(FAR)]), st.booleans(), max_size=3)
times = st.integers(0, 40_000)
knowns = st.builds(
    Known,
    findings,
    st.dictionaries(st.sampled_from(("gw-2", "gw-3", "gw-4")), st.builds(Heard, findings, times), max_size=3),
    st.one_of(st.none(), times),
    st.frozensets(st.sampled_from(("gw-2", "gw-3"))),
    st.dictionaries(st.sampled_from(("gw-2", "gw-3")), times, max_size=2),
    times,
)
rules = st.builds(StaleRule, st.integers(0, 40_000), st.booleans())
some = st.lists(st.sampled_from([ONE, TWO, FAR, PEER, at("10.0.0.9:80", ready=False)]), max_size=4, unique=True)


@given(some, rules, knowns, times)
def test_a_service_that_had_something_ready_keeps_something_ready(endpoints, rule, known, now_ms):
    before = service("web", *endpoints)
    after = judged(before, rule, known, now_ms).ports[0].endpoints
    kept = {one.place for one in after}
    assert any(one.ready for one in after) == any(one.ready and one.place in kept for one in endpoints)
    assert {one.place for one in after if one.ready} <= {one.place for one in endpoints if one.ready}
    assert kept == {one.place for one in endpoints} or rule.drop


@given(some, rules, knowns, times, times)
def test_between_turns_time_changes_nothing(endpoints, rule, known, now_ms, later_ms):
    web = service("web", *endpoints)
    turn = next_ms([(web, rule)], known, now_ms)
    if later_ms >= now_ms and (turn is None or later_ms < turn):
        assert judged(web, rule, known, later_ms) == judged(web, rule, known, now_ms)
