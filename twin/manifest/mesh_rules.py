"""The kinds of the mesh, what must hold inside each, and what of them is read and not carried out. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from pydantic import BaseModel

from twin.manifest import policies, routes, traffic
from twin.manifest.document import ROUTES, Document
from twin.manifest.kinds import Envelope
from twin.manifest.marks import broken_marks
from twin.manifest.mesh_fields import LEFT_ASIDE
from twin.manifest.policies import AlarmRuleSpec, PolicySpec
from twin.manifest.policy_rules import broken_alarm, broken_destination, broken_policy
from twin.manifest.problems import KeyPath, Problem
from twin.manifest.route_rules import broken_route
from twin.manifest.routes import HttpRouteSpec, TcpRouteSpec
from twin.manifest.traffic import DestinationRuleSpec

MESH_KINDS: Final[dict[tuple[str, str], type[Envelope[Any]]]] = {**routes.KINDS, **traffic.KINDS, **policies.KINDS}


def broken_mesh_rules(document: Document) -> Iterator[Problem]:
    """Find what is wrong inside a route, DestinationRule, Policy or AlarmRule."""
    spec = document.spec
    if document.kind in ROUTES:
        yield from broken_marks(document)
    if isinstance(spec, HttpRouteSpec | TcpRouteSpec):
        yield from broken_route(document, spec)
    elif isinstance(spec, DestinationRuleSpec):
        yield from broken_destination(document, spec)
    elif isinstance(spec, PolicySpec):
        yield from broken_policy(document, spec)
    elif isinstance(spec, AlarmRuleSpec):
        yield from broken_alarm(document, spec)


def doubtful_mesh(document: Document) -> Iterator[Problem]:
    """Find what is known here and has no effect."""
    if isinstance(document.spec, BaseModel):
        yield from _left_aside(document, document.spec, ("spec",))


def _left_aside(document: Document, part: BaseModel, path: KeyPath) -> Iterator[Problem]:
    for name in sorted(part.model_fields_set):
        field, value = type(part).model_fields[name], getattr(part, name)
        key = field.alias or name
        extra = field.json_schema_extra
        why = extra.get(LEFT_ASIDE) if isinstance(extra, dict) else None
        if why is not None and value is not None:
            yield document.problem((*path, key), f"{key} is kept and has no effect: {why}")
        elif isinstance(value, BaseModel):
            yield from _left_aside(document, value, (*path, key))
        elif isinstance(value, tuple):
            for index, one in enumerate(value):
                if isinstance(one, BaseModel):
                    yield from _left_aside(document, one, (*path, key, index))
