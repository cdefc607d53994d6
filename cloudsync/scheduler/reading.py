"""From documents to the scheduler's words. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from cloudsync.scheduler.model import (
    PODS_AT_MOST,
    Amounts,
    Deployment,
    Effect,
    Gateway,
    Needs,
    Pod,
    PodName,
    Port,
    Taint,
    Tolerated,
)
from cloudsync.store.workloads import Workload
from twin.exchange import DocumentRef
from twin.manifest.catalog import content_hash
from twin.manifest.document import Document, DocumentKind
from twin.manifest.kube import Container, PodSpec, Toleration
from twin.manifest.kube_engine import has_own_network
from twin.manifest.kube_rules import annotations_of
from twin.manifest.read import read_parsed
from twin.manifest.workloads import DeploymentSpec, GatewaySpec, RollingUpdate, cut_off_rule, share_of
from twin.manifest.yaml import Parsed
from twin.model import Value

_ROLLING: Final = RollingUpdate()


def document_of(ref: DocumentRef, raw: Mapping[str, Value]) -> Document:
    """A stored document as it is read. Raises InvalidManifest if it is of another release."""
    return read_parsed([Parsed(f"{ref.kind} {ref.namespace}/{ref.name}", dict(raw))]).documents[0]


def pod_of(workload: Workload, document: Document) -> Pod:
    """A pod that is to run."""
    spec = document.spec
    assert isinstance(spec, PodSpec)
    return Pod(
        PodName(document.namespace, document.name),
        workload.uid,
        needs_of(spec),
        cut_off_rule(annotations_of(document), spec.tolerations),
        owner=workload.owner,
        made=workload.made,
        grace_s=spec.termination_grace_period_seconds,
        at=workload.at,
    )


def deployment_of(workload: Workload, document: Document) -> Deployment:
    """A Deployment."""
    spec = document.spec
    assert isinstance(spec, DeploymentSpec)
    rolling = spec.strategy.rolling_update or _ROLLING
    surge = share_of(rolling.max_surge, spec.replicas, up=True)
    missing = share_of(rolling.max_unavailable, spec.replicas, up=False)
    pod = spec.template.spec
    template = Pod(
        PodName(document.namespace, document.name),
        "",
        needs_of(pod),
        cut_off_rule(spec.template.metadata.annotations, pod.tolerations),
        owner=workload.uid,
        made=made_from(workload.raw),
        grace_s=pod.termination_grace_period_seconds,
    )
    return Deployment(
        PodName(document.namespace, document.name),
        workload.uid,
        spec.replicas,
        template,
        recreate=spec.strategy.type == "Recreate",
        surge=surge if surge or missing else 1,  # as in Kubernetes: shares of few replicas round to something
        missing=missing,
    )


def made_from(raw: Mapping[str, Value]) -> str:
    """Names the template of a Deployment: another one, another name."""
    return content_hash(_template(raw))[:16]


def pod_raw(raw: Mapping[str, Value], name: PodName, owner: str) -> dict[str, Value]:
    """The document of a pod of a Deployment."""
    template, about = _template(raw), raw.get("metadata")
    said = template.get("metadata")
    metadata = {key: one for key, one in said.items() if one} if isinstance(said, dict) else {}
    of: Value = {
        "apiVersion": raw["apiVersion"],
        "kind": raw["kind"],
        "name": about.get("name") if isinstance(about, dict) else None,
        "uid": owner,
        "controller": True,
    }
    whole: Value = {"namespace": name.namespace, "name": name.name, **metadata, "ownerReferences": [of]}
    return {"apiVersion": "v1", "kind": str(DocumentKind.POD), "metadata": whole, "spec": template["spec"]}


def gateway_facts(document: Document | None, name: str, reported: Mapping[str, Value]) -> Gateway:
    """What people and the gateway itself say of it."""
    spec = document.spec if document is not None else None
    said = spec if isinstance(spec, GatewaySpec) else GatewaySpec()
    capacity, cpu, memory = said.capacity, reported.get("cpu"), reported.get("memory")
    return Gateway(
        name,
        labels={**_reported_labels(reported), **(document.labels if document is not None else {})},
        taints=tuple(Taint(one.key, one.value, Effect(one.effect)) for one in said.taints),
        unschedulable=said.unschedulable,
        cpu_milli=capacity.cpu or (round(cpu * 1000) if isinstance(cpu, int | float) and cpu > 0 else None),
        memory_bytes=capacity.memory or (int(memory) if isinstance(memory, int | float) and memory > 0 else None),
        pods=PODS_AT_MOST if capacity.pods is None else capacity.pods,
    )


def needs_of(spec: PodSpec) -> Needs:
    """What a pod asks for: its containers together, or its largest init container."""
    cpu = max([sum(_cpu(one) for one in spec.containers), *map(_cpu, spec.init_containers)])
    memory = max([sum(_memory(one) for one in spec.containers), *map(_memory, spec.init_containers)])
    return Needs(
        cpu,
        memory,
        _ports(spec),
        tuple(sorted(spec.node_selector.items())),
        tuple(map(_tolerated, spec.tolerations)),
        spec.node_name or "",
    )


def used_by(specs: Iterable[PodSpec]) -> Amounts:
    """What pods ask for altogether."""
    needs = [needs_of(spec) for spec in specs]
    ports = frozenset(port for one in needs for port in one.ports)
    return Amounts(sum(one.cpu_milli for one in needs), sum(one.memory_bytes for one in needs), len(needs), ports)


def _ports(spec: PodSpec) -> frozenset[Port]:
    """The ports of the gateway's own network that a pod uses."""
    ports = [port for one in spec.containers for port in one.ports]
    if has_own_network(spec):
        return frozenset(Port(port.protocol, port.host_port) for port in ports if port.host_port)
    return frozenset(Port(port.protocol, port.container_port) for port in ports)


def _cpu(container: Container) -> int:
    return container.resources.requests.cpu or container.resources.limits.cpu or 0


def _memory(container: Container) -> int:
    return container.resources.requests.memory or container.resources.limits.memory or 0


def _tolerated(one: Toleration) -> Tolerated:
    value = None if one.operator == "Exists" else one.value
    return Tolerated(one.key or None, value, Effect(one.effect) if one.effect else None)


def _template(raw: Mapping[str, Value]) -> dict[str, Value]:
    spec = raw["spec"]
    assert isinstance(spec, dict)
    template = spec["template"]
    assert isinstance(template, dict)
    return template


def _reported_labels(reported: Mapping[str, Value]) -> dict[str, str]:
    arch = reported.get("arch")
    return {"kubernetes.io/arch": arch} if isinstance(arch, str) and arch else {}
