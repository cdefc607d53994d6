"""Objects as the columns that `kubectl get` prints: meta.k8s.io/v1 Table. Pure."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from edgehub.kubeapi.objects import Json, elements, mapping
from edgehub.kubeapi.resources import (
    CONFIG_MAPS,
    DEVICE_MODELS,
    DEVICE_STATUSES,
    DEVICES,
    ENDPOINT_SLICES,
    ENDPOINTS,
    HTTP_ROUTES,
    NAMESPACES,
    NODES,
    PODS,
    SERVICES,
    TCP_ROUTES,
    TLS_ROUTES,
    Resource,
)
from twin.model import Value

_SHOWN: Final = 3
"""Endpoints in one cell; the others are counted."""


class Include(StrEnum):
    """How much of each object stands beside its cells."""

    NONE = "None"
    METADATA = "Metadata"
    OBJECT = "Object"


@dataclass(frozen=True, slots=True)
class _Column:
    name: str
    cell: Callable[[Json], Value]
    wide: bool = False


def table(resource: Resource, texts: Iterable[str], version: int, include: Include) -> Json:
    """The table of objects, which are given as JSON."""
    columns = (_NAME, *_COLUMNS[resource])
    definitions: list[Value] = [
        {
            "name": one.name,
            "type": "string",
            "format": "name" if one is _NAME else "",
            "description": "",
            "priority": int(one.wide),
        }
        for one in columns
    ]
    rows: list[Value] = []
    for text in texts:
        whole: Json = json.loads(text)
        rows.append({"cells": [one.cell(whole) for one in columns], "object": _beside(whole, include)})
    return {
        "kind": "Table",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": {"resourceVersion": str(version)},
        "columnDefinitions": definitions,
        "rows": rows,
    }


def _beside(whole: Json, include: Include) -> Value:
    if include is Include.OBJECT:
        return whole
    if include is Include.NONE:
        return None
    return {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": whole["metadata"]}


def _at(*path: str) -> Callable[[Json], Value]:
    def cell(whole: Json) -> Value:
        value: Value = whole
        for step in path:
            value = mapping(value).get(step)
        return value if value not in (None, "") else "<none>"

    return cell


def _containers(whole: Json) -> list[Json]:
    return [mapping(one) for one in elements(mapping(whole.get("status")).get("containerStatuses"))]


def _ready(whole: Json) -> Value:
    containers = _containers(whole)
    return f"{sum(one.get('ready') is True for one in containers)}/{len(containers)}"


def _state(whole: Json) -> Value:
    status = mapping(whole.get("status"))
    return status.get("reason") or status.get("phase")


def _restarts(whole: Json) -> Value:
    return str(sum(one if isinstance(one := known.get("restartCount"), int) else 0 for known in _containers(whole)))


def _service_ports(whole: Json) -> Value:
    ports = map(mapping, elements(mapping(whole.get("spec")).get("ports")))
    return ",".join(f"{one.get('port')}/{one.get('protocol')}" for one in ports) or "<none>"


def _selector(whole: Json) -> Value:
    selector = mapping(mapping(whole.get("spec")).get("selector"))
    return ",".join(f"{key}={value}" for key, value in sorted(selector.items())) or "<none>"


def _addresses(whole: Json) -> Value:
    found = []
    for subset in map(mapping, elements(whole.get("subsets"))):
        ports = [mapping(one).get("port") for one in elements(subset.get("ports"))]
        for address in map(mapping, elements(subset.get("addresses"))):
            found += [f"{address.get('ip')}:{port}" for port in ports] or [str(address.get("ip"))]
    return _few(found)


def _slice_addresses(whole: Json) -> Value:
    endpoints = map(mapping, elements(whole.get("endpoints")))
    return _few([str(address) for one in endpoints for address in elements(one.get("addresses"))])


def _slice_ports(whole: Json) -> Value:
    return ",".join(str(mapping(one).get("port")) for one in elements(whole.get("ports"))) or "<unset>"


def _few(found: list[str]) -> str:
    more = f" + {len(found) - _SHOWN} more..." if len(found) > _SHOWN else ""
    return ",".join(found[:_SHOWN]) + more if found else "<none>"


def _keys(whole: Json) -> Value:
    return str(len(mapping(whole.get("data"))) + len(mapping(whole.get("binaryData"))))


def _node_ready(whole: Json) -> Value:
    conditions = map(mapping, elements(mapping(whole.get("status")).get("conditions")))
    return (
        "Ready" if any(one.get("type") == "Ready" and one.get("status") == "True" for one in conditions) else "NotReady"
    )


def _values(whole: Json) -> Value:
    """The last reported values, as many as a line takes."""
    twins = map(mapping, elements(mapping(whole.get("status")).get("twins")))
    return _few(
        [f"{one['propertyName']}={mapping(one['reported']).get('value')}" for one in twins if "reported" in one]
    )


def _hostnames(whole: Json) -> Value:
    return _few([str(one) for one in elements(mapping(whole.get("spec")).get("hostnames"))])


def _in_force(whole: Json) -> Value:
    """What is not as it should be with a route; True: nothing."""
    parents = map(mapping, elements(mapping(whole.get("status")).get("parents")))
    conditions = [mapping(one) for parent in parents for one in elements(parent.get("conditions"))]
    wrong = (str(one.get("reason")) for one in conditions if one.get("status") != "True")
    return next(wrong, "True" if conditions else "<unknown>")


_NAME: Final = _Column("Name", _at("metadata", "name"))
_ROUTE: Final = (_Column("Hostnames", _hostnames), _Column("In force", _in_force))
_COLUMNS: Final[Mapping[Resource, tuple[_Column, ...]]] = {
    NAMESPACES: (_Column("Status", _at("status", "phase")),),
    NODES: (_Column("Status", _node_ready), _Column("Version", _at("status", "nodeInfo", "kubeletVersion"))),
    PODS: (
        _Column("Ready", _ready),
        _Column("Status", _state),
        _Column("Restarts", _restarts),
        _Column("IP", _at("status", "podIP"), wide=True),
        _Column("Node", _at("spec", "nodeName"), wide=True),
    ),
    SERVICES: (
        _Column("Type", _at("spec", "type")),
        _Column("Cluster-IP", _at("spec", "clusterIP")),
        _Column("Port(s)", _service_ports),
        _Column("Selector", _selector, wide=True),
    ),
    ENDPOINTS: (_Column("Endpoints", _addresses),),
    CONFIG_MAPS: (_Column("Data", _keys),),
    ENDPOINT_SLICES: (
        _Column("AddressType", _at("addressType")),
        _Column("Ports", _slice_ports),
        _Column("Endpoints", _slice_addresses),
    ),
    HTTP_ROUTES: _ROUTE,
    TCP_ROUTES: (_ROUTE[1],),
    TLS_ROUTES: _ROUTE,
    DEVICES: (
        _Column("Model", _at("spec", "deviceModelRef", "name")),
        _Column("Reported", _values),
        _Column("Node", _at("spec", "nodeName"), wide=True),
    ),
    DEVICE_MODELS: (_Column("Protocol", _at("spec", "protocol"), wide=True),),
    DEVICE_STATUSES: (_Column("Reported", _values),),
}
