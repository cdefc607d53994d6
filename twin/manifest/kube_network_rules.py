"""What must hold inside a Service, EndpointSlice or Endpoints beyond the types of its fields. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from twin.manifest.document import Document
from twin.manifest.kube_network import (
    EndpointPort,
    Endpoints,
    EndpointSlice,
    ServicePort,
    ServiceSpec,
    SessionAffinity,
    family_of,
)
from twin.manifest.marks import broken_marks
from twin.manifest.problems import KeyPath, Problem

MAX_ENDPOINTS: Final = 1000
MAX_ADDRESSES: Final = 100
MAX_PORTS: Final = 100


def broken_network_rules(document: Document) -> Iterator[Problem]:
    """Find what is wrong inside one document of these kinds; nothing for other kinds."""
    spec = document.spec
    if isinstance(spec, ServiceSpec):
        yield from _service(document, spec)
    elif isinstance(spec, EndpointSlice):
        yield from _slice(document, spec)
    elif isinstance(spec, Endpoints):
        yield from _endpoints(document, spec)


def _service(document: Document, spec: ServiceSpec) -> Iterator[Problem]:
    yield from broken_marks(document)
    if spec.type == "ExternalName" or spec.external_name is not None:
        yield from _external(document, spec)
    if not spec.ports and not spec.headless and spec.type != "ExternalName":
        text = "a Service has one port or more, unless clusterIP is None"
        yield document.problem(("spec", "ports"), text, "Add one, for example {port: 80, targetPort: 8080}.")
    yield from _ports(document, ("spec", "ports"), spec.ports)
    yield from _node_ports(document, spec)
    if spec.cluster_ips and spec.cluster_ips[0] != spec.cluster_ip:
        text = (
            f"the first of them is not the clusterIP {spec.cluster_ip}" if spec.cluster_ip else "clusterIP is not set"
        )
        yield document.problem(("spec", "clusterIPs"), text, "Write the same in clusterIP, or leave clusterIPs out.")
    if spec.session_affinity_config and spec.session_affinity is not SessionAffinity.CLIENT_IP:
        text = "there is no session affinity to configure"
        yield document.problem(
            ("spec", "sessionAffinityConfig"), text, "Add sessionAffinity: ClientIP, or leave it out."
        )


def _external(document: Document, spec: ServiceSpec) -> Iterator[Problem]:
    if spec.type != "ExternalName":
        text = f"a Service of type {spec.type} has endpoints, and not a name in their place"
        yield document.problem(("spec", "externalName"), text, "Add type: ExternalName, or leave it out.")
        return
    if spec.external_name is None:
        yield document.problem(("spec", "externalName"), "externalName is missing", "Add it, or leave type out.")
    for key, there in (("selector", spec.selector), ("clusterIP", spec.cluster_ip)):
        if there:
            text = "a Service of type ExternalName is a name, and has no endpoints of its own"
            yield document.problem(("spec", key), text, "Leave it out.")


def _node_ports(document: Document, spec: ServiceSpec) -> Iterator[Problem]:
    seen: dict[tuple[int, str], int] = {}
    for index, one in enumerate(spec.ports):
        path: KeyPath = ("spec", "ports", index, "nodePort")
        if spec.type != "NodePort":
            if one.node_port is not None:
                text = f"a Service of type {spec.type} has no nodePort"
                yield document.problem(path, text, "Add type: NodePort, or leave it out.")
        elif one.node_port is None:
            yield document.problem(path, "nodePort is missing: no gateway gives one out", "Add one, such as 30080.")
        elif (first := seen.setdefault((one.node_port, one.protocol), index)) != index:
            text = f"the nodePort {one.node_port} of {one.protocol} is already that of ports[{first}]"
            yield document.problem(path, text, "Write another one.")
    if spec.type == "NodePort" and spec.headless:
        text = "clusterIP: None leaves clients to the endpoints themselves, and a nodePort does not"
        yield document.problem(("spec", "clusterIP"), text, "Keep one of the two.")


def _slice(document: Document, spec: EndpointSlice) -> Iterator[Problem]:
    yield from _too_many(document, ("endpoints",), len(spec.endpoints), MAX_ENDPOINTS)
    yield from _ports(document, ("ports",), spec.ports)
    for index, endpoint in enumerate(spec.endpoints):
        path: KeyPath = ("endpoints", index, "addresses")
        if not endpoint.addresses:
            yield document.problem(path, "an endpoint has an address", "Add it, or leave the endpoint out.")
        yield from _too_many(document, path, len(endpoint.addresses), MAX_ADDRESSES)
        for number, address in enumerate(endpoint.addresses):
            if family_of(address) is not spec.address_type:
                text = f"{address} is no {spec.address_type} address, as addressType says"
                yield document.problem(
                    (*path, number), text, "Keep addresses of other kinds in an EndpointSlice of their own."
                )


def _endpoints(document: Document, spec: Endpoints) -> Iterator[Problem]:
    for index, subset in enumerate(spec.subsets):
        path: KeyPath = ("subsets", index)
        if not subset.addresses and not subset.not_ready_addresses:
            yield document.problem(path, "a subset has an address", "Add addresses or notReadyAddresses.")
        yield from _too_many(document, path, len(subset.addresses) + len(subset.not_ready_addresses), MAX_ENDPOINTS)
        yield from _ports(document, (*path, "ports"), subset.ports)


def _ports(document: Document, path: KeyPath, ports: Sequence[ServicePort | EndpointPort]) -> Iterator[Problem]:
    yield from _too_many(document, path, len(ports), MAX_PORTS)
    names: dict[str, int] = {}
    numbers: dict[tuple[int, str], int] = {}
    for index, one in enumerate(ports):
        name = one.name or ""
        if not name and len(ports) > 1:
            text = "each of several ports has a name"
            yield document.problem((*path, index, "name"), text, "Add one, for example name: http.")
        elif (first := names.setdefault(name, index)) != index:
            text = f"the port {name} is already ports[{first}]"
            yield document.problem((*path, index, "name"), text, "Keep one of the two, or rename one.")
        if (first := numbers.setdefault((one.port, one.protocol), index)) != index and isinstance(one, ServicePort):
            text = f"the port {one.port} of {one.protocol} is already ports[{first}]"
            yield document.problem((*path, index, "port"), text, "Keep one of the two.")


def _too_many(document: Document, path: KeyPath, count: int, most: int) -> Iterator[Problem]:
    if count > most:
        yield document.problem(path, f"there are {count}, more than {most}", "Use several documents.")
