"""Tables as JSON: all of them come back as they were, and what is wrong is refused with its place."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.errors import InvalidTable
from mesh.model.policies import CachedResponse, Degrade, DirectResponse, Policy, RateLimit, TokenBucket, When
from mesh.model.routes import HeaderModifier, Mirror, PathModifier, Redirect, Retry, Rewrite, RouteKey, RouteKind
from mesh.model.services import PortKey, ServiceKey, Transport
from mesh.model.table import Table
from mesh.wire import read_table, write_table
from tests.mesh.tables import at, pkey, rkey, route, rule, service, skey, table, to

pytestmark = pytest.mark.fast

FILTERS = (
    HeaderModifier(),
    HeaderModifier(response=True, set=(("a", "b"),), remove=("c",)),
    Redirect(),
    Redirect(hostname="x", path=PathModifier("/y", prefix_only=True)),
    Rewrite(),
    Rewrite(hostname="x"),
    Mirror(pkey("m"), 50.0),
)
DEGRADE = tuple(Degrade(When.NO_ENDPOINT, then) for then in (DirectResponse(), CachedResponse(), to("x")))
FULL = table(
    service("web", "10.0.0.1:80", at("10.0.0.2:80", ready=False, node="gw-1", weight=0), node_port=30080),
    route("r", rule("web", filters=FILTERS, retry=Retry(2, frozenset({502, 503}))), hostnames=("*.b",), created_ms=7),
    policies={"web": Policy(degrade=DEGRADE, outlier=None)},
    route_policies={rkey("r"): Policy(rate_limit=RateLimit(TokenBucket(5)))},
)


def test_a_table_comes_back_as_it_was():
    assert read_table(write_table(FULL)) == FULL
    assert read_table(write_table(Table())) == Table() == read_table(b"{}")
    assert read_table(write_table(FULL, indent=2)) == FULL


def test_a_table_is_written_in_few_words():
    written = json.loads(write_table(table(service("web", "10.0.0.1:8080"))))
    assert written == {
        "services": [
            {
                "key": "default/web",
                "address": "127.96.0.1",
                "ports": [{"port": 80, "endpoints": [{"address": "10.0.0.1", "port": 8080}]}],
            }
        ]
    }


@given(st.sampled_from(RouteKind), st.from_regex("[a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?", fullmatch=True))
def test_names_of_services_ports_and_routes_come_back_as_they_were(kind, name):
    key = ServiceKey("default", name)
    assert ServiceKey.parse(str(key)) == key
    for transport in Transport:
        assert PortKey.parse(str(PortKey(key, 80, transport))) == PortKey(key, 80, transport)
    assert RouteKey.parse(str(RouteKey(kind, "default", name))) == RouteKey(kind, "default", name)


@pytest.mark.parametrize("text", ["", "web", "/web", "a/", "a/b/c", "A/b", "a/b\n", "a/-b", "a/b:80"])
def test_what_is_no_name_of_a_service_is_refused(text):
    with pytest.raises(ValueError, match="default/web"):
        ServiceKey.parse(text)


@pytest.mark.parametrize(
    "text", ["a/b", "a/b:", "a/b:x", "a/b:65536", "a/b:-1", "a/b:80/tcp", "a/b:80/udp/udp", "a/b:²"]
)
def test_what_is_no_name_of_a_port_is_refused(text):
    with pytest.raises(ValueError, match="write namespace/name"):
        PortKey.parse(text)


@pytest.mark.parametrize("text", ["a/b", "Pod a/b", "HTTPRoute", "HTTPRoute  a/b"])
def test_what_is_no_name_of_a_route_is_refused(text):
    with pytest.raises(ValueError, match="write"):
        RouteKey.parse(text)


PORT = {"port": 80}
WEB = {"key": "default/web", "ports": [PORT]}


def with_endpoint(**fields):
    return {"services": [WEB | {"ports": [PORT | {"endpoints": [{"address": "10.0.0.1", "port": 80} | fields]}]}]}


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ([], "it: Input should be an object"),
        ({"service": []}, "service: Extra inputs are not permitted"),
        ({"services": [{"key": "web"}]}, "services[0].key: Value error, 'web' is no service"),
        ({"services": [WEB, WEB]}, "default/web is there twice"),
        ({"services": [WEB | {"ports": [PORT, PORT]}]}, "the port 80/TCP is there twice"),
        ({"services": [WEB | {"ports": [{"port": 0}]}]}, "the port 0 is not from 1 to 65535"),
        ({"services": [WEB | {"ports": [PORT | {"node_port": 70000}]}]}, "node_port 70000"),
        ({"services": [WEB | {"ports": [{"port": "80"}]}]}, "services[0].ports[0].port: Input should be a valid int"),
        ({"services": [WEB | {"address": "web.example"}]}, "'web.example' is none"),
        (with_endpoint(address="x"), "default/web:80: endpoint x:80: its address is no IP address"),
        (with_endpoint(port=0), "its port is not from 1"),
        (with_endpoint(weight=-1), "its weight -1"),
        (with_endpoint(weigth=1), "endpoints[0].weigth: Unexpected keyword argument"),
        ({"policies": {"default/web": {"balancer": {"balance": "BEST"}}}}, "balance: Input should be 'ROUND_ROBIN'"),
        ({"policies": {"default/web": {"pool": {"connect_timeout_ms": -1}}}}, "pool.connect_timeout_ms: -1"),
        ({"policies": {"default/web": {"rate_limit": {"bucket": {"max_tokens": 0}}}}}, "at least 1"),
        ({"policies": {"default/web": {"balancer": {"ring_size": 10**9}}}}, "ring_size"),
        (
            {"policies": {"default/web": {"degrade": [{"when": "offline", "then": {}}]}}},
            "degrade[0].then: Value error, exactly one of direct_response, cached_response, backend is needed, found 0",
        ),
        ({"route_policies": {"web": {}}}, "is no route"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named_with_its_place(written, said):
    with pytest.raises(InvalidTable) as refused:
        read_table(json.dumps(written).encode(), "mesh.json")
    assert said in str(refused.value)
    assert str(refused.value).startswith("mesh.json: ")
    assert "what was there before stays in use" in str(refused.value)


def test_only_the_first_faults_are_told():
    written = {"services": [{"key": "x"}] * 9}
    with pytest.raises(InvalidTable, match=r"services\[4\].key.*; and 4 more"):
        read_table(json.dumps(written).encode())


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"{",
        b"\xff",
        b'{"services": [], "services": []}',
        b'{"a": NaN}',
        b"[" * 100_000,
        b'{"policies":{"a/b":{},"a/b":{}}}',
    ],
)
def test_what_is_no_json_is_refused(text):
    with pytest.raises(InvalidTable):
        read_table(text)


def test_a_table_has_a_bound(monkeypatch):
    monkeypatch.setattr("mesh.wire.MAX_TABLE_BYTES", 10)
    with pytest.raises(InvalidTable, match="the table has 11 bytes, 10 are the most"):
        read_table(b"{}" + b" " * 9)


def test_a_policy_of_nobody_does_no_harm():
    assert read_table(b'{"policies": {"a/b": {}}}').policies == {ServiceKey("a", "b"): Policy()}
    assert skey() == ServiceKey("default", "web")
