"""Whatever changes come in whatever order: the outcome is that of the whole table, and planes that are told agree."""

import time
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.compile import Compiled, change, compile_table, table_difference
from mesh.model.policies import CircuitBreaker, Degrade, Policy, When
from mesh.model.programme import Programme
from mesh.model.routes import RouteKind
from mesh.model.services import Plane, PortKey, Service, ServicePort, Transport
from mesh.model.table import Table, TableChange
from tests.mesh.tables import at, pkey, rkey, route, rule, service, skey, table, to

pytestmark = pytest.mark.fast

NAMES = ("a", "b", "c", "d")
# Some places are frontends of ours, so that loops arise.
PLACES = ("10.0.0.1:80", "10.0.0.2:80", "10.96.0.1:80", "10.96.0.2:80", "127.0.0.1:30080")

endpoints = st.lists(
    st.builds(
        at,
        st.sampled_from(PLACES),
        ready=st.booleans(),
        terminating=st.booleans(),
        node=st.sampled_from(("", "gw-1")),
        via=st.sampled_from(("", "", "gw-2")),
    ),
    max_size=3,
)
ports = st.lists(
    st.builds(
        ServicePort,
        st.sampled_from((80, 81)),
        transport=st.sampled_from(Transport),
        node_port=st.sampled_from((0, 0, 30080)),
        endpoints=endpoints.map(tuple),
    ),
    max_size=2,
    unique_by=lambda one: (one.port, one.transport),
)
services = st.builds(
    Service,
    st.sampled_from(NAMES).map(skey),
    st.sampled_from(("", "10.96.0.1", "10.96.0.2")),
    ports.map(tuple),
    external_name=st.sampled_from(("", "", "a.example.com")),
    local_only=st.booleans(),
    plane=st.sampled_from((None, Plane.NFTABLES)),
    generation=st.integers(0, 1),
)
keys = st.builds(PortKey, st.sampled_from(NAMES).map(skey), st.sampled_from((0, 80, 81)))
routes = st.builds(
    lambda name, kind, parents, backends, hostnames, created: route(
        name, rule(*backends), rule(*backends[:1]), parents=parents, kind=kind, hostnames=hostnames, created_ms=created
    ),
    st.sampled_from(NAMES),
    st.sampled_from(RouteKind),
    st.lists(keys, min_size=1, max_size=2),
    st.lists(st.builds(to, st.sampled_from(NAMES)), max_size=2),
    st.lists(st.sampled_from(("a.b", "*.b")), max_size=2, unique=True).map(tuple),
    st.integers(0, 1),
)
policies = st.sampled_from(
    (Policy(), Policy(breaker=CircuitBreaker()), Policy(degrade=(Degrade(When.NO_ENDPOINT, to("a")),)))
)
service_keys, route_keys = st.sampled_from(NAMES).map(skey), st.builds(rkey, st.sampled_from(NAMES))
some_services = st.lists(services, max_size=3, unique_by=lambda one: one.key).map(tuple)
some_routes = st.lists(routes, max_size=3, unique_by=lambda one: one.key).map(tuple)
changes = st.one_of(
    st.builds(TableChange, some_services),
    st.builds(
        TableChange,
        routes=some_routes,
        route_policies=st.dictionaries(route_keys, policies, max_size=2),
        gone_routes=st.lists(st.builds(rkey, st.sampled_from(NAMES), st.sampled_from(RouteKind)), max_size=3).map(
            tuple
        ),
    ),
    st.builds(
        TableChange,
        some_services,
        some_routes,
        st.dictionaries(service_keys, policies, max_size=2),
        st.dictionaries(route_keys, policies, max_size=2),
    ),
    st.builds(
        TableChange,
        gone_services=st.lists(service_keys, max_size=2, unique=True).map(tuple),
        gone_routes=st.lists(route_keys, max_size=2, unique=True).map(tuple),
        gone_policies=st.lists(service_keys, max_size=1).map(tuple),
    ),
)


class Told:
    """What a plane knows that was told deltas alone."""

    def __init__(self):
        self.frontends, self.backends = {}, {}

    def take(self, delta):
        for known, new, gone in (
            (self.frontends, delta.frontends, delta.gone_frontends),
            (self.backends, delta.backends, delta.gone_backends),
        ):
            for one in new:
                assert known.get(one.key) != one, "told what it knew"
                known[one.key] = one
            for key in gone:
                del known[key]


@given(st.lists(changes, max_size=6))
def test_any_changes_in_any_order_give_what_the_whole_table_gives(found):
    compiled, told = Compiled("gw-1"), Told()
    for one in found:
        compiled, delta = change(compiled, one)
        told.take(delta)
        whole = compile_table(compiled.table, Compiled("gw-1"))
        assert compiled == whole
        assert Programme(told.frontends, told.backends) == whole.programme


RINGS = {"a": "10.96.0.1", "b": "10.96.0.2", "c": "10.96.0.3"}
in_rings = st.builds(
    lambda name, places: service(name, *places, address=RINGS[name]),
    st.sampled_from(sorted(RINGS)),
    st.lists(st.sampled_from((*(f"{one}:80" for one in RINGS.values()), "10.0.0.1:80")), max_size=2, unique=True),
)


@given(st.lists(in_rings, max_size=8))
def test_circles_that_close_and_open_again_are_those_of_the_whole_table(found):
    compiled = Compiled()
    for one in found:
        compiled, _ = change(compiled, TableChange((one,)))
        assert compiled == compile_table(compiled.table)


@given(st.lists(changes, max_size=3), st.lists(changes, max_size=3), st.randoms())
def test_the_order_in_which_a_table_is_written_means_nothing(first, second, rng):
    compiled = Compiled("gw-1")
    for one in (*first, *second):
        compiled, _ = change(compiled, one)
    shuffled = compile_table(Table(*(_shuffled(one, rng) for one in _parts(compiled.table))), Compiled("gw-1"))
    assert (shuffled.programme, shuffled.problems) == (compiled.programme, compiled.problems)


@given(st.lists(changes, max_size=3), st.lists(changes, max_size=3))
def test_every_table_is_reached_from_every_other(first, second):
    one, two = Compiled(), Compiled()
    for each in first:
        one, _ = change(one, each)
    for each in second:
        two, _ = change(two, each)
    assert change(one, table_difference(one.table, two.table))[0] == two


def _parts(found):
    return found.services, found.routes, found.policies, found.route_policies


def _shuffled(mapping, rng):
    items = list(mapping.items())
    rng.shuffle(items)
    return dict(items)


def test_one_endpoint_of_a_thousand_services_is_changed_in_much_less_than_a_millisecond():
    many = [
        service(f"s{n}", *(f"10.{n // 250}.{n % 250}.{e}:80" for e in range(4)), address=f"10.97.{n // 250}.{n % 250}")
        for n in range(1000)
    ]
    compiled = compile_table(table(*many, *(route(f"r{n}", rule(f"s{n}"), parents=[pkey(f"s{n}")]) for n in range(50))))
    took = []
    for n in range(100):
        was = many[n]
        other = replace(was, ports=(replace(was.ports[0], endpoints=was.ports[0].endpoints[:-1]),))
        began = time.perf_counter()
        compiled, delta = change(compiled, TableChange(services=(other,)))
        took.append(time.perf_counter() - began)
        assert len(delta.backends) == 1
    assert min(took) < 0.001
