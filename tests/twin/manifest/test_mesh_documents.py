"""Routes, policies and the rules between them: what is read, what is warned of, what leads back to itself."""

from __future__ import annotations

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twin.manifest.catalog import RegistryView, applied
from twin.manifest.document import MESH, DocumentKind, Ref
from twin.manifest.marks import gateways_of
from twin.manifest.mesh_references import broken_mesh_references
from twin.manifest.mesh_rules import MESH_KINDS
from twin.manifest.problems import InvalidManifest
from twin.manifest.read import _MESH, read_parsed
from twin.manifest.references import broken_references
from twin.manifest.regular import fault
from twin.manifest.yaml import Parsed

pytestmark = pytest.mark.fast


def test_the_kinds_of_the_mesh_that_are_loaded_late_are_those_of_their_module() -> None:
    assert set(_MESH) == set(MESH_KINDS)
    assert {kind for _, kind in MESH_KINDS} == {kind.value for kind in MESH}


def test_documents_of_gateway_api_istio_and_ours_are_read_and_kept_unchanged(good) -> None:
    manifest = good("mesh.yaml")
    route = next(one for one in manifest.documents if one.kind is DocumentKind.HTTP_ROUTE)
    first, second, _ = route.spec.rules
    assert (first.timeouts.request_ms, first.retry.backoff_ms) == (90_000, 100)
    assert [one.weight for one in first.backend_refs] == [9, 1]
    assert second.filters[0].request_redirect.path.replace_prefix_match == "/new"
    rule = next(one for one in manifest.documents if one.kind is DocumentKind.DESTINATION_RULE)
    assert rule.spec.traffic_policy.outlier_detection.base_ejection_ms == 900_000
    assert rule.raw["spec"] == rule.origin.value["spec"]
    again = read_parsed([Parsed("store", one.raw) for one in manifest.documents]).documents
    assert again == manifest.documents


def test_what_has_no_effect_is_kept_with_a_warning(good) -> None:
    manifest = good("mesh.yaml")
    assert {one.path for one in manifest.warnings} == {
        "spec.rules[2].sessionPersistence",
        "spec.subsets",
        "spec.trafficPolicy.connectionPool.tcp.tcpKeepalive.interval",
        "spec.trafficPolicy.loadBalancer.consistentHash.httpCookie.ttl",
        "spec.trafficPolicy.tls",
    }
    assert all("has no effect" in one.text for one in manifest.warnings)


def test_every_version_of_a_kind_has_the_same_shape(read) -> None:
    for version, kind in MESH_KINDS:
        spec = {
            "DestinationRule": "{host: shop}",
            "Policy": "{targetRefs: [{kind: Service, name: shop}], stale: {}}",
            "AlarmRule": "{service: {}, metric: ejected}",
        }.get(kind, "{parentRefs: [{kind: Service, name: shop}], rules: [{backendRefs: [{name: shop, port: 80}]}]}")
        (document,) = read(f"apiVersion: {version}\nkind: {kind}\nmetadata: {{name: a}}\nspec: {spec}\n").documents
        assert (document.api_version, document.kind) == (version, kind)


def test_a_route_may_send_to_the_endpoints_of_its_own_service(read) -> None:
    text = (
        "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {name: a}\n"
        "spec: {parentRefs: [{kind: Service, name: a}], rules: [{backendRefs: [{name: a, port: 80}]}]}\n"
    )
    assert not list(broken_references(view_of(read, text)))


# -- between documents -------------------------------------------------------------------------------------------------


def external(name: str, to: str) -> str:
    return (
        f"apiVersion: v1\nkind: Service\nmetadata: {{name: {name}}}\nspec: {{type: ExternalName, externalName: {to}}}\n"
    )


def degrading(name: str, to: str, when: str = "noEndpoint") -> str:
    return (
        f"apiVersion: edgetwin.dev/v1\nkind: Policy\nmetadata: {{name: {name}-{when.lower()}}}\n"
        f"spec:\n  targetRefs: [{{kind: Service, name: {name}}}]\n"
        f"  degrade: [{{when: {when}, then: {{backendRef: {{name: {to}, port: 80}}}}}}]\n"
    )


def node_port(name: str, number: int, protocol: str = "TCP") -> str:
    port = f"{{port: 80, nodePort: {number}, protocol: {protocol}}}"
    return f"apiVersion: v1\nkind: Service\nmetadata: {{name: {name}}}\nspec: {{type: NodePort, ports: [{port}]}}\n"


def view_of(read, *texts: str) -> RegistryView:
    return applied(RegistryView(), read("---\n".join(texts)).documents, lambda: "uid")[0]


def broken(read, *texts: str) -> list[str]:
    return [f"{one.path}: {one.text}" for one in broken_references(view_of(read, *texts))]


def test_names_in_a_circle_are_refused_at_each_of_them(read) -> None:
    circle = [
        external("a", "b.default.svc.cluster.local"),
        external("b", "c.default.svc.edge."),
        external("c", "x.org"),
    ]
    assert broken(read, *circle) == []
    found = broken(read, *circle[:2], external("c", "a.default.svc.cluster.local"))
    assert len(found) == 3
    assert found[0] == (
        "spec.externalName: it leads back to default/a itself, by default/a -> default/b -> default/c -> default/a"
    )
    assert len(broken(read, external("d", "d.default.svc.cluster.local"))) == 1


def test_services_may_degrade_to_each_other(read) -> None:
    assert broken(read, degrading("a", "b"), degrading("b", "a")) == []


def test_two_services_cannot_have_one_node_port_unless_one_is_udp(read) -> None:
    assert broken(read, node_port("a", 30_080), node_port("b", 30_080, "UDP"), node_port("c", 30_081)) == []
    assert broken(read, node_port("a", 30_080), node_port("b", 30_080)) == [
        "spec.ports[0].nodePort: the nodePort 30080 of TCP is that of Service default/a"
    ]


def test_references_that_lead_nowhere_are_no_problem(read) -> None:
    assert list(broken_mesh_references(view_of(read, degrading("a", "b")))) == []


NAMES = st.sampled_from("abcdef")


@given(ways=st.lists(st.tuples(NAMES, NAMES), max_size=8, unique_by=lambda one: one[0]))
def test_names_are_refused_just_when_following_them_never_ends(ways) -> None:
    pairs = dict(ways)
    documents = [
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": name},
            "spec": {"type": "ExternalName", "externalName": f"{to}.default.svc.cluster.local"},
        }
        for name, to in pairs.items()
    ]
    parsed = read_parsed([Parsed(f"{one['metadata']['name']}", one) for one in documents]).documents
    view, _ = applied(RegistryView(), parsed, lambda: "uid")
    on_a_circle = set()
    for name in pairs:
        here = pairs[name]
        for _ in range(len(pairs)):
            if here == name:
                on_a_circle.add(name)
            here = pairs.get(here, "")
    assert {one.source.partition(":")[0] for one in broken_mesh_references(view)} == on_a_circle


# -- regular expressions -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "pattern",
    ["/v[0-9]+/.*", r".*\.json", "/users/[^/]+/posts/[^/]+", "(GET|POST)-[a-z]{1,5}", "((ab)+c)?", "(?i)next", "^/a$"],
)
def test_expressions_of_everyday_are_let_through(pattern: str) -> None:
    assert fault(pattern) == ""


@pytest.mark.parametrize(
    ("pattern", "why"),
    [
        ("(a+)+$", "repeats what may be repeated"),
        ("(?:ab|cd)*x", "repeats a choice"),
        (".*a.*b", "two repetitions"),
        (".*/[0-9]+", "two repetitions"),
        (".*a*b", "two repetitions"),
        ("a?" * 30 + "a" * 30, "more than 64 ways"),
        ("(a|a)" * 7, "more than 64 ways"),
        ("a(?=b)", "looks ahead"),
        (r"(a)\1", "looks ahead or back"),
        ("(", "no regular expression"),
        ("a" * 257, "more than 256"),
        ("(?i)[a-z]+Z.*b", "two repetitions"),
        ("(a{1,5}){1,20}", "repeats what may be repeated"),
    ],
)
def test_expressions_without_bound_are_refused(pattern: str, why: str) -> None:
    assert why in fault(pattern)


PIECES = st.sampled_from(["a", "b", "[ab]", ".", "[^a]", r"\d", r"\w", "(ab)", "(a|b)", "(a|ab)", "(?:a.|b)"])
REPEATED = st.tuples(PIECES, st.sampled_from(["", "", "*", "+", "?", "{1,3}", "{2}", "{2,}"])).map("".join)
PATTERNS = st.lists(REPEATED, min_size=1, max_size=8).map("".join)


@given(
    pattern=st.one_of(PATTERNS, PATTERNS.map(lambda one: f"({one})+x"), PATTERNS.map(lambda one: f"(?:{one}){{1,4}}"))
)
def test_no_expression_that_is_let_through_is_slow(pattern: str) -> None:
    if fault(pattern):
        return
    compiled = re.compile(pattern)
    began = time.process_time()
    for text in ("a" * 2000, "ab" * 1000 + "!", "a" * 1999 + "b"):
        compiled.fullmatch(text)
    assert time.process_time() - began < 0.5


def test_the_gateways_of_a_service_are_named_or_all() -> None:
    assert gateways_of({}) == ()
    assert gateways_of({"edgetwin.dev/gateways": " * "}) is None
    assert gateways_of({"edgetwin.dev/gateways": "hall-1, hall-2,"}) == ("hall-1", "hall-2")


def test_an_unknown_key_is_refused_with_its_path(read) -> None:
    text = (
        "apiVersion: edgetwin.dev/v1\nkind: Policy\nmetadata: {name: a}\n"
        "spec: {targetRefs: [{kind: Service, name: a}], circuitBreaker: {errorPercnt: 5}}\n"
    )
    with pytest.raises(InvalidManifest, match=r"spec.circuitBreaker.errorPercnt: .*\n.*errorPercent"):
        read(text)
    assert Ref(DocumentKind.POLICY, "default", "a").kind in MESH
