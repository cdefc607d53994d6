"""Where Services are reached: from documents, and from the pods that run here, so that it holds without a cloud. Pure.

pods here that the selector wants ──────────────────────────┐
EndpointSlices and Endpoints, but for what they say of here ┼─> the places of a Service ─> EndpointSlices, Endpoints
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final

from edgehub.kubeapi.objects import Json, content, elements, key_of, mapping, metadata_of, whole_of
from edgehub.kubeapi.resources import ENDPOINT_SLICES, ENDPOINTS
from edgehub.kubeapi.view import Content, ObjectKey
from edgehub.offers import Offers
from twin.manifest.catalog import RegistryView, Stored
from twin.manifest.document import DocumentKind
from twin.manifest.kube_network import (
    SERVICE_NAME,
    EndpointAddress,
    EndpointPort,
    Endpoints,
    EndpointSlice,
    ServiceSpec,
    TargetRef,
    family_of,
)
from twin.model import Value

MADE_HERE: Final = "edgetwin-"
"""Begins the names of EndpointSlices that the gateway makes; no document may have one."""
_MANAGED_BY: Final = "endpointslice.kubernetes.io/managed-by"


@dataclass(frozen=True, slots=True)
class _Port:
    name: str
    number: int
    protocol: str
    app_protocol: str | None = None


@dataclass(frozen=True, slots=True)
class _Place:
    """One address of a Service, with the ports that it has there."""

    address: str
    ready: bool
    ports: tuple[_Port, ...]
    node: str | None = None
    target: TargetRef | None = None
    hostname: str | None = None


@dataclass(frozen=True, slots=True)
class Reached:
    """All EndpointSlices and all Endpoints."""

    slices: list[Content] = field(default_factory=list)
    endpoints: list[Content] = field(default_factory=list)


def reached(view: RegistryView, offers: Offers, node: str) -> Reached:
    """Work out where every Service is reached; what documents say of pods on ``node`` itself is known better here."""
    made = Reached()
    places: dict[ObjectKey, list[_Place]] = defaultdict(list)
    services = {key_of(one): one for one in view.all(DocumentKind.SERVICE)}
    sliced: set[ObjectKey] = set()
    for stored in view.all(DocumentKind.ENDPOINT_SLICE):
        service = ObjectKey(stored.ref.namespace, stored.document.labels.get(SERVICE_NAME, ""))
        sliced.add(service)
        local = service in services and bool(_spec(services[service]).selector)
        places[service] += _of_slice(stored, node if local else "")
        made.slices.append(_kept_slice(stored, node if local else ""))
    documents = {key_of(one): one for one in view.all(DocumentKind.ENDPOINTS)}
    for key, stored in documents.items():
        selected = key in services and bool(_spec(services[key]).selector)
        found = list(_of_endpoints(stored, node if selected else ""))
        if key not in sliced:
            made.slices.extend(_slices(key, found, services.get(key), "mirror"))
        places[key] += found
    for key, stored in services.items():
        here = list(_offered(stored, offers, node))
        made.slices.extend(_slices(key, here, stored, ""))
        places[key] += here
    for key in sorted({*services, *documents}):
        labels = metadata_of(services.get(key) or documents[key]).get("labels")
        about: Json = {"labels": labels} if labels else {}
        made.endpoints.append(content(ENDPOINTS, key, about, {"subsets": list(_subsets(places[key]))}))
    return made


def _spec(service: Stored) -> ServiceSpec:
    assert isinstance(service.document.spec, ServiceSpec)
    return service.document.spec


def _of_slice(stored: Stored, here: str) -> Iterator[_Place]:
    spec = stored.document.spec
    assert isinstance(spec, EndpointSlice)
    ports = _ports(spec.ports)
    for one in spec.endpoints:
        if here and one.node_name == here:
            continue
        ready = one.conditions.ready is not False
        for address in one.addresses:
            yield _Place(address, ready, ports, one.node_name, one.target_ref, one.hostname)


def _kept_slice(stored: Stored, here: str) -> Content:
    body = whole_of(stored)
    if here:
        endpoints = map(mapping, elements(body.get("endpoints")))
        body["endpoints"] = [one for one in endpoints if one.get("nodeName") != here]
    return content(ENDPOINT_SLICES, key_of(stored), metadata_of(stored), body)


def _of_endpoints(stored: Stored, here: str) -> Iterator[_Place]:
    spec = stored.document.spec
    assert isinstance(spec, Endpoints)
    for subset in spec.subsets:
        ports = _ports(subset.ports)
        both: tuple[tuple[tuple[EndpointAddress, ...], bool], ...] = (
            (subset.addresses, True),
            (subset.not_ready_addresses, False),
        )
        for addresses, ready in both:
            for one in addresses:
                if not here or one.node_name != here:
                    yield _Place(one.ip, ready, ports, one.node_name, one.target_ref, one.hostname)


def _offered(service: Stored, offers: Offers, node: str) -> Iterator[_Place]:
    spec = _spec(service)
    for one in offers.selected(service):
        numbers = ((port, one.number(port)) for port in spec.ports)
        ports = tuple(
            _Port(port.name or "", number, port.protocol, port.app_protocol)
            for port, number in numbers
            if number is not None
        )
        if ports or not spec.ports:
            ready, of = one.ready or spec.publish_not_ready_addresses, one.stored
            target = TargetRef(kind=of.ref.kind.value, namespace=of.ref.namespace, name=of.ref.name, uid=of.uid)
            yield _Place(one.address, ready, ports, node, target)


def _ports(ports: Iterable[EndpointPort]) -> tuple[_Port, ...]:
    return tuple(_Port(one.name or "", one.port, one.protocol, one.app_protocol) for one in ports)


def _slices(key: ObjectKey, places: Iterable[_Place], service: Stored | None, what: str) -> Iterator[Content]:
    """The EndpointSlices that the gateway makes itself: one for each set of ports and kind of address."""
    groups: dict[tuple[tuple[_Port, ...], str], list[_Place]] = defaultdict(list)
    for one in places:
        groups[one.ports, str(family_of(one.address) or "")].append(one)
    for number, ((ports, family), members) in enumerate(sorted(groups.items(), key=lambda group: str(group[0]))):
        name = MADE_HERE + "-".join(filter(None, (key.name, what, str(number + 1) if number else "")))
        labels: Json = {SERVICE_NAME: key.name, _MANAGED_BY: "edgetwin"}
        about: Json = {"labels": labels}
        if service is not None:
            about["ownerReferences"] = [
                {"apiVersion": "v1", "kind": "Service", "name": key.name, "uid": service.uid, "controller": True}
            ]
        body: Json = {
            "addressType": family,
            "endpoints": [_endpoint(one) for one in members],
            "ports": [_port(one) for one in ports],
        }
        yield content(ENDPOINT_SLICES, ObjectKey(key.namespace, name), about, body)


def _endpoint(place: _Place) -> Value:
    conditions: Json = {"ready": place.ready, "serving": place.ready, "terminating": False}
    return {"addresses": [place.address], "conditions": conditions, **_more(place)}


def _subsets(places: Iterable[_Place]) -> Iterator[Value]:
    """Addresses with the same ports together, each once; ready before not ready."""
    groups: dict[tuple[_Port, ...], dict[str, _Place]] = {}
    for one in places:
        known = groups.setdefault(one.ports, {})
        if one.address not in known or (one.ready and not known[one.address].ready):
            known[one.address] = one
    for ports in sorted(groups, key=str):
        subset: Json = {}
        for key, ready in (("addresses", True), ("notReadyAddresses", False)):
            members = [one for _, one in sorted(groups[ports].items()) if one.ready is ready]
            if members:
                subset[key] = [{"ip": one.address, **_more(one)} for one in members]
        if ports:
            subset["ports"] = [_port(one) for one in ports]
        yield subset


def _more(place: _Place) -> Json:
    more: Json = {}
    if place.hostname:
        more["hostname"] = place.hostname
    if place.node:
        more["nodeName"] = place.node
    if place.target is not None:
        more["targetRef"] = mapping(place.target.model_dump(mode="json", by_alias=True, exclude_none=True))
    return more


def _port(port: _Port) -> Value:
    said: Json = {"name": port.name, "port": port.number, "protocol": port.protocol}
    return said | ({"appProtocol": port.app_protocol} if port.app_protocol else {})
