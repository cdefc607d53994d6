"""Kubernetes' kinds that say where something is reached: Service, EndpointSlice, Endpoints. Others are refused."""

from __future__ import annotations

from enum import StrEnum
from ipaddress import ip_address
from typing import Annotated, Any, Final, Literal

from pydantic import BeforeValidator, Field, JsonValue, StrictBool, StrictInt

from twin.manifest.fields import Name, choice, matching, refuse
from twin.manifest.kinds import Envelope, Part
from twin.manifest.kube import V1, Flat
from twin.manifest.kube_fields import PortNumber, ProbePort
from twin.manifest.mesh_fields import ExternalName, Weight
from twin.model import NAME, NAME_RULE

DISCOVERY: Final = "discovery.k8s.io/v1"
HEADLESS: Final = "None"
SERVICE_NAME: Final = "kubernetes.io/service-name"
"""The label by which an EndpointSlice belongs to a Service."""


class AddressFamily(StrEnum):
    """The kinds of addresses that an endpoint may have."""

    IPV4 = "IPv4"
    IPV6 = "IPv6"


class SessionAffinity(StrEnum):
    """Whether a client stays with one endpoint."""

    NONE = "None"
    CLIENT_IP = "ClientIP"


def _family(value: object) -> AddressFamily:
    return choice(AddressFamily, value)


def _affinity(value: object) -> SessionAffinity:
    return choice(SessionAffinity, value)


def _service_type(value: object) -> object:
    if isinstance(value, str) and value not in ("ClusterIP", "NodePort", "ExternalName"):
        remedy = "Use ClusterIP, NodePort for a port of every address of the gateway, or ExternalName."
        refuse(value, "is not a type of Service that a gateway has", remedy)
    return value


def _address(value: object) -> object:
    if isinstance(value, str) and family_of(value) is None:
        refuse(value, "is not an IP address", "Write one such as 192.0.2.10.")
    return value


def _cluster_ip(value: object) -> object:
    return value if value in ("", HEADLESS) else _address(value)


def _port_name(value: object) -> object:
    return value if value == "" else matching(value, NAME, NAME_RULE)


def family_of(address: str) -> AddressFamily | None:
    """The kind of an IP address; None if it is none."""
    try:
        return AddressFamily.IPV4 if ip_address(address).version == 4 else AddressFamily.IPV6
    except ValueError:
        return None


Address = Annotated[str, BeforeValidator(_address), Field(examples=["192.0.2.10"])]
ClusterIp = Annotated[str, BeforeValidator(_cluster_ip), Field(examples=["None"])]
Family = Annotated[AddressFamily, BeforeValidator(_family), Field(examples=["IPv4"])]
Affinity = Annotated[SessionAffinity, BeforeValidator(_affinity), Field(examples=["ClientIP"])]
PortName = Annotated[str, BeforeValidator(_port_name), Field(examples=["http"])]
Transport = Literal["TCP", "UDP"]
ServiceType = Annotated[
    Literal["ClusterIP", "NodePort", "ExternalName"], BeforeValidator(_service_type), Field(examples=["NodePort"])
]
Selector = dict[str, str]


class ServicePort(Part):
    """One port of a Service, and the port of its pods behind it: ``target_port`` is a number or a name in ``ports``."""

    name: PortName | None = None
    port: PortNumber
    target_port: ProbePort | None = None
    protocol: Transport = Field("TCP", examples=["TCP"])
    app_protocol: str | None = Field(None, examples=["http"])
    node_port: PortNumber | None = None


class ClientIp(Part):
    """How long a client stays with its endpoint."""

    timeout_seconds: Annotated[StrictInt, Field(ge=1, le=86_400)] = 10_800


class AffinityConfig(Part):
    """Settings of the session affinity."""

    client_ip: ClientIp | None = Field(None, alias="clientIP", examples=["{timeoutSeconds: 600}"])


class ServiceSpec(Part):
    """A name for what pods offer, found by their labels, or by an EndpointSlice if there is no selector."""

    type: ServiceType = "ClusterIP"
    selector: Selector = Field({}, examples=["{app: web}"])
    ports: tuple[ServicePort, ...] = Field((), examples=["[{name: http, port: 80, targetPort: 8080}]"])
    cluster_ip: ClusterIp = Field("", alias="clusterIP")
    cluster_ips: tuple[ClusterIp, ...] = Field((), alias="clusterIPs")
    session_affinity: Affinity = SessionAffinity.NONE
    session_affinity_config: AffinityConfig | None = None
    publish_not_ready_addresses: StrictBool = Field(False, examples=["true"])
    internal_traffic_policy: Literal["Cluster", "Local"] = Field("Cluster", examples=["Local"])
    ip_families: tuple[Family, ...] = ()
    ip_family_policy: Literal["SingleStack", "PreferDualStack", "RequireDualStack"] | None = None
    external_name: ExternalName | None = None
    external_traffic_policy: Literal["Cluster", "Local"] | None = Field(None, examples=["Local"])
    traffic_distribution: Literal["PreferClose", "PreferSameZone", "PreferSameNode"] | None = Field(
        None, examples=["PreferSameZone"]
    )

    @property
    def headless(self) -> bool:
        """Whether it has no address of its own."""
        return self.cluster_ip == HEADLESS


class TargetRef(Part):
    """What is behind an endpoint."""

    api_version: str | None = None
    kind: str = Field("", examples=["Pod"])
    namespace: Name | None = None
    name: Name | None = None
    uid: str | None = None
    field_path: str | None = None
    resource_version: JsonValue = None


class EndpointConditions(Part):
    """How an endpoint is; what is left out counts as Kubernetes says: ready, serving, not terminating."""

    ready: StrictBool | None = Field(None, examples=["true"])
    serving: StrictBool | None = Field(None, examples=["true"])
    terminating: StrictBool | None = Field(None, examples=["false"])


class Zone(Part):
    """One zone that an endpoint is for."""

    name: str


class Hints(Part):
    """Who should rather use an endpoint."""

    for_zones: tuple[Zone, ...] = ()
    for_nodes: tuple[Zone, ...] = ()


class Endpoint(Part):
    """One place where a Service is reached; all its addresses are the same one. ``weight`` is ours."""

    addresses: tuple[Address, ...] = Field(examples=["[192.0.2.10]"])
    conditions: EndpointConditions = Field(EndpointConditions(), examples=["{ready: true}"])
    hostname: Name | None = None
    node_name: Name | None = None
    target_ref: TargetRef | None = None
    zone: str | None = Field(None, examples=["hall-2"])
    hints: Hints | None = None
    weight: Weight = 1
    deprecated_topology: Selector | None = None


class EndpointPort(Part):
    """A port on which all endpoints of a list are reached; its name is that of the Service's port."""

    name: PortName | None = None
    port: PortNumber
    protocol: Transport = Field("TCP", examples=["TCP"])
    app_protocol: str | None = Field(None, examples=["http"])


class EndpointSlice(Flat):
    """Where a Service is reached, in part or in whole; the label kubernetes.io/service-name says which."""

    address_type: Family
    endpoints: tuple[Endpoint, ...] = Field((), examples=["[{addresses: [192.0.2.10]}]"])
    ports: tuple[EndpointPort, ...] = Field((), examples=["[{name: http, port: 8080}]"])


class EndpointAddress(Part):
    """One address of an Endpoints document."""

    ip: Address
    hostname: Name | None = None
    node_name: Name | None = None
    target_ref: TargetRef | None = None


class Subset(Part):
    """Addresses that share their ports."""

    addresses: tuple[EndpointAddress, ...] = Field((), examples=["[{ip: 192.0.2.10}]"])
    not_ready_addresses: tuple[EndpointAddress, ...] = Field((), examples=["[{ip: 192.0.2.11}]"])
    ports: tuple[EndpointPort, ...] = Field((), examples=["[{port: 8080}]"])


class Endpoints(Flat):
    """Where the Service of the same name is reached: the older form of EndpointSlice."""

    subsets: tuple[Subset, ...] = Field((), examples=["[{addresses: [{ip: 192.0.2.10}], ports: [{port: 8080}]}]"])


KINDS: Final[dict[tuple[str, str], type[Envelope[Any]] | type[Flat]]] = {
    (V1, "Service"): Envelope[ServiceSpec],
    (V1, "Endpoints"): Endpoints,
    (DISCOVERY, "EndpointSlice"): EndpointSlice,
}
