"""From documents to what the scheduler looks at."""

import pytest

from cloudsync.scheduler.model import Effect, Port, Tolerated
from cloudsync.scheduler.reading import deployment_of, document_of, gateway_facts, made_from, needs_of
from cloudsync.store.workloads import Workload
from tests.cloudsync.scheduler.site import deployment, gateway, pod
from twin.exchange import DocumentRef
from twin.manifest.workloads import CutOff, cut_off_rule

pytestmark = pytest.mark.fast

HTTP = {"containerPort": 80}


def read(raw):
    metadata = raw["metadata"]
    return document_of(DocumentRef(raw["kind"], metadata.get("namespace", "default"), metadata["name"]), raw)


def needs(**spec):
    return needs_of(read(pod(**spec)).spec)


def test_a_pod_asks_for_its_containers_together_or_for_its_largest_init_container():
    def container(name, **amounts):
        return {"name": name, "image": "host", "command": ["x"], "resources": amounts}

    both = [
        container("a", requests={"cpu": "100m"}, limits={"cpu": 4, "memory": "1Mi"}),
        container("b", limits={"cpu": 1}),
    ]
    asked = needs_of(read({**pod(), "spec": {"containers": both}}).spec)
    assert (asked.cpu_milli, asked.memory_bytes) == (1100, 2**20)
    init = [container("i", requests={"memory": "5Mi"})]
    asked = needs_of(read({**pod(), "spec": {"initContainers": init, "containers": both}}).spec)
    assert (asked.cpu_milli, asked.memory_bytes) == (1100, 5 * 2**20)


def test_ports_are_those_of_the_gateways_network():
    assert needs(containers={"ports": [HTTP]}).ports == {Port("TCP", 80)}
    image = {"image": "docker.io/library/nginx", "ports": [HTTP, {"containerPort": 81, "hostPort": 8081}]}
    assert needs(containers=image).ports == {Port("TCP", 8081)}


def test_tolerations_name_what_they_say_and_no_more():
    said = [
        {"operator": "Exists"},
        {"key": "a", "value": "x", "effect": "NoExecute"},
        {"key": "b", "operator": "Exists"},
    ]
    assert needs(tolerations=said).tolerated == (
        Tolerated(None, None, None),
        Tolerated("a", "x", Effect.NO_EXECUTE),
        Tolerated("b", None, None),
    )


@pytest.mark.parametrize(
    ("annotations", "tolerations", "rule"),
    [
        ({}, [], CutOff()),
        ({"when-cut-off": "keep"}, [], CutOff()),
        ({"when-cut-off": "move"}, [], CutOff(moves=True)),
        ({"move-after": "30s"}, [], CutOff(moves=True, after_ms=30_000)),
        ({"when-cut-off": "move", "move-after": "1h"}, [], CutOff(moves=True, after_ms=3_600_000)),
        ({}, [("unreachable", None)], CutOff()),
        ({}, [("not-ready", 300), ("unreachable", 300)], CutOff(moves=True)),
        ({}, [("unreachable", 60)], CutOff(moves=True, after_ms=60_000)),
    ],
)
def test_the_rule_for_a_cut_line_is_read_from_annotations_or_as_kubernetes_says_it(annotations, tolerations, rule):
    said = {f"edgetwin.dev/{name}": value for name, value in annotations.items()}
    taints = [
        {"key": f"node.kubernetes.io/{key}", "operator": "Exists", "effect": "NoExecute"}
        | ({"tolerationSeconds": seconds} if seconds else {})
        for key, seconds in tolerations
    ]
    spec = read(pod(annotations=said, tolerations=taints)).spec
    assert cut_off_rule(said, spec.tolerations) == rule


@pytest.mark.parametrize(
    ("replicas", "surge", "missing"), [(1, 1, 0), (4, 1, 1), (10, 3, 2), (0, 1, 0)], ids=lambda number: str(number)
)
def test_a_quarter_too_many_is_rounded_up_and_a_quarter_missing_down(replicas, surge, missing):
    raw = deployment(replicas)
    made = deployment_of(Workload(DocumentRef("Deployment", "plant", "shop"), "u", 1, "h", raw), read(raw))
    assert (made.surge, made.missing) == (surge, missing)


def test_another_template_has_another_name_and_other_replicas_have_not():
    assert made_from(deployment(1)) == made_from(deployment(9))
    assert made_from(deployment(1)) != made_from(deployment(1, command="10"))


def test_what_people_say_of_a_gateway_counts_before_what_it_says_itself():
    reported = {"cpu": 4, "memory": 2**30, "arch": "arm64"}
    facts = gateway_facts(None, "gw-1", reported)
    assert (facts.cpu_milli, facts.memory_bytes, facts.pods) == (4000, 2**30, 110)
    assert facts.labels == {"kubernetes.io/arch": "arm64"}
    said = read(gateway("gw-1", {"hall": "north"}, capacity={"cpu": 1, "pods": 3}))
    facts = gateway_facts(said, "gw-1", reported)
    assert (facts.cpu_milli, facts.memory_bytes, facts.pods) == (1000, 2**30, 3)
    assert facts.labels == {"kubernetes.io/arch": "arm64", "hall": "north"}
    unknown = gateway_facts(None, "gw-1", {"cpu": "many", "memory": None})
    assert (unknown.cpu_milli, unknown.memory_bytes) == (None, None)
