"""The model as JSON: what a file or a frame holds becomes values here, or is refused with the place of the fault.

    {"services": [{"key": "default/web", "address": "127.96.0.1",
                   "ports": [{"port": 80, "endpoints": [{"address": "10.0.0.7", "port": 8080}]}]}],
     "routes": [...], "policies": {"default/web": {...}}, "route_policies": {"HTTPRoute default/web": {...}}}

Field names are those of the dataclasses in mesh/model; a field that is left out has its default.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from functools import lru_cache
from ipaddress import ip_address
from types import MappingProxyType
from typing import Any, Final

from pydantic import BaseModel, ConfigDict, ValidationError

from mesh.difference import applied, table_difference
from mesh.errors import InvalidTable
from mesh.model.policies import LoadBalancer, Policy, TokenBucket
from mesh.model.routes import Route, RouteKey
from mesh.model.services import MAX_PORT, Service, ServiceKey, ServicePort
from mesh.model.table import Table, TableChange

MAX_TABLE_BYTES: Final = 32 * 1024 * 1024
_MAX_WEIGHT: Final = 1_000_000
_MAX_RING: Final = 65_536
_MAX_NUMBER: Final = 2**31
_SHOWN: Final = 5
_REMEDY: Final = "Mend it; what was there before stays in use"


class Written(BaseModel):
    """What all forms have in common: nothing unknown, nothing of another type, nothing changed afterwards."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class TableForm(Written):
    """A table as it is written."""

    services: tuple[Service, ...] = ()
    routes: tuple[Route, ...] = ()
    policies: dict[ServiceKey, Policy] = {}
    route_policies: dict[RouteKey, Policy] = {}


def read_table(text: bytes, where: str = "the table") -> Table:
    """The table that is written there. Raises InvalidTable, which names each fault and its place."""
    if len(text) > MAX_TABLE_BYTES:
        message = f"{where} has {len(text)} bytes, {MAX_TABLE_BYTES} are the most"
        raise InvalidTable(message, remedy=_REMEDY)
    try:
        _refuse_doubles(text)
        form = TableForm.model_validate_json(text)
    except ValidationError as error:
        message = f"{where}: {described(error)}"
        raise InvalidTable(message, remedy=_REMEDY) from error
    except (ValueError, RecursionError) as error:
        message = f"{where} is no JSON: {error}"
        raise InvalidTable(message, remedy=_REMEDY) from error
    return table_of(
        TableChange(form.services, form.routes, MappingProxyType(form.policies), MappingProxyType(form.route_policies)),
        where,
    )


def table_of(change: TableChange, where: str = "the table") -> Table:
    """The table that a change makes of an empty one. Raises InvalidTable."""
    check(change, where)
    return applied(Table(), change)


def write_table(table: Table, indent: int | None = None) -> bytes:
    """The table as JSON."""
    change = table_difference(Table(), table)
    form = TableForm.model_construct(
        services=change.services,
        routes=change.routes,
        policies=dict(change.policies),
        route_policies=dict(change.route_policies),
    )
    return form.model_dump_json(exclude_defaults=True, indent=indent).encode()


def check(change: TableChange, where: str = "the table") -> None:
    """Raise InvalidTable if values of the right type mean nothing: ports out of range, addresses that are none."""
    faults = []
    for fault in _faults(change):
        faults.append(fault)
        if len(faults) == _SHOWN:
            break
    if faults:
        message = f"{where}: {'; '.join(faults)}"
        raise InvalidTable(message, remedy=_REMEDY)


def described(error: ValidationError) -> str:
    """What is wrong and where, as far as a reader wants to see it."""
    shown = [f"{_path(one['loc'])}: {one['msg']}" for one in error.errors(include_url=False)[:_SHOWN]]
    more = error.error_count() - len(shown)
    return "; ".join(shown) + (f"; and {more} more" if more > 0 else "")


def _path(places: tuple[int | str, ...]) -> str:
    path = ""
    for place in places:
        path += f"[{place}]" if isinstance(place, int) else f".{place}" if path else place
    return path or "it"


def _refuse_doubles(text: bytes) -> None:
    """A key that is written twice would silently count once."""
    json.loads(text, object_pairs_hook=_unique, parse_constant=_finite)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        twice = next(key for key, _ in pairs if sum(key == other for other, _ in pairs) > 1)
        message = f"the key {twice!r} is there twice"
        raise ValueError(message)
    return found


def _finite(name: str) -> float:
    message = f"{name} is no number"
    raise ValueError(message)


def _faults(change: TableChange) -> Iterator[str]:
    for keys in ([one.key for one in change.services], [one.key for one in change.routes]):
        seen: set[object] = set()
        for key in keys:
            if key in seen:
                yield f"{key} is there twice"
            seen.add(key)
    for service in change.services:
        yield from _faults_of(service)
    for key, policy in change.policies.items():
        yield from _faults_of_policy(str(key), policy)
    for route, policy in change.route_policies.items():
        yield from _faults_of_policy(str(route), policy)


def _faults_of(service: Service) -> Iterator[str]:
    if service.address and not _is_address(service.address):
        yield f"{service.key}: the address {service.address!r} is none; write for example 127.96.0.1, or leave it out"
    if service.affinity_s < 0:
        yield f"{service.key}: affinity_s {service.affinity_s} is below 0"
    seen: set[tuple[int, str]] = set()
    for port in service.ports:
        if not 0 < port.port <= MAX_PORT:
            yield f"{service.key}: the port {port.port} is not from 1 to {MAX_PORT}"
        if not 0 <= port.node_port <= MAX_PORT:
            yield f"{service.key}:{port.port}: node_port {port.node_port} is not from 1 to {MAX_PORT}"
        if (port.port, port.transport) in seen:
            yield f"{service.key}: the port {port.port}/{port.transport} is there twice"
        seen.add((port.port, port.transport))
        yield from _faults_of_endpoints(service.key, port)


def _faults_of_endpoints(key: ServiceKey, port: ServicePort) -> Iterator[str]:
    for endpoint in port.endpoints:
        where = f"{key}:{port.port}: endpoint {endpoint.address}:{endpoint.port}"
        if not _is_address(endpoint.address):
            yield f"{where}: its address is no IP address"
        if not 0 < endpoint.port <= MAX_PORT:
            yield f"{where}: its port is not from 1 to {MAX_PORT}"
        if not 0 <= endpoint.weight <= _MAX_WEIGHT:
            yield f"{where}: its weight {endpoint.weight} is not from 0 to {_MAX_WEIGHT}"


def _faults_of_policy(where: str, value: Any) -> Iterator[str]:
    """Numbers that mean nothing, however deep; no number of a policy is below 0."""
    if isinstance(value, TokenBucket) and (value.fill_interval_ms < 1 or value.max_tokens < 1):
        yield f"{where}: max_tokens and fill_interval_ms are at least 1"
    if isinstance(value, LoadBalancer) and not 0 < value.ring_size <= _MAX_RING:
        yield f"{where}.ring_size: {value.ring_size} is not from 1 to {_MAX_RING}"
    for one in fields(value):
        found = getattr(value, one.name)
        if isinstance(found, (int, float)):
            if not 0 <= found < _MAX_NUMBER:
                yield f"{where}.{one.name}: {found} is not from 0 to {_MAX_NUMBER}"
        elif isinstance(found, tuple):
            for each in found:
                if is_dataclass(each):
                    yield from _faults_of_policy(f"{where}.{one.name}", each)
        elif is_dataclass(found):
            yield from _faults_of_policy(f"{where}.{one.name}", found)


@lru_cache(maxsize=8192)
def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True
