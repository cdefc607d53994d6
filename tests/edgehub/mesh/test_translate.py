"""From documents to the mesh's words: services with their endpoints, routes, policies, and what is wrong with them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgehub.mesh.translate import conditions, translate
from edgehub.mesh.treating import over
from mesh.compile import compile_table
from mesh.model.policies import (
    Balance,
    CachedResponse,
    CircuitBreaker,
    Degrade,
    DirectResponse,
    HealthCheck,
    KeyKind,
    KeyOf,
    LoadBalancer,
    Policy,
    ProbeKind,
    RateLimit,
    RetryBudget,
    StaleRule,
    TokenBucket,
    When,
)
from mesh.model.routes import (
    Backend,
    HeaderModifier,
    HttpMatch,
    MatchType,
    Mirror,
    PathModifier,
    Redirect,
    Retry,
    Rewrite,
    RouteKey,
    RouteKind,
    ValueMatch,
)
from mesh.model.services import AppProtocol, Endpoint, Origin, Plane, PortKey, ServiceKey, Transport
from mesh.problems import Condition, Problem, Reason
from twin.manifest.catalog import RegistryView, applied
from twin.manifest.document import DocumentKind, Ref
from twin.manifest.read import read_documents
from twin.manifest.traffic import LoadBalancer as SaidBalancer
from twin.manifest.traffic import TrafficPolicy
from twin.manifest.yaml import Source

pytestmark = pytest.mark.fast

SHOP = ServiceKey("plant", "shop")
SERVICE = """
apiVersion: v1
kind: Service
metadata: {name: shop, namespace: plant}
spec: {selector: {app: shop}, ports: [{name: http, port: 80, targetPort: 8080}, {name: dns, port: 53, protocol: UDP}]}
"""
SLICE = """
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: shop-1, namespace: plant, labels: {kubernetes.io/service-name: shop}}
addressType: IPv4
endpoints:
  - {addresses: [192.0.2.10, 192.0.2.99], nodeName: hall-2, zone: south, weight: 3, hostname: shop-0}
  - {addresses: [192.0.2.11], nodeName: hall-1}
  - {addresses: [192.0.2.12], conditions: {ready: false, serving: true, terminating: true}}
ports: [{name: http, port: 8080}, {name: dns, port: 5353, protocol: UDP}]
"""
ROUTE = """
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: shop, namespace: plant, annotations: {edgetwin.dev/plane: userspace}}
spec:
  parentRefs: [{group: "", kind: Service, name: shop, sectionName: http}]
  hostnames: [shop.example.com]
  rules: RULES
"""


def view_of(*texts: str) -> RegistryView:
    manifest = read_documents([Source("site.yaml", "---\n".join(texts).encode())])
    return applied(RegistryView(), manifest.documents, lambda: "uid")[0]


def translated(*texts: str, node: str = "hall-1", by_cloud=frozenset()):
    return translate(view_of(*texts), node=node, address_of=lambda key, wish: wish or "127.96.0.1", by_cloud=by_cloud)


def table(*texts: str, **more):
    return translated(*texts, **more).table


def route(rules: str):
    (found,) = table(SERVICE, ROUTE.replace("RULES", rules)).routes.values()
    return found


def rule(text: str):
    (found,) = route(f"[{text}]").rules
    return found


# -- services ----------------------------------------------------------------------------------------------------------


def test_a_service_has_the_endpoints_of_its_slices_but_those_of_its_own_gateway() -> None:
    service = table(SERVICE, SLICE).services[SHOP]
    http, dns = service.ports
    assert (http.port, http.name, http.transport, dns.transport) == (80, "http", Transport.TCP, Transport.UDP)
    assert http.endpoints == (
        Endpoint("192.0.2.10", 8080, node="hall-2", zone="south", hostname="shop-0", weight=3),
        Endpoint("192.0.2.12", 8080, ready=False, serving=True, terminating=True),
    )
    assert [one.place for one in dns.endpoints] == ["192.0.2.10:5353", "192.0.2.12:5353"]


def test_a_service_without_a_selector_keeps_what_is_listed_of_its_own_gateway() -> None:
    service = table(SERVICE.replace("selector: {app: shop}, ", ""), SLICE).services[SHOP]
    assert [one.address for one in service.ports[0].endpoints] == ["192.0.2.10", "192.0.2.11", "192.0.2.12"]


def test_what_was_applied_here_comes_before_what_the_cloud_says_of_the_same_place() -> None:
    cloud = SLICE.replace("shop-1", "shop-0").replace("weight: 3", "weight: 9")
    by_cloud = frozenset({Ref(DocumentKind.ENDPOINT_SLICE, "plant", "shop-0")})
    first, _ = table(SERVICE, SLICE, cloud, by_cloud=by_cloud).services[SHOP].ports[0].endpoints
    assert (first.weight, first.origin) == (3, Origin.LISTED)
    only = table(SERVICE, cloud, by_cloud=by_cloud).services[SHOP].ports[0].endpoints
    assert {one.origin for one in only} == {Origin.CLOUD}


def test_endpoints_count_where_there_is_no_slice() -> None:
    text = """
apiVersion: v1
kind: Endpoints
metadata: {name: shop, namespace: plant}
subsets:
  - addresses: [{ip: 192.0.2.20, nodeName: hall-3}]
    notReadyAddresses: [{ip: 192.0.2.21}]
    ports: [{name: http, port: 8080}]
"""
    found = table(SERVICE, text).services[SHOP].ports[0].endpoints
    assert [(one.address, one.node, one.ready) for one in found] == [
        ("192.0.2.20", "hall-3", True),
        ("192.0.2.21", "", False),
    ]
    assert len(table(SERVICE, SLICE, text).services[SHOP].ports[0].endpoints) == 2  # a cluster has both


def test_endpoints_behind_another_gateway_say_which_and_where_its_tunnel_is() -> None:
    inside = SLICE.replace(
        "namespace: plant, labels", "namespace: plant, annotations: {edgetwin.dev/tunnel: TO}, labels"
    )
    found = translated(SERVICE, inside.replace("TO", "192.0.2.2:20006"))
    first, other = found.table.services[SHOP].ports[0].endpoints
    assert (first.via, other.via) == ("hall-2", "")
    assert found.tunnels == {"hall-2": "192.0.2.2:20006", "hall-1": "192.0.2.2:20006"}
    assert translated(SERVICE, inside.replace("TO", '""')).tunnels["hall-2"] == ""
    assert translated(SERVICE, SLICE).tunnels == {}


@pytest.mark.parametrize(
    ("said", "address"),
    [("", "127.96.0.1"), ("clusterIP: 10.96.0.7, ", "10.96.0.7"), ("clusterIP: None, ", "")],
)
def test_a_headless_service_has_no_address_and_others_what_they_are_given(said: str, address: str) -> None:
    assert table(SERVICE.replace("spec: {", "spec: {" + said)).services[SHOP].address == address


def test_what_a_service_says_of_itself() -> None:
    text = """
apiVersion: v1
kind: Service
metadata: {name: shop, namespace: plant, annotations: {edgetwin.dev/plane: nftables}}
spec:
  type: NodePort
  publishNotReadyAddresses: true
  internalTrafficPolicy: Local
  sessionAffinity: ClientIP
  ports: [{name: http, port: 80, nodePort: 30080, appProtocol: HTTP}]
"""
    service = table(text).services[SHOP]
    assert (service.publish_not_ready, service.local_only, service.affinity_s) == (True, True, 10_800)
    assert (service.plane, service.generation) == (Plane.NFTABLES, 1)
    assert (service.ports[0].node_port, service.ports[0].app) == (30_080, AppProtocol.HTTP)
    sticky = text.replace("ClientIP\n", "ClientIP\n  sessionAffinityConfig: {clientIP: {timeoutSeconds: 60}}\n")
    assert table(sticky).services[SHOP].affinity_s == 60


def test_an_external_name_has_neither_address_nor_endpoints() -> None:
    text = (
        "apiVersion: v1\nkind: Service\nmetadata: {name: shop, namespace: plant}\n"
        "spec: {type: ExternalName, externalName: shop.example.com.}\n"
    )
    service = table(text, SLICE).services[SHOP]
    assert (service.external_name, service.address, service.ports) == ("shop.example.com", "", ())


# -- routes ------------------------------------------------------------------------------------------------------------


def test_a_route_is_for_the_named_port_of_its_parent() -> None:
    found = route("[{backendRefs: [{name: shop, port: 80}]}]")
    assert found.key == RouteKey(RouteKind.HTTP, "plant", "shop")
    assert found.parents == (PortKey(SHOP, 80),)
    assert (found.hostnames, found.plane) == (("shop.example.com",), Plane.USERSPACE)


@pytest.mark.parametrize(
    ("parent", "port"), [("name: shop", 0), ("name: shop, port: 8", 8), ("name: shop, sectionName: no", -1)]
)
def test_a_parent_without_a_port_is_all_of_them_and_with_an_unknown_name_none(parent: str, port: int) -> None:
    text = ROUTE.replace("name: shop, sectionName: http", parent).replace(
        "RULES", "[{backendRefs: [{name: shop, port: 80}]}]"
    )
    (found,) = table(SERVICE, text).routes.values()
    assert found.parents == (PortKey(SHOP, port),)
    problems = compile_table(table(SERVICE, text)).problems.get(found.key, ())
    assert [one.reason for one in problems] == ([] if port == 0 else [Reason.NO_MATCHING_PARENT])


def test_matches_weights_times_and_retries() -> None:
    found = rule(
        "{name: a, matches: [{path: {type: Exact, value: /a}, method: GET,"
        " headers: [{name: X-A, value: b}], queryParams: [{type: RegularExpression, name: q, value: '[a-z]+'}]}],"
        " backendRefs: [{name: shop, port: 80, weight: 9}, {name: next, namespace: hall, port: 81}],"
        " timeouts: {request: 1m30s, backendRequest: 2s}, retry: {codes: [503], attempts: 2, backoff: 100ms}}"
    )
    assert found.matches == (
        HttpMatch(
            "/a",
            MatchType.EXACT,
            "GET",
            (ValueMatch("x-a", "b"),),
            (ValueMatch("q", "[a-z]+", MatchType.REGEX),),
        ),
    )
    assert found.backends == (Backend(PortKey(SHOP, 80), 9), Backend(PortKey(ServiceKey("hall", "next"), 81)))
    assert (found.request_ms, found.backend_request_ms, found.name) == (90_000, 2_000, "a")
    assert found.retry == Retry(2, frozenset({503}), 100)


def test_no_time_out_at_all_is_a_day_and_none_said_the_planes_own() -> None:
    assert rule("{backendRefs: [{name: shop, port: 80}], timeouts: {request: 0s}}").request_ms == 86_400_000
    assert rule("{backendRefs: [{name: shop, port: 80}]}").request_ms == 0


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        (
            "{type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: A, value: b}], remove: [C]}}",
            HeaderModifier(set=(("A", "b"),), remove=("C",)),
        ),
        (
            "{type: ResponseHeaderModifier, responseHeaderModifier: {add: [{name: A, value: b}]}}",
            HeaderModifier(response=True, add=(("A", "b"),)),
        ),
        (
            "{type: URLRewrite, urlRewrite: {hostname: a.b, path: {type: ReplacePrefixMatch, replacePrefixMatch: ''}}}",
            Rewrite("a.b", PathModifier("/", prefix_only=True)),
        ),
        (
            "{type: RequestMirror, requestMirror: {backendRef: {name: next, port: 80},"
            " fraction: {numerator: 1, denominator: 8}}}",
            Mirror(PortKey(ServiceKey("plant", "next"), 80), 12.5),
        ),
        (
            "{type: RequestMirror, requestMirror: {backendRef: {name: next, port: 80}, percent: 0}}",
            Mirror(PortKey(ServiceKey("plant", "next"), 80), 0.0),
        ),
    ],
)
def test_filters(text: str, wanted: object) -> None:
    assert rule(f"{{filters: [{text}], backendRefs: [{{name: shop, port: 80}}]}}").filters == (wanted,)


def test_a_redirect_has_no_backends() -> None:
    path = "{type: ReplaceFullPath, replaceFullPath: /new}"
    text = f"{{type: RequestRedirect, requestRedirect: {{scheme: https, port: 8443, path: {path}, statusCode: 301}}}}"
    found = rule(f"{{filters: [{text}]}}")
    assert found.filters == (Redirect("https", "", 8443, PathModifier("/new"), 301),)
    assert found.backends == ()


def test_routes_of_connections() -> None:
    text = """
apiVersion: gateway.networking.k8s.io/v1
kind: TLSRoute
metadata: {name: vault, namespace: plant}
spec:
  parentRefs: [{kind: Service, name: shop}]
  hostnames: ["*.example.com"]
  rules: [{backendRefs: [{name: shop, port: 80, weight: 2}]}]
"""
    (tls,) = table(text).routes.values()
    assert (tls.key.kind, tls.hostnames) == (RouteKind.TLS, ("*.example.com",))
    assert tls.rules[0].backends == (Backend(PortKey(SHOP, 80), 2),)


# -- policies ----------------------------------------------------------------------------------------------------------

RULE = """
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: NAME, namespace: plant}
spec: {host: HOST, trafficPolicy: POLICY}
"""
POLICY = """
apiVersion: edgetwin.dev/v1
kind: Policy
metadata: {name: NAME, namespace: plant}
spec: {targetRefs: [{kind: Service, name: shop}], SAID}
"""


def policy(text: str) -> Policy:
    return table(SERVICE, POLICY.replace("NAME", "a").replace("SAID", text)).policies[SHOP]


def of_rule(text: str, host: str = "shop", *more: str) -> Policy:
    return table(SERVICE, RULE.replace("NAME", "a").replace("HOST", host).replace("POLICY", text), *more).policies[SHOP]


def test_a_policy_that_says_one_thing_leaves_the_rest_as_it_is() -> None:
    assert policy("stale: {maxAge: 5s, then: drop}") == Policy(stale=StaleRule(5_000, drop=True))


def test_all_of_a_policy() -> None:
    found = policy(
        "circuitBreaker: {errorPercent: 30, minRequests: 10, interval: 5s, openTime: 2s, trials: 1},"
        " rateLimit: {tokenBucket: {maxTokens: 9, tokensPerFill: 3, fillInterval: 1m}, per: {httpHeaderName: X-U}},"
        " retryBudget: {percent: 10, minRetryConcurrency: 1},"
        " healthCheck: {interval: 500ms, timeout: 200ms, unhealthyThreshold: 3, healthyThreshold: 1,"
        " http: {path: /up, expectedStatuses: {first: 200, last: 299}}},"
        " degrade: [{when: breakerOpen, then: {cachedResponse: {maxBytes: 1Ki, maxAge: 10s}}},"
        " {when: noEndpoint, then: {backendRef: {name: spare, port: 81}}},"
        " {when: overLimit, then: {directResponse: {status: 429, body: slower, contentType: text/html}}}]"
    )
    assert found == Policy(
        breaker=CircuitBreaker(30.0, 10, 5_000, 2_000, 1),
        rate_limit=RateLimit(TokenBucket(9, 3, 60_000), KeyOf(KeyKind.HEADER, "x-u")),
        retry_budget=RetryBudget(10.0, 1),
        health_check=HealthCheck(ProbeKind.HTTP, "/up", 500, 200, 3, 1, (200, 299)),
        degrade=(
            Degrade(When.BREAKER_OPEN, CachedResponse(1024, 10_000)),
            Degrade(When.NO_ENDPOINT, Backend(PortKey(ServiceKey("plant", "spare"), 81))),
            Degrade(When.OVER_LIMIT, DirectResponse(429, "slower", "text/html")),
        ),
    )


def test_a_probe_without_http_is_a_connection() -> None:
    assert policy("healthCheck: {}").health_check == HealthCheck()


@pytest.mark.parametrize("host", ["shop", "shop.plant", "shop.plant.svc", "shop.plant.svc.cluster.local"])
def test_a_destination_rule_is_for_the_service_that_its_host_names(host: str) -> None:
    assert of_rule("{connectionPool: {tcp: {maxConnections: 5}}}", host).pool.max_connections == 5


def test_all_of_a_traffic_policy() -> None:
    found = of_rule(
        "{loadBalancer: {consistentHash: {httpCookie: {name: user}, ringHash: {minimumRingSize: 64}},"
        " localityLbSetting: {enabled: false}, warmup: {duration: 30s}},"
        " connectionPool: {tcp: {maxConnections: 1, connectTimeout: 30ms, idleTimeout: 2s,"
        " tcpKeepalive: {time: 1500ms}},"
        " http: {http1MaxPendingRequests: 2, http2MaxRequests: 3, maxRequestsPerConnection: 4, maxRetries: 5,"
        " idleTimeout: 6s}},"
        " outlierDetection: {consecutive5xxErrors: 7, interval: 8s, baseEjectionTime: 9s, maxEjectionPercent: 10}}"
    )
    key = KeyOf(KeyKind.COOKIE, "user")
    assert found.balancer == LoadBalancer(Balance.CONSISTENT_HASH, key, 64, locality=False, warmup_ms=30_000)
    pool = found.pool
    assert (pool.max_connections, pool.connect_timeout_ms, pool.tcp_idle_timeout_ms) == (1, 30, 2_000)
    assert (pool.max_pending, pool.max_requests, pool.max_requests_per_connection) == (2, 3, 4)
    assert (pool.max_retries, pool.idle_timeout_ms, pool.tcp_keepalive_s) == (5, 6_000, 2)
    assert found.outlier is not None
    assert (found.outlier.consecutive_5xx, found.outlier.interval_ms) == (7, 8_000)
    assert (found.outlier.base_ejection_ms, found.outlier.max_ejection_percent) == (9_000, 10)


@pytest.mark.parametrize(
    ("text", "balance", "key"),
    [
        ("{simple: LEAST_CONN}", Balance.LEAST_REQUEST, KeyOf()),
        ("{simple: RANDOM}", Balance.RANDOM, KeyOf()),
        ("{consistentHash: {useSourceIp: true}}", Balance.CONSISTENT_HASH, KeyOf(KeyKind.SOURCE)),
        ("{consistentHash: {httpQueryParameterName: u}}", Balance.CONSISTENT_HASH, KeyOf(KeyKind.QUERY, "u")),
    ],
)
def test_balancers(text: str, balance: Balance, key: KeyOf) -> None:
    found = of_rule(f"{{loadBalancer: {text}}}").balancer
    assert (found.balance, found.hash_key) == (balance, key)


def test_outlier_detection_with_all_rules_off_is_none() -> None:
    off = "consecutive5xxErrors: 0, consecutiveGatewayErrors: 0, consecutiveLocalOriginFailures: 0"
    assert of_rule(f"{{outlierDetection: {{{off}}}}}").outlier is None


def test_a_policy_goes_key_by_key_over_a_destination_rule() -> None:
    own = POLICY.replace("NAME", "b").replace(
        "SAID",
        "trafficPolicy: {loadBalancer: {simple: RANDOM}, connectionPool: {tcp: {maxConnections: 9}}}, stale: {}",
    )
    said = (
        "{loadBalancer: {consistentHash: {useSourceIp: true}, localityLbSetting: {enabled: false}},"
        " connectionPool: {tcp: {maxConnections: 5, connectTimeout: 30ms}, http: {maxRetries: 1}},"
        " outlierDetection: {consecutive5xxErrors: 7}, retryBudget: {percent: 7}}"
    )
    found = of_rule(said, "shop", own)
    assert found.balancer == LoadBalancer(Balance.RANDOM, locality=False)
    assert (found.pool.max_connections, found.pool.connect_timeout_ms, found.pool.max_retries) == (9, 30, 1)
    assert found.outlier is not None
    assert (found.outlier.consecutive_5xx, found.retry_budget.percent) == (7, 7.0)


def test_another_key_of_a_hash_takes_the_place_of_the_first() -> None:
    base = TrafficPolicy.model_validate({"loadBalancer": {"consistentHash": {"useSourceIp": True}}})
    other = TrafficPolicy.model_validate({"loadBalancer": {"consistentHash": {"httpHeaderName": "X"}}})
    both = over(base, other).load_balancer
    assert both is not None
    assert both.consistent_hash is not None
    assert (both.consistent_hash.use_source_ip, both.consistent_hash.http_header_name) == (None, "X")


def test_a_policy_of_a_route() -> None:
    text = POLICY.replace("NAME", "r").replace("kind: Service", "kind: HTTPRoute")
    text = text.replace("SAID", "rateLimit: {tokenBucket: {maxTokens: 1}}")
    found = table(SERVICE, ROUTE.replace("RULES", "[{backendRefs: [{name: shop, port: 80}]}]"), text)
    assert found.policies == {}
    assert found.route_policies[RouteKey(RouteKind.HTTP, "plant", "shop")].rate_limit == RateLimit(TokenBucket(1))


def test_of_two_policies_the_first_by_name_counts_and_the_other_is_told() -> None:
    first = POLICY.replace("NAME", "a").replace("SAID", "stale: {maxAge: 1s}")
    second = POLICY.replace("NAME", "b").replace("SAID", "stale: {maxAge: 2s}")
    found = translated(SERVICE, second, first)
    assert found.table.policies[SHOP].stale.max_age_ms == 1_000
    (problem,) = found.problems[Ref(DocumentKind.POLICY, "plant", "b")]
    assert problem.reason is Reason.CONFLICTED
    assert Ref(DocumentKind.POLICY, "plant", "a") not in found.problems


def test_a_policy_for_nothing_waits_for_it() -> None:
    text = POLICY.replace("NAME", "a").replace("SAID", "stale: {}")
    rule_ = RULE.replace("NAME", "b").replace("HOST", "shop").replace("POLICY", "{}")
    found = translated(text, rule_)
    assert found.table.policies == {}
    reasons = {str(ref): [one.reason for one in ones] for ref, ones in found.problems.items()}
    target = [Reason.TARGET_NOT_FOUND]
    assert reasons == {"Policy plant/a": target, "DestinationRule plant/b": target}


def test_conditions_have_the_names_of_gateway_api() -> None:
    fine = conditions((), programmed=True)
    assert [(one.type, one.status, one.reason) for one in fine] == [
        (Condition.ACCEPTED, True, "Accepted"),
        (Condition.RESOLVED_REFS, True, "ResolvedRefs"),
        (Condition.PROGRAMMED, True, "Programmed"),
    ]
    lost = Problem(Reason.BACKEND_NOT_FOUND, "there is no service")
    refs, programmed = conditions((lost,), programmed=False)[1:]
    assert (refs.status, refs.reason, refs.message) == (False, "BackendNotFound", "there is no service")
    assert (programmed.status, programmed.reason) == (False, "Pending")


# -- order -------------------------------------------------------------------------------------------------------------

DOCUMENTS = [
    SERVICE,
    SLICE,
    ROUTE.replace("RULES", "[{backendRefs: [{name: shop, port: 80}, {name: gone, port: 80}]}]"),
    RULE.replace("NAME", "a").replace("HOST", "shop").replace("POLICY", "{loadBalancer: {simple: RANDOM}}"),
    POLICY.replace("NAME", "a").replace("SAID", "stale: {maxAge: 1s}"),
    POLICY.replace("NAME", "b").replace("SAID", "stale: {maxAge: 2s}"),
]


@given(order=st.permutations(range(len(DOCUMENTS))))
def test_the_order_in_which_documents_are_applied_does_not_matter(order) -> None:
    found = [translated(*(DOCUMENTS[index] for index in some)) for some in (order, range(len(DOCUMENTS)))]
    assert found[0] == found[1]


def test_unread_defaults_of_a_balancer_are_those_of_the_mesh() -> None:
    assert of_rule("{loadBalancer: {}, connectionPool: {}, outlierDetection: {}}") == Policy()
    assert SaidBalancer().simple is None
