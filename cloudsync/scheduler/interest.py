"""Which documents of the mesh go to which gateway: to each what it uses, and what that needs. Pure.

used by a gateway:  asked for there, pods of its selector there, or the annotation edgetwin.dev/gateways
a Service needs:    its EndpointSlices and policies, the routes to it, and of their backends the same but for routes
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Set
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from twin.exchange import DocumentRef
from twin.manifest.document import MESH, NETWORK, Document, DocumentKind
from twin.manifest.kube_network import SERVICE_NAME, ServiceSpec
from twin.manifest.kube_rules import annotations_of
from twin.manifest.marks import gateways_of
from twin.manifest.policies import AlarmRuleSpec, PolicySpec, ServiceSelector
from twin.manifest.policy_rules import service_of
from twin.manifest.routes import HttpRouteSpec, HttpRule, PlainBackendRef, PlainRule, TcpRouteSpec
from twin.manifest.traffic import DestinationRuleSpec

KINDS: Final = (*NETWORK, *MESH)
"""The kinds that go to gateways by interest."""
Name: TypeAlias = tuple[str, str]
"""Namespace and name of a Service."""
Refs: TypeAlias = frozenset[DocumentRef]


@dataclass(frozen=True, slots=True)
class Needed:
    """What goes along with a Service: documents, and Services whose pods' endpoints are needed."""

    refs: Refs = frozenset()
    services: frozenset[Name] = frozenset()


@dataclass(frozen=True, slots=True)
class Web:
    """Who names whom among the documents of the mesh."""

    services: Mapping[Name, Document] = field(default_factory=dict)
    needed: Mapping[Name, Needed] = field(default_factory=dict)
    asked: Mapping[str, frozenset[Name]] = field(default_factory=dict)
    """Services that go to a gateway without its using them; under ``*`` those that go to all."""
    everywhere: Refs = frozenset()
    """Documents that go to every gateway: rules of alarms about what is no Service."""


def ref_of(document: Document) -> DocumentRef:
    """The name of a document as both sites write it."""
    return DocumentRef(document.kind.value, document.namespace, document.name)


def web_of(documents: Iterable[Document]) -> Web:
    """Follow all names."""
    weaving = _Weaving()
    for document in documents:
        weaving.add(document)
    return weaving.outcome()


def used_by(web: Web, gateway: str, interest: Iterable[str], selected: Set[Name]) -> frozenset[Name]:
    """The Services that a gateway uses. ``interest`` as it tells it, ``selected``: those with pods there."""
    told = {(namespace, name) for one in interest for namespace, _, name in [one.partition("/")]}
    there = (told | selected) & web.services.keys()
    # One that the gateway has of its own is not the cloud's; its routes and policies may be all the same.
    named = {name for name in told if name in web.needed}
    return frozenset(there | named) | web.asked.get("*", frozenset()) | web.asked.get(gateway, frozenset())


def needed_for(web: Web, used: Iterable[Name]) -> Needed:
    """All that goes to a gateway that uses these."""
    refs: set[DocumentRef] = set(web.everywhere)
    services: set[Name] = set()
    for name in used:
        needed = web.needed.get(name)
        if needed is not None:
            refs |= needed.refs
            services |= needed.services
    return Needed(frozenset(refs), frozenset(services))


class _Weaving:
    """Collects names."""

    def __init__(self) -> None:
        self._services: dict[Name, Document] = {}
        self._beside: defaultdict[Name, set[DocumentRef]] = defaultdict(set)
        """Slices and policies of a Service."""
        self._routes: defaultdict[Name, set[DocumentRef]] = defaultdict(set)
        self._of_routes: defaultdict[DocumentRef, set[DocumentRef]] = defaultdict(set)
        """Policies of a route."""
        self._leads: defaultdict[DocumentRef, set[Name]] = defaultdict(set)
        """Services that a route or policy sends to."""
        self._everywhere: set[DocumentRef] = set()
        self._alarms: list[tuple[DocumentRef, str, ServiceSelector]] = []

    def add(self, document: Document) -> None:
        """Take one document."""
        spec, ref, namespace = document.spec, ref_of(document), document.namespace
        if document.kind is DocumentKind.SERVICE:
            self._services[namespace, document.name] = document
        elif document.kind is DocumentKind.ENDPOINT_SLICE:
            self._beside[namespace, document.labels.get(SERVICE_NAME, "")].add(ref)
        elif document.kind is DocumentKind.ENDPOINTS:
            self._beside[namespace, document.name].add(ref)
        elif isinstance(spec, HttpRouteSpec | TcpRouteSpec):
            for parent in spec.parent_refs:
                self._routes[namespace, parent.name].add(ref)
            self._leads[ref] |= {_named(one, namespace) for one in _backends(spec)}
        elif isinstance(spec, DestinationRuleSpec):
            self._beside[service_of(spec.host, namespace)].add(ref)
        elif isinstance(spec, PolicySpec):
            self._policy(ref, namespace, spec)
        elif isinstance(spec, AlarmRuleSpec) and spec.service is not None:
            self._alarms.append((ref, namespace, spec.service))
        elif isinstance(spec, AlarmRuleSpec):
            self._everywhere.add(ref)

    def outcome(self) -> Web:
        """What was found, by Service."""
        for ref, namespace, selector in self._alarms:
            for name in self._watched(namespace, selector):
                self._beside[name].add(ref)
        asked: defaultdict[str, set[Name]] = defaultdict(set)
        for name, document in self._services.items():
            gateways = gateways_of(annotations_of(document))
            for gateway in ("*",) if gateways is None else gateways:
                asked[gateway].add(name)
        names = self._services.keys() | self._beside.keys() | self._routes.keys()
        needed = {name: self._needed(name) for name in names}
        by_gateway = {gateway: frozenset(ones) for gateway, ones in asked.items()}
        return Web(self._services, needed, by_gateway, frozenset(self._everywhere))

    def _policy(self, ref: DocumentRef, namespace: str, spec: PolicySpec) -> None:
        backends = (rule.then.backend_ref for rule in spec.degrade)
        self._leads[ref] |= {_named(one, namespace) for one in backends if one is not None}
        for target in spec.target_refs:
            if target.kind == DocumentKind.SERVICE.value:
                self._beside[namespace, target.name].add(ref)
            else:
                self._of_routes[DocumentRef(target.kind, namespace, target.name)].add(ref)

    def _watched(self, namespace: str, selector: ServiceSelector) -> Iterator[Name]:
        if selector.name is not None:
            yield namespace, selector.name
            return
        for name, document in self._services.items():
            if name[0] == namespace and selector.match_labels.items() <= document.labels.items():
                yield name

    def _needed(self, name: Name) -> Needed:
        refs = self._alone(name)
        for route in self._routes.get(name, ()):
            refs |= {route} | self._of_routes.get(route, set())
        services = {name}.union(*(self._leads.get(ref, ()) for ref in refs))
        for behind in services - {name}:
            refs |= self._alone(behind)
        return Needed(frozenset(refs), frozenset(services))

    def _alone(self, name: Name) -> set[DocumentRef]:
        """A Service with its slices and policies, if there are such."""
        own = {ref_of(self._services[name])} if name in self._services else set[DocumentRef]()
        return own | self._beside.get(name, set())


def _named(one: PlainBackendRef, namespace: str) -> Name:
    return one.namespace or namespace, one.name


def _backends(spec: HttpRouteSpec | TcpRouteSpec) -> Iterator[PlainBackendRef]:
    rules: tuple[HttpRule | PlainRule, ...] = spec.rules
    for rule in rules:
        filters = rule.filters if isinstance(rule, HttpRule) else ()
        for one in rule.backend_refs:
            yield one
            yield from (mirror.backend_ref for filter_ in one.filters if (mirror := filter_.request_mirror))
        yield from (mirror.backend_ref for filter_ in filters if (mirror := filter_.request_mirror))


def selectors(web: Web) -> Iterator[tuple[Name, ServiceSpec]]:
    """The Services that find pods by their labels."""
    for name, document in web.services.items():
        if isinstance(document.spec, ServiceSpec) and document.spec.selector:
            yield name, document.spec
