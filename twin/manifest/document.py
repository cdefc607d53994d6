"""A document that people wrote, as the rest of the product sees it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from twin.manifest.kinds import Spec
from twin.manifest.problems import KeyPath, Problem
from twin.manifest.yaml import Parsed
from twin.model import Value

if TYPE_CHECKING:
    from twin.manifest.kube import ConfigMap, PodSpec, Secret
    from twin.manifest.kube_network import Endpoints, EndpointSlice, ServiceSpec
    from twin.manifest.policies import AlarmRuleSpec, PolicySpec
    from twin.manifest.pushes import PushSpec
    from twin.manifest.routes import HttpRouteSpec, TcpRouteSpec
    from twin.manifest.traffic import DestinationRuleSpec
    from twin.manifest.workloads import DeploymentSpec, GatewaySpec

    _Kube = PodSpec | ConfigMap | Secret | ServiceSpec | Endpoints | EndpointSlice | DeploymentSpec | GatewaySpec
    _Mesh = HttpRouteSpec | TcpRouteSpec | DestinationRuleSpec | PolicySpec | AlarmRuleSpec


class DocumentKind(StrEnum):
    """The kinds of documents that the registry keeps."""

    DEVICE_MODEL = "DeviceModel"
    DEVICE = "Device"
    CONNECTION = "Connection"
    MAPPER = "Mapper"
    POD = "Pod"
    CONFIG_MAP = "ConfigMap"
    SECRET = "Secret"
    SERVICE = "Service"
    ENDPOINTS = "Endpoints"
    ENDPOINT_SLICE = "EndpointSlice"
    DEPLOYMENT = "Deployment"
    GATEWAY = "Gateway"
    HTTP_ROUTE = "HTTPRoute"
    TCP_ROUTE = "TCPRoute"
    TLS_ROUTE = "TLSRoute"
    DESTINATION_RULE = "DestinationRule"
    POLICY = "Policy"
    ALARM_RULE = "AlarmRule"
    PUSH = "Push"


CLOUD_ONLY: Final = (DocumentKind.DEPLOYMENT, DocumentKind.GATEWAY)
"""Kinds that a gateway has no use for: the cloud's scheduler reads them."""
NETWORK: Final = (DocumentKind.SERVICE, DocumentKind.ENDPOINTS, DocumentKind.ENDPOINT_SLICE)
"""The kinds that say where something is reached."""
ROUTES: Final = (DocumentKind.HTTP_ROUTE, DocumentKind.TCP_ROUTE, DocumentKind.TLS_ROUTE)
MESH: Final = (*ROUTES, DocumentKind.DESTINATION_RULE, DocumentKind.POLICY, DocumentKind.ALARM_RULE)
"""The kinds that say how what is there is shared out and treated."""


@dataclass(frozen=True, slots=True, order=True)
class Ref:
    """Names one document; the api version is not part of it, so KubeEdge's Device and ours are the same thing."""

    kind: DocumentKind
    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind} {self.namespace}/{self.name}"


@dataclass(frozen=True, slots=True)
class Document:
    """One document: who it is, its spec as a model, ``raw`` as it is stored, ``origin`` with the places.

    ``raw`` is plain JSON, must not be changed, and holds no uid or generation.
    """

    api_version: str
    ref: Ref
    labels: Mapping[str, str]
    spec: Spec | _Kube | _Mesh | PushSpec
    raw: dict[str, Value]
    origin: Parsed = field(compare=False, repr=False)

    @property
    def kind(self) -> DocumentKind:
        """The kind, of the reference."""
        return self.ref.kind

    @property
    def namespace(self) -> str:
        """The namespace, of the reference."""
        return self.ref.namespace

    @property
    def name(self) -> str:
        """The name, of the reference."""
        return self.ref.name

    @property
    def place(self) -> str:
        """Where the document begins: ``file.yaml:12``, or its name if no file is behind it."""
        place = self.origin.place(())
        return f"{self.origin.source}:{place.line}" if place else self.origin.source

    def problem(self, path: KeyPath, text: str, remedy: str = "") -> Problem:
        """State a problem at a key path of this document."""
        return self.origin.problem(path, text, remedy)


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a set of files holds, and what in it deserves a second look."""

    documents: tuple[Document, ...]
    warnings: tuple[Problem, ...] = ()
