"""Gateway API's routes: how requests to a Service are shared out. Parents are Services, as in a mesh."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from pydantic import Field, JsonValue, StrictInt

from twin.manifest.fields import DurationMs, Name
from twin.manifest.kinds import Envelope, Part
from twin.manifest.kube_fields import PortNumber
from twin.manifest.mesh_fields import (
    HeaderName,
    HeaderValue,
    HostPattern,
    Method,
    Percent,
    StatusCode,
    Weight,
    left_aside,
)

GROUP: Final = "gateway.networking.k8s.io"
_VERSIONS: Final = {
    "HTTPRoute": ("v1", "v1beta1"),
    "TLSRoute": ("v1", "v1alpha3", "v1alpha2"),
    "TCPRoute": ("v1", "v1alpha2"),
}


class ParentRef(Part):
    """The Service whose clients a route is for."""

    group: str = Field("", examples=['""'])
    kind: str = Field("Gateway", examples=["Service"])
    namespace: Name | None = None
    name: Name
    section_name: str | None = Field(None, examples=["http"])
    port: PortNumber | None = None


class ValueMatch(Part):
    """A header or query parameter that a request must have."""

    type: Literal["Exact", "RegularExpression"] = Field("Exact", examples=["RegularExpression"])
    name: HeaderName
    value: str = Field(min_length=1, max_length=4096, examples=["v2"])


class PathMatch(Part):
    """The path that a request must have."""

    type: Literal["Exact", "PathPrefix", "RegularExpression"] = Field("PathPrefix", examples=["Exact"])
    value: str = Field("/", max_length=1024, examples=["/orders"])


class HttpMatch(Part):
    """All of it must hold."""

    path: PathMatch = PathMatch()
    headers: tuple[ValueMatch, ...] = Field((), examples=["[{name: X-Version, value: v2}]"])
    query_params: tuple[ValueMatch, ...] = Field((), examples=["[{name: version, value: v2}]"])
    method: Method | None = None


class Header(Part):
    """A header and its value."""

    name: HeaderName
    value: HeaderValue


class HeaderFilter(Part):
    """Headers that are set, added to what is there, or removed."""

    set: tuple[Header, ...] = Field((), examples=["[{name: X-Site, value: north}]"])
    add: tuple[Header, ...] = Field((), examples=["[{name: Via, value: edge}]"])
    remove: tuple[HeaderName, ...] = Field((), examples=["[X-Debug]"])


class PathModifier(Part):
    """What the path becomes: a whole one, or another prefix in place of that which matched."""

    type: Literal["ReplaceFullPath", "ReplacePrefixMatch"] = Field(examples=["ReplacePrefixMatch"])
    replace_full_path: str | None = Field(None, max_length=1024, examples=["/v2/orders"])
    replace_prefix_match: str | None = Field(None, max_length=1024, examples=["/v2"])


class Redirect(Part):
    """Sends the client elsewhere; what is left out stays as it was."""

    scheme: Literal["http", "https"] | None = Field(None, examples=["https"])
    hostname: HostPattern | None = None
    path: PathModifier | None = None
    port: PortNumber | None = None
    status_code: Literal[301, 302, 303, 307, 308] = Field(302, examples=[301])


class Rewrite(Part):
    """Sends the request on under another host or path."""

    hostname: HostPattern | None = None
    path: PathModifier | None = None


class PlainBackendRef(Part):
    """A port of a Service."""

    group: str = Field("", examples=['""'])
    kind: str = Field("Service", examples=["Service"])
    namespace: Name | None = None
    name: Name
    port: PortNumber | None = None


class Fraction(Part):
    """A share of the requests."""

    numerator: Annotated[StrictInt, Field(ge=0, le=1_000_000, examples=[1])]
    denominator: Annotated[StrictInt, Field(ge=1, le=1_000_000, examples=[1000])] = 100


class Mirror(Part):
    """Sends a copy of a share of the requests; the answers are thrown away."""

    backend_ref: PlainBackendRef = Field(examples=["{name: shop-next, port: 80}"])
    percent: Percent | None = None
    fraction: Fraction | None = None


FILTERS: Final = {
    "RequestHeaderModifier": "requestHeaderModifier",
    "ResponseHeaderModifier": "responseHeaderModifier",
    "RequestRedirect": "requestRedirect",
    "URLRewrite": "urlRewrite",
    "RequestMirror": "requestMirror",
}
"""The types of filters, and the key that each has its settings under."""


class Filter(Part):
    """One thing that is done to requests or responses; the settings stand under the key of its type."""

    type: str = Field(examples=["RequestHeaderModifier"])
    request_header_modifier: HeaderFilter | None = None
    response_header_modifier: HeaderFilter | None = None
    request_redirect: Redirect | None = None
    url_rewrite: Rewrite | None = None
    request_mirror: Mirror | None = None


class BackendRef(PlainBackendRef):
    """Where a share of the requests goes: its weight of all weights."""

    weight: Weight = 1
    filters: tuple[Filter, ...] = ()


class Timeouts(Part):
    """From the first byte of a request to the last of its response: with all tries, and for one; 0s: no end."""

    request_ms: DurationMs | None = Field(None, alias="request", examples=["10s"])
    backend_request_ms: DurationMs | None = Field(None, alias="backendRequest", examples=["2s"])


class Retry(Part):
    """When a request is sent again."""

    codes: tuple[StatusCode, ...] = Field((), examples=["[502, 503]"])
    attempts: Annotated[StrictInt, Field(ge=0, le=10, examples=[2])] = 1
    backoff_ms: DurationMs = Field(25, alias="backoff", examples=["100ms"])


class HttpRule(Part):
    """Which requests, what is done to them, and where they go."""

    name: str | None = Field(None, max_length=253, examples=["canary"])
    matches: tuple[HttpMatch, ...] = Field((), examples=["[{path: {value: /orders}}]"])
    filters: tuple[Filter, ...] = Field((), examples=["[{type: URLRewrite, urlRewrite: {hostname: shop.local}}]"])
    backend_refs: tuple[BackendRef, ...] = Field((), examples=["[{name: shop, port: 80}]"])
    timeouts: Timeouts = Field(Timeouts(), examples=["{request: 10s}"])
    retry: Retry | None = Field(None, examples=["{attempts: 2, codes: [503]}"])
    session_persistence: JsonValue = left_aside("use consistentHash with a cookie in a Policy")


class HttpRouteSpec(Part):
    """How HTTP requests to a Service are shared out."""

    parent_refs: tuple[ParentRef, ...] = Field((), examples=['[{group: "", kind: Service, name: shop, port: 80}]'])
    hostnames: tuple[HostPattern, ...] = Field((), examples=["[shop.example.com]"])
    rules: tuple[HttpRule, ...] = Field((), examples=["[{backendRefs: [{name: shop, port: 80}]}]"])
    use_default_gateways: JsonValue = left_aside("parents are Services here")


class PlainRule(Part):
    """Where connections go."""

    name: str | None = Field(None, max_length=253, examples=["all"])
    backend_refs: tuple[BackendRef, ...] = Field((), examples=["[{name: broker, port: 1883}]"])


class TcpRouteSpec(Part):
    """How connections to a Service are shared out."""

    parent_refs: tuple[ParentRef, ...] = Field((), examples=['[{group: "", kind: Service, name: broker, port: 1883}]'])
    rules: tuple[PlainRule, ...] = Field((), examples=["[{backendRefs: [{name: broker, port: 1883}]}]"])
    use_default_gateways: JsonValue = left_aside("parents are Services here")


class TlsRouteSpec(TcpRouteSpec):
    """How TLS connections to a Service are shared out, by the name that the client asks for."""

    hostnames: tuple[HostPattern, ...] = Field((), examples=["[shop.example.com]"])


_MODELS: Final[dict[str, type[Envelope[Any]]]] = {
    "HTTPRoute": Envelope[HttpRouteSpec],
    "TLSRoute": Envelope[TlsRouteSpec],
    "TCPRoute": Envelope[TcpRouteSpec],
}
KINDS: Final[dict[tuple[str, str], type[Envelope[Any]]]] = {
    (f"{GROUP}/{version}", kind): model for kind, model in _MODELS.items() for version in _VERSIONS[kind]
}
