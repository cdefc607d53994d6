"""What becomes of a table: frontends, their rules in order, the endpoints that count, the plane, and what is wrong."""

from dataclasses import replace

import pytest

from mesh.compile import Compiled, change, compile_table, difference, table_difference
from mesh.model.policies import (
    Balance,
    CircuitBreaker,
    Degrade,
    DirectResponse,
    KeyKind,
    KeyOf,
    LoadBalancer,
    Policy,
    RateLimit,
    TokenBucket,
    When,
)
from mesh.model.programme import Programme, ProgrammeDelta
from mesh.model.routes import Backend, MatchType, Mirror, RouteKind, ValueMatch
from mesh.model.services import AppProtocol, Plane, PortKey, Service, ServicePort, Transport
from mesh.model.table import Table, TableChange
from mesh.problems import Condition, Reason
from tests.mesh import tables
from tests.mesh.tables import at, path, pkey, rkey, route, rule, skey, table, to

pytestmark = pytest.mark.fast


def service(name="web", *endpoints, address="10.96.0.1", **fields):
    return tables.service(name, *endpoints, address=address, **fields)


def compiled(*items, node="", plane=Plane.USERSPACE, **policies):
    return compile_table(table(*items, **policies), Compiled(node, plane))


def frontend(found, name="web", port=80, transport=Transport.TCP):
    return found.programme.frontends[pkey(name, port, transport)]


def first_backends(found, name="web"):
    """The first backend of each rule in order."""
    return [bound.rule.backends[0].port.service.name for bound in frontend(found, name).rules]


def ready(found, name="web"):
    return [one.place for one in found.programme.backends[pkey(name)].endpoints if one.ready]


def why(found, subject):
    return [problem.reason for problem in found.problems.get(subject, ())]


# -- frontends ---------------------------------------------------------------------------------------------------------


def test_a_service_without_a_route_leads_to_its_own_endpoints():
    found = compiled(service("web", "10.0.0.1:8080", affinity_s=30))
    face = frontend(found)
    assert (face.addresses, face.app, face.plane, face.affinity_s) == (
        ("10.96.0.1",),
        AppProtocol.RAW,
        Plane.USERSPACE,
        30,
    )
    assert [(bound.route, bound.rule.backends) for bound in face.rules] == [(None, (Backend(pkey()),))]
    assert found.programme.backends[pkey()].policy == Policy()
    assert found.problems == {}


def test_a_headless_service_has_endpoints_but_no_frontend():
    found = compiled(service("web", "10.0.0.1:80", address=""))
    assert found.programme.frontends == {}
    assert ready(found) == ["10.0.0.1:80"]


def test_a_node_port_is_a_frontend_with_or_without_an_address():
    found = compiled(service("web", address="", node_port=30080))
    assert (frontend(found).addresses, frontend(found).node_port) == ((), 30080)


def test_an_external_name_is_no_frontend():
    outside = replace(service("web", node_port=30080), external_name="example.com")
    assert compiled(outside).programme.frontends == {}


def test_the_same_number_serves_both_transports():
    ports = (ServicePort(53), ServicePort(53, transport=Transport.UDP))
    found = compiled(Service(skey("dns"), "10.96.0.9", ports))
    assert set(found.programme.frontends) == {pkey("dns", 53), pkey("dns", 53, Transport.UDP)}
    assert found.problems == {}


def test_an_address_that_two_services_want_is_that_of_the_first_by_name():
    one, two = service("a", node_port=30080), service("b", node_port=30080, address="10.96.0.2")
    twice = service("c")
    found = compiled(twice, two, one)
    assert set(found.programme.frontends) == {pkey("a"), pkey("b")}
    assert frontend(found, "b").node_port == 0
    assert why(found, skey("b")) == why(found, skey("c")) == [Reason.ADDRESS_TAKEN]
    after, _ = change(found, TableChange(gone_services=(skey("a"),)))
    assert frontend(after, "b").node_port == 30080
    assert after.problems == {}


# -- the order of rules ------------------------------------------------------------------------------------------------


def test_rules_are_tried_in_the_order_of_gateway_api():
    regex = path("/a.*", MatchType.REGEX)
    found = compiled(
        service("web"),
        route(
            "a",
            rule("all"),
            rule("everything", matches=[path("/")]),
            rule("regex", matches=[regex]),
            rule("short", matches=[path("/a")]),
            rule("long", matches=[path("/a/long/")]),
            rule("exact", matches=[path("/a", MatchType.EXACT)]),
            rule("method", matches=[path("/a", method="GET")]),
            rule("header", matches=[path("/a", headers=(ValueMatch("x", "1"),))]),
            rule("headers", matches=[path("/a", headers=(ValueMatch("x", "1"), ValueMatch("y", "1")))]),
            rule("query", matches=[path("/a", query=(ValueMatch("x", "1"),))]),
        ),
    )
    assert first_backends(found) == [
        "exact", "long", "method", "headers", "header", "query", "short", "regex", "all", "everything"
    ]  # fmt: skip


def test_a_better_host_name_comes_before_a_better_path():
    found = compiled(
        service("web"),
        route("a", rule("any", matches=[path("/x", MatchType.EXACT)])),
        route("b", rule("wild"), hostnames=("*.example.com",)),
        route("c", rule("wilder"), hostnames=("*.shop.example.com",)),
        route("d", rule("exact"), hostnames=("a.b",)),
    )
    assert first_backends(found) == ["exact", "wilder", "wild", "any"]


def test_of_equal_rules_that_of_the_older_route_wins_then_the_name():
    young, old = route("a", rule("young"), created_ms=2), route("z", rule("old"), created_ms=1)
    other = route("b", rule("other"), created_ms=2)
    assert first_backends(compiled(service("web"), young, other, old)) == ["old", "young", "other"]


def test_a_rule_with_several_matches_has_a_place_for_each():
    both = rule("both", matches=[path("/a"), path("/a/b/c"), path("/z")])
    found = compiled(service("web"), route("r", both, rule("between", matches=[path("/a/b")])))
    assert first_backends(found) == ["both", "between", "both"]
    paths = [[match.path for match in bound.rule.matches] for bound in frontend(found).rules]
    assert paths == [["/a/b/c"], ["/a/b"], ["/a", "/z"]]


def test_neighbours_that_do_the_same_are_one_rule():
    one = route("r", rule("x", matches=[path("/a")]), hostnames=("a.example.com", "b.example.com"))
    (bound,) = frontend(compiled(service("web"), one)).rules
    assert (bound.hostnames, bound.rule) == (("a.example.com", "b.example.com"), one.rules[0])


def test_a_rule_for_everything_stays_one_beside_a_rule_with_a_match():
    found = compiled(service("web"), route("r", rule("x"), rule("x", matches=[path("/")])))
    assert [bound.rule.matches for bound in frontend(found).rules] == [(), (path("/"),)]


def test_limits_and_degradations_of_a_route_go_with_its_rules():
    policy = Policy(rate_limit=RateLimit(TokenBucket(5)), degrade=(Degrade(When.OVER_LIMIT, DirectResponse(429)),))
    found = compiled(
        service("web"), service("x", address=""), route("r", rule("x")), route_policies={rkey("r"): policy}
    )
    (bound,) = frontend(found).rules
    assert (bound.rate_limit, bound.degrade) == (policy.rate_limit, policy.degrade)
    assert found.problems == {}


# -- kinds of routes ---------------------------------------------------------------------------------------------------


def test_a_parent_without_a_port_means_every_tcp_port():
    ports = (ServicePort(80), ServicePort(81), ServicePort(80, transport=Transport.UDP))
    web = Service(skey("web"), "10.96.0.1", ports)
    found = compiled(web, route("r", rule("web"), parents=[pkey(port=0)]))
    assert frontend(found).rules[0].route == frontend(found, port=81).rules[0].route == rkey("r")
    assert frontend(found, transport=Transport.UDP).rules[0].route is None
    assert found.problems == {}


def test_of_several_kinds_the_one_that_reads_most_counts():
    http, tls, tcp = (route("r", rule("web"), kind=kind) for kind in (RouteKind.HTTP, RouteKind.TLS, RouteKind.TCP))
    found = compiled(service("web"), tcp, tls, http)
    assert (frontend(found).app, [bound.route for bound in frontend(found).rules]) == (AppProtocol.HTTP, [http.key])
    assert why(found, tcp.key) == why(found, tls.key) == [Reason.CONFLICTED]
    assert frontend(compiled(service("web"), tcp, tls)).app is AppProtocol.TLS


def test_of_two_tcp_routes_the_older_counts():
    old, young = (route(name, rule(name), kind=RouteKind.TCP, created_ms=at) for name, at in (("o", 1), ("a", 2)))
    found = compiled(service("web"), service("o", address=""), service("a", address=""), young, old)
    assert first_backends(found) == ["o"]
    assert found.problems.keys() == {young.key}


def test_a_tcp_route_has_one_rule():
    found = compiled(service("web"), route("r", rule("web"), rule("web", name="second"), kind=RouteKind.TCP))
    assert len(frontend(found).rules) == 1


def test_tls_rules_go_by_host_name_alone():
    found = compiled(
        service("web"),
        route("a", rule("any"), kind=RouteKind.TLS),
        route("b", rule("one"), kind=RouteKind.TLS, hostnames=("one.example.com",)),
    )
    assert first_backends(found) == ["one", "any"]


# -- endpoints ---------------------------------------------------------------------------------------------------------


def test_endpoints_that_are_not_ready_are_known_but_not_used():
    found = compiled(service("web", "10.0.0.1:80", at("10.0.0.2:80", ready=False)))
    assert ready(found) == ["10.0.0.1:80"]
    assert len(found.programme.backends[pkey()].endpoints) == 2


def test_an_endpoint_that_ends_serves_while_no_other_does():
    ending = at("10.0.0.2:80", ready=False, terminating=True)
    assert ready(compiled(service("web", "10.0.0.1:80", ending))) == ["10.0.0.1:80"]
    assert ready(compiled(service("web", at("10.0.0.1:80", ready=False), ending))) == ["10.0.0.2:80"]
    assert ready(compiled(service("web", replace(ending, serving=False)))) == []
    assert ready(compiled(service("web", "10.0.0.1:80", replace(ending, ready=True)))) == ["10.0.0.1:80"]


def test_a_service_may_want_endpoints_that_are_not_ready():
    found = compiled(service("web", at("10.0.0.1:80", ready=False), publish_not_ready=True))
    assert ready(found) == ["10.0.0.1:80"]


def test_a_local_service_has_the_endpoints_of_this_gateway_alone():
    near, far = at("10.0.0.1:80", node="gw-1"), at("10.0.0.2:80", node="gw-2")
    found = compiled(service("web", near, far, local_only=True), node="gw-1")
    assert found.programme.backends[pkey()].endpoints == (near,)


def test_stale_endpoints_stay_and_say_so():
    old = at("10.0.0.1:80", stale=True)
    assert compiled(service("web", old)).programme.backends[pkey()].endpoints == (old,)


def test_a_place_that_is_named_twice_counts_once():
    found = compiled(service("web", at("10.0.0.1:80", weight=3), at("10.0.0.1:80", weight=1)))
    assert [one.weight for one in found.programme.backends[pkey()].endpoints] == [3]


# -- planes ------------------------------------------------------------------------------------------------------------

SOURCE = KeyOf(KeyKind.SOURCE)
HEADER = KeyOf(KeyKind.HEADER, "x")


@pytest.mark.parametrize(
    ("policy", "plane"),
    [
        (Policy(), Plane.NFTABLES),
        (Policy(rate_limit=RateLimit(TokenBucket(1), SOURCE)), Plane.NFTABLES),
        (Policy(balancer=LoadBalancer(Balance.CONSISTENT_HASH, SOURCE)), Plane.NFTABLES),
        (Policy(rate_limit=RateLimit(TokenBucket(1), HEADER)), Plane.USERSPACE),
        (Policy(balancer=LoadBalancer(Balance.CONSISTENT_HASH, HEADER)), Plane.USERSPACE),
        (Policy(balancer=LoadBalancer(Balance.LEAST_REQUEST)), Plane.USERSPACE),
        (Policy(balancer=LoadBalancer(warmup_ms=10)), Plane.USERSPACE),
        (Policy(breaker=CircuitBreaker()), Plane.USERSPACE),
        (Policy(degrade=(Degrade(When.NO_ENDPOINT, to("x")),)), Plane.USERSPACE),
    ],
)
def test_the_kernel_carries_what_packets_tell(policy, plane):
    web, other = service("web", "10.0.0.1:80", plane=Plane.NFTABLES), service("x", address="")
    found = compiled(web, other, policies={"web": policy})
    assert frontend(found).plane is plane
    assert why(found, skey()) == ([] if plane is Plane.NFTABLES else [Reason.PLANE_UNSUITED])
    by_default = compiled(service("web"), other, policies={"web": policy}, plane=Plane.NFTABLES)
    assert frontend(by_default).plane is plane
    assert by_default.problems == {}


def test_the_kernel_reads_no_http_and_enters_no_tunnel():
    asked = route("r", rule("web"), plane=Plane.NFTABLES)
    found = compiled(service("web"), asked)
    assert (frontend(found).plane, why(found, asked.key)) == (Plane.USERSPACE, [Reason.PLANE_UNSUITED])
    tunnelled = service("web", at("10.0.0.1:80", via="gw-2"), plane=Plane.NFTABLES)
    assert frontend(compiled(tunnelled)).plane is Plane.USERSPACE
    assert frontend(compiled(service("web", app=AppProtocol.HTTP), plane=Plane.NFTABLES)).plane is Plane.USERSPACE


@pytest.mark.parametrize(
    ("address", "endpoint", "said"),
    [
        ("127.96.0.1", "10.0.0.1:80", "only this machine itself reaches 127.96.0.1"),
        ("10.96.0.1", "127.0.0.1:80", "only this machine itself reaches 127.0.0.1"),
        ("10.96.0.1", at("fd00::1:80"), "it does not translate between IPv4 and IPv6"),
    ],
)
def test_the_kernel_leads_to_no_loopback_and_to_no_other_kind_of_address(address, endpoint, said):
    found = compiled(service("web", endpoint, address=address, plane=Plane.NFTABLES))
    assert (frontend(found).plane, why(found, skey())) == (Plane.USERSPACE, [Reason.PLANE_UNSUITED])
    assert said in found.problems[skey()][0].text


def test_the_policy_of_what_stands_behind_a_route_counts_too():
    tcp = route("r", rule("web", "slow"), kind=RouteKind.TCP, plane=Plane.NFTABLES)
    items = (service("web"), service("slow", address=""), tcp)
    assert frontend(compiled(*items)).plane is Plane.NFTABLES
    assert frontend(compiled(*items, policies={"slow": Policy(breaker=CircuitBreaker())})).plane is Plane.USERSPACE
    limited = Policy(rate_limit=RateLimit(TokenBucket(1), HEADER))
    assert frontend(compiled(*items, route_policies={tcp.key: limited})).plane is Plane.USERSPACE
    degraded = Policy(degrade=(Degrade(When.NO_ENDPOINT, to("slow")),))
    assert frontend(compiled(*items, route_policies={tcp.key: degraded})).plane is Plane.USERSPACE


def test_without_nftables_userspace_carries_and_who_asked_is_told():
    asked, other = service("web", plane=Plane.NFTABLES), service("x", address="10.96.0.2")
    found = compile_table(table(asked, other), Compiled("", Plane.NFTABLES, "not root"))
    assert {one.plane for one in found.programme.frontends.values()} == {Plane.USERSPACE}
    assert {key: why(found, key) for key in found.problems} == {skey(): [Reason.PLANE_FAILED]}
    assert "not root" in found.problems[skey()][0].text
    there = compile_table(found.table, replace(found, no_kernel=""))
    assert {one.plane for one in there.programme.frontends.values()} == {Plane.NFTABLES}


def test_what_a_route_asks_for_comes_before_what_its_service_asks_for():
    web = service("web", plane=Plane.NFTABLES)
    tcp = route("r", rule("web"), kind=RouteKind.TCP, plane=Plane.USERSPACE)
    assert frontend(compiled(web)).plane is Plane.NFTABLES
    assert frontend(compiled(web, tcp)).plane is Plane.USERSPACE


# -- what is wrong -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("items", "reason"),
    [
        ((), Reason.NO_MATCHING_PARENT),
        ((service("web", port=81),), Reason.NO_MATCHING_PARENT),
        ((service("web", address=""),), Reason.NO_MATCHING_PARENT),
        ((service("web"), route("web", rule("nowhere"))), Reason.BACKEND_NOT_FOUND),
        ((service("web"), route("web", rule(to("web", port=9)))), Reason.BACKEND_NOT_FOUND),
        ((service("web"), route("web", rule("web", filters=(Mirror(pkey("no")),)))), Reason.BACKEND_NOT_FOUND),
        ((service("web"), route("web", rule("web", matches=[path("(", MatchType.REGEX)]))), Reason.UNSUPPORTED_VALUE),
        (
            (service("web"), service("x", external_name="a.b"), route("web", rule("x"))),
            Reason.BACKEND_NOT_FOUND,
        ),
        (
            (
                service("web", transport=Transport.UDP),
                route("web", rule("web"), parents=[pkey(transport=Transport.UDP)]),
            ),
            Reason.CONFLICTED,
        ),
    ],
)
def test_what_leads_nowhere_is_said_of_the_route(items, reason):
    items = items if any(one.key == rkey() for one in items) else (*items, route("web", rule()))
    assert reason in why(compiled(*items), rkey())


def test_a_pattern_that_does_not_compile_costs_its_match_alone():
    bad = path("[", MatchType.REGEX)
    found = compiled(
        service("web"), route("web", rule("web", matches=[bad, path("/ok")]), rule("web", matches=[bad], name="gone"))
    )
    assert [bound.rule.matches for bound in frontend(found).rules] == [(path("/ok"),)]


def test_a_reason_makes_one_condition_false():
    assert Reason.BACKEND_NOT_FOUND.condition is Condition.RESOLVED_REFS
    assert Reason.PLANE_UNSUITED.condition is Condition.PROGRAMMED
    assert Reason.CONFLICTED.condition is Condition.ACCEPTED


def test_an_endpoint_that_is_its_own_frontend_is_left_out():
    found = compiled(service("web", "10.96.0.1:80", "10.0.0.1:80"))
    assert ready(found) == ["10.0.0.1:80"]
    assert why(found, skey()) == [Reason.LOOP]
    assert "10.96.0.1:80" in found.problems[skey()][0].text


def test_endpoints_that_lead_round_in_a_circle_are_left_out():
    one, two = service("a", "10.96.0.2:80"), service("b", "127.0.0.1:30080", address="10.96.0.2")
    found = compiled(replace(one, ports=(replace(one.ports[0], node_port=30080),)), two)
    assert ready(found, "a") == ready(found, "b") == []
    assert why(found, skey("a")) == why(found, skey("b")) == [Reason.LOOP]


def test_a_circle_that_is_opened_is_none_any_more_for_all_of_it():
    one, two = service("a", "10.96.0.2:80"), service("b", "10.96.0.1:80", address="10.96.0.2")
    before = compiled(one, two)
    assert ready(before, "a") == []
    after, _ = change(before, TableChange(services=(service("b", "10.0.0.1:80", address="10.96.0.2"),)))
    assert ready(after, "a") == ["10.96.0.2:80"]
    assert after.problems == {}


def test_a_circle_through_a_route_is_found():
    found = compiled(
        service("a", "10.0.0.1:80"),
        service("b", "10.96.0.1:80", address=""),
        route("r", rule("b"), parents=[pkey("a")], kind=RouteKind.TCP),
    )
    assert why(found, skey("b")) == [Reason.LOOP]


def test_what_another_gateway_reaches_under_the_same_address_is_no_loop():
    found = compiled(service("web", at("10.96.0.1:80", via="gw-2")))
    assert ready(found) == ["10.96.0.1:80@gw-2"]


def test_an_endpoint_that_is_another_service_is_no_loop():
    found = compiled(service("a", "10.96.0.2:80"), service("b", "10.0.0.1:80", address="10.96.0.2"))
    assert ready(found, "a") == ["10.96.0.2:80"]
    assert found.problems == {}


def test_a_service_does_not_degrade_to_itself():
    answer = Degrade(When.NO_ENDPOINT, DirectResponse())
    policy = Policy(degrade=(Degrade(When.NO_ENDPOINT, to("web")), answer))
    found = compiled(service("web"), policies={"web": policy})
    assert found.programme.backends[pkey()].policy.degrade == (answer,)
    assert why(found, skey()) == [Reason.LOOP]


def test_a_degradation_that_leads_nowhere_is_said_of_the_service():
    policy = Policy(degrade=(Degrade(When.NO_ENDPOINT, to("no")),))
    assert why(compiled(service("web"), policies={"web": policy}), skey()) == [Reason.BACKEND_NOT_FOUND]


# -- changes -----------------------------------------------------------------------------------------------------------


def test_a_change_of_endpoints_touches_one_group_and_no_frontend():
    before = compiled(*(service(f"s{n}", "10.0.0.1:80", address=f"10.96.1.{n}") for n in range(9)))
    other = service("s3", "10.0.0.1:80", "10.0.0.2:80", address="10.96.1.3")
    after, delta = change(before, TableChange(services=(other,)))
    assert delta == ProgrammeDelta(backends=(after.programme.backends[pkey("s3")],))
    assert len(delta.backends[0].endpoints) == 2
    assert after.faces is before.faces


def test_a_change_that_means_nothing_says_nothing():
    web = service("web", "10.0.0.1:80")
    assert change(compiled(web), TableChange(services=(replace(web, generation=7),)))[1] == ProgrammeDelta()


def test_a_route_that_comes_moves_or_goes_is_news_of_its_own_ports_alone():
    before = compiled(*(service(name, address=f"10.96.1.{number}") for number, name in enumerate("abc")))
    one, delta = change(before, TableChange(routes=(route("r", rule("c"), parents=[pkey("a")]),)))
    assert [face.key for face in delta.frontends] == [pkey("a")]
    two, delta = change(one, TableChange(routes=(route("r", rule("c"), parents=[pkey("b")]),)))
    assert {face.key for face in delta.frontends} == {pkey("a"), pkey("b")}
    after, delta = change(two, TableChange(gone_routes=(rkey("r"),)))
    assert [face.key for face in delta.frontends] == [pkey("b")]
    assert after == before


def test_what_is_gone_is_named():
    before = compiled(service("web"), service("x", address=""))
    _, delta = change(before, TableChange(gone_services=(skey(), skey("x"))))
    assert (set(delta.gone_frontends), set(delta.gone_backends)) == ({pkey()}, {pkey(), pkey("x")})


def test_the_difference_to_itself_is_nothing():
    found = compiled(service("web", "10.0.0.1:80"), route("r", rule("web")))
    again = compile_table(found.table)
    assert difference(found.programme, again.programme) == ProgrammeDelta()
    assert difference(Programme(), found.programme).frontends == tuple(found.programme.frontends.values())


def test_tables_that_differ_lead_to_one_another():
    one = table(service("a"), route("r", rule("a")), policies={"a": Policy()})
    two = table(service("b"), policies={"b": Policy()})
    assert table_difference(one, one) == TableChange()
    after, _ = change(compile_table(one), table_difference(one, two))
    assert after.table == two
    assert after.programme == compile_table(two).programme
    assert Table() == compile_table(Table()).table


def test_port_keys_name_services_that_may_not_be_there():
    found = compiled(route("r", rule(Backend(PortKey(skey("gone"), 0)))))
    assert set(why(found, rkey("r"))) == {Reason.NO_MATCHING_PARENT, Reason.BACKEND_NOT_FOUND}
