"""Whatever is learnt in whatever order: services are judged by all of it, and the programme is that of the whole."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.compile import Compiled, compile_table
from mesh.judging import VOTE_AGE_MS, judged
from mesh.model.policies import HealthCheck, Policy, StaleRule
from mesh.model.programme import ProgrammeDelta
from mesh.model.services import Origin, Plane
from mesh.model.table import Table, TableChange
from mesh.state import State, Step
from tests.mesh.tables import at, pkey, route, rule, service, skey, table

pytestmark = pytest.mark.fast

ONE, TWO = at("10.0.0.1:80"), at("10.0.0.2:80")
FAR = at("10.0.2.1:80", node="gw-2", origin=Origin.CLOUD)
PEER = at("10.0.3.1:80", node="gw-3", origin=Origin.PEER)
ASKED = Policy(health_check=HealthCheck(), stale=StaleRule(1000))


def state(*items, now_ms=0, **policies):
    found = State(Compiled("gw-1"), now_ms)
    found.whole(table(*items, policies=policies), now_ms)
    return found


def usable(found, name="web"):
    return [one.place for one in found.compiled.programme.backends[pkey(name)].endpoints if one.ready]


def spot(endpoint, name="web"):
    return pkey(name), endpoint.place


def test_what_a_probe_finds_reaches_the_programme_and_no_frontend():
    found = state(service("web", ONE, TWO), service("other", ONE, address="10.96.0.2"), web=ASKED)
    step = found.found({spot(ONE): False}, 10)
    assert usable(found) == [TWO.place]
    assert [one.key for one in step.services] == [skey()]
    assert [one.key for one in step.delta.backends] == [pkey()]
    assert (step.delta.frontends, step.gone) == ((), ())
    assert found.found({spot(ONE): True}, 20).delta.backends
    assert usable(found) == [ONE.place, TWO.place]


def test_what_is_found_of_what_nobody_asks_is_nothing():
    found = state(service("web", ONE, TWO), service("free", ONE, TWO, address=""), web=ASKED)
    assert found.found({spot(ONE, "free"): False, spot(ONE, "gone"): False, spot(FAR): False}, 10) == Step()


def test_what_was_found_goes_with_the_endpoint_and_with_the_check():
    found = state(service("web", ONE, TWO), web=ASKED)
    found.found({spot(ONE): False}, 10)
    found.change(TableChange(services=(service("web", TWO),)), 20)
    found.change(TableChange(services=(service("web", ONE, TWO),)), 30)
    assert usable(found) == [ONE.place, TWO.place]
    found.found({spot(ONE): False}, 40)
    found.change(TableChange(policies={skey(): Policy()}), 50)
    assert usable(found) == [ONE.place, TWO.place]


def test_votes_are_in_place_of_those_before_and_grow_old():
    found = state(service("web", ONE, TWO))
    for node in ("b", "c"):
        found.voted(node, {spot(ONE): False}, 0, 0)
    assert usable(found) == [TWO.place]
    assert found.passed(VOTE_AGE_MS) == Step()
    assert found.passed(VOTE_AGE_MS + 1).services
    assert usable(found) == [ONE.place, TWO.place]
    found.voted("b", {spot(ONE): False}, 20_000, 20_000)
    found.voted("c", {spot(ONE): False}, 20_000, 20_000)
    assert found.voted("c", {}, 20_001, 20_001).services
    assert usable(found) == [ONE.place, TWO.place]


def test_without_the_cloud_what_it_said_grows_old_and_is_fresh_again_with_it():
    found = state(service("web", ONE, FAR), web=ASKED)
    found.reached(set(), 500, cloud=False)
    found.reached(set(), 900, cloud=False)
    assert found.passed(1499) == Step()
    assert found.passed(1500).services[0].ports[0].endpoints[1].stale
    assert not found.reached(set(), 1600, cloud=True).services[0].ports[0].endpoints[1].stale


def test_a_peer_that_is_lost_grows_old_and_one_that_was_never_heard_too():
    found = state(service("web", ONE, PEER), now_ms=0, web=ASKED)
    assert found.passed(1000).services
    assert found.reached({"gw-3"}, 1200, cloud=True).services
    found.reached(set(), 1300, cloud=True)
    assert found.passed(2299) == Step()
    assert found.passed(2300).services


def test_what_is_gone_is_named():
    found = state(service("web", ONE), service("x", address=""))
    step = found.whole(table(service("x", address="")), 1)
    assert (step.gone, step.delta.gone_frontends, step.delta.gone_backends) == ((skey(),), (pkey(),), (pkey(),))


def test_a_route_alone_is_a_step_of_its_frontend():
    found = state(service("web", ONE))
    step = found.change(TableChange(routes=(route("r", rule("web")),)), 1)
    assert (step.services, [one.key for one in step.delta.frontends]) == ((), [pkey()])


def test_a_machine_without_nftables_is_a_step_of_the_frontends_that_wanted_it():
    found = state(
        service("web", ONE, address="10.96.0.1", plane=Plane.NFTABLES), service("x", ONE, address="10.96.0.2")
    )
    step = found.no_kernel("not root")
    assert [(one.key, one.plane) for one in step.delta.frontends] == [(pkey(), Plane.USERSPACE)]
    assert [one.plane for one in found.no_kernel("").delta.frontends] == [Plane.NFTABLES]
    assert found.no_kernel("") == Step()


def test_a_change_that_fails_is_as_if_it_had_not_been(monkeypatch):
    found = state(service("web", ONE))
    before = found.listed, found.compiled, found.known
    with monkeypatch.context() as broken:
        broken.setattr("mesh.state.change", None)
        with pytest.raises(TypeError):
            found.change(TableChange(services=(service("web", TWO),)), 1)
    assert (found.listed, found.compiled, found.known) == before
    found.change(TableChange(services=(service("web", TWO),)), 2)
    assert usable(found) == [TWO.place]


def test_nothing_new_is_no_step():
    found = state(service("web", ONE))
    assert found.whole(found.listed, 5) == Step()
    assert found.reached(set(), 6, cloud=True) == Step()
    assert Step().delta == ProgrammeDelta()


spots = st.tuples(
    st.sampled_from([pkey("a"), pkey("b")]), st.sampled_from([one.place for one in (ONE, TWO, FAR, PEER)])
)
findings = st.dictionaries(spots, st.booleans(), max_size=3)
services = st.builds(
    lambda name, some: service(name, *some, address=""),
    st.sampled_from("ab"),
    st.lists(st.sampled_from([ONE, TWO, FAR, PEER, replace(TWO, ready=False)]), max_size=4, unique=True),
)
policies = st.sampled_from([ASKED, Policy(), Policy(stale=StaleRule(3000, drop=True))])
keys = st.sampled_from([skey("a"), skey("b")])
learnt = st.one_of(
    st.tuples(
        st.just("change"),
        st.builds(
            TableChange,
            st.lists(services, max_size=2, unique_by=lambda one: one.key).map(tuple),
            policies=st.dictionaries(keys, policies, max_size=2),
        ),
    ),
    st.tuples(st.just("change"), st.builds(lambda key: TableChange(gone_services=(key,)), keys)),
    st.tuples(st.just("change"), st.builds(lambda key: TableChange(gone_policies=(key,)), keys)),
    st.tuples(st.just("found"), findings),
    st.tuples(st.just("voted"), st.tuples(st.sampled_from(("gw-2", "gw-3", "gw-4")), findings)),
    st.tuples(st.just("reached"), st.tuples(st.sets(st.sampled_from(("gw-2", "gw-3"))), st.booleans())),
    st.tuples(st.just("passed"), st.none()),
)


@given(st.lists(st.tuples(st.integers(0, 20_000), learnt), max_size=8))
def test_any_steps_lead_to_what_the_whole_says(steps):
    found, now_ms, told, table_told = State(Compiled("gw-1"), 0), 0, {}, {}
    for later_ms, (what, said) in steps:
        now_ms += later_ms
        for step in [found.passed(now_ms), one_step(found, what, said, now_ms)]:
            told |= {one.key: one for one in step.delta.backends}
            table_told |= {one.key: one for one in step.services}
            for key in step.delta.gone_backends:
                del told[key]
            for key in step.gone:
                table_told.pop(key, None)
    wanted = {
        key: judged(one, found.listed.policies.get(key, Policy()).stale, found.known, now_ms)
        for key, one in found.listed.services.items()
    }
    assert found.compiled.table == Table(wanted, found.listed.routes, found.listed.policies, {})
    assert found.compiled == compile_table(found.compiled.table, Compiled("gw-1"))
    assert told == found.compiled.programme.backends
    assert table_told == wanted


def one_step(found, what, said, now_ms):
    if what == "change":
        return found.change(said, now_ms)
    if what == "found":
        return found.found(said, now_ms)
    if what == "voted":
        return found.voted(said[0], said[1], now_ms, now_ms)
    if what == "reached":
        return found.reached(said[0], now_ms, cloud=said[1])
    return found.passed(now_ms)
