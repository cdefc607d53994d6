"""What must hold between documents of the mesh: no name leads back to itself, a nodePort is one Service's. Pure.

A name that leads nowhere is no problem here: what it names may be applied later, and until then a condition says so.
A route or degradation leads to what is behind a Service, and is not followed by another one: nothing to go in circles.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final, TypeAlias

from twin.manifest.catalog import RegistryView, Stored
from twin.manifest.document import DocumentKind
from twin.manifest.kube_network import ServiceSpec
from twin.manifest.problems import Problem

Name: TypeAlias = tuple[str, str]
"""Namespace and name of a Service."""
_SVC: Final = ".svc."


def broken_mesh_references(view: RegistryView) -> Iterator[Problem]:
    """Find circles of names, and nodePorts that are given twice."""
    services = {_name(one): one for one in view.all(DocumentKind.SERVICE)}
    aliases = {name: other for name, one in services.items() if (other := _alias(one)) is not None}
    for name in aliases:
        if circle := _circle(name, aliases):
            text = f"it leads back to {name[0]}/{name[1]} itself, by {_shown(circle)}"
            document = services[name].document
            yield document.problem(("spec", "externalName"), text, "Name a host outside of this circle.")
    yield from _node_ports(services)


def _node_ports(services: Mapping[Name, Stored]) -> Iterator[Problem]:
    taken: dict[tuple[int, str], Name] = {}
    for name, stored in services.items():
        spec = stored.document.spec
        assert isinstance(spec, ServiceSpec)
        for index, port in enumerate(spec.ports):
            if port.node_port is None:
                continue
            first = taken.setdefault((port.node_port, port.protocol), name)
            if first != name:
                text = f"the nodePort {port.node_port} of {port.protocol} is that of Service {first[0]}/{first[1]}"
                yield stored.document.problem(("spec", "ports", index, "nodePort"), text, "Write another one.")


def _name(stored: Stored) -> Name:
    return stored.ref.namespace, stored.ref.name


def _alias(stored: Stored) -> Name | None:
    """The Service that the externalName of another one is the name of."""
    spec = stored.document.spec
    assert isinstance(spec, ServiceSpec)
    host, _, domain = (spec.external_name or "").partition(_SVC)
    name, dot, namespace = host.rpartition(".")
    return (namespace, name) if domain and dot else None


def _circle(start: Name, aliases: Mapping[Name, Name]) -> tuple[Name, ...]:
    """The way from a name back to itself; empty if none leads there."""
    way = [start]
    while (following := aliases.get(way[-1])) is not None:
        way.append(following)
        if following == start:
            return tuple(way)
        if following in way[:-1]:
            break
    return ()


def _shown(circle: tuple[Name, ...]) -> str:
    return " -> ".join(f"{namespace}/{name}" for namespace, name in circle)
