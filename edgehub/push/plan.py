"""Documents as pushes: which there are, and which reading of which device goes into the queue of which. Pure."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from twin.manifest.catalog import RegistryView, Stored
from twin.manifest.document import DocumentKind
from twin.manifest.fields import FreeMap
from twin.manifest.kinds import DeviceSpec
from twin.model import DEFAULT_NAMESPACE, Kind, TwinKey, TwinSpec
from twin.outbound import Outlet, Outlets


@dataclass(frozen=True, slots=True)
class PlannedPush:
    """One push: its twin, the name of its queue, where it goes, and its bounds."""

    key: TwinKey
    queue: str
    type: str
    config: FreeMap
    max_bytes: int
    max_age_ms: int
    max_readings: int
    wait_ms: int
    timeout_ms: int
    route: str = ""
    """The own words of one of its readings, for a test."""


@dataclass(frozen=True, slots=True)
class PushPlan:
    """All pushes of a gateway, and the ways out of its properties."""

    pushes: tuple[PlannedPush, ...] = ()
    outlets: Outlets = field(default_factory=dict)


def push_plan(view: RegistryView, specs: Iterable[TwinSpec], gateway: str, *, strict: bool = False) -> PushPlan:
    """What the documents ask for. ``specs`` are those of the devices; ``strict``: KubeEdge's own in its own shape."""
    ours = [spec for spec in specs if spec.key.kind is Kind.DEVICE and spec.gateway in ("", gateway)]
    pushes: dict[str, PlannedPush] = {}
    outlets: dict[TwinKey, dict[str, tuple[Outlet, ...]]] = {}
    ways = [
        *_of_documents(view, ours, pushes),
        *_of_methods(view, {spec.key: spec for spec in ours}, pushes, strict=strict),
    ]
    for key, name, outlet in ways:
        there = outlets.setdefault(key, {})
        if all(outlet.queue != one.queue for one in there.get(name, ())):
            there[name] = (*there.get(name, ()), outlet)
    return PushPlan(tuple(pushes.values()), outlets)


def _of_documents(
    view: RegistryView, specs: Iterable[TwinSpec], pushes: dict[str, PlannedPush]
) -> Iterator[tuple[TwinKey, str, Outlet]]:
    for stored in view.all(DocumentKind.PUSH):
        push = pushes[_queue_of(stored)] = _planned(stored)
        for spec in specs:
            for name in _chosen(stored, spec):
                yield spec.key, name, Outlet(push.queue, spec.properties[name].unit)


def _planned(stored: Stored) -> PlannedPush:
    from twin.manifest.pushes import PushSpec  # only sites with pushes pay for it

    spec, document = stored.document.spec, stored.document
    assert isinstance(spec, PushSpec)
    return PlannedPush(
        TwinKey(Kind.PUSH, document.namespace, document.name),
        _queue_of(stored),
        spec.type,
        spec.config,
        spec.buffer.max_bytes,
        spec.buffer.max_age_ms,
        spec.batch.max_readings,
        spec.batch.wait_ms,
        spec.timeout_ms,
    )


def _queue_of(stored: Stored) -> str:
    """A document that was deleted and made anew has another queue."""
    return f"{stored.document.namespace}/{stored.document.name}#{stored.uid}"


def _chosen(stored: Stored, spec: TwinSpec) -> Iterator[str]:
    """The properties of a device that a Push selects."""
    from twin.manifest.pushes import EVERYWHERE, PushSpec

    push = stored.document.spec
    assert isinstance(push, PushSpec)
    select, labels = push.select, dict(spec.labels)
    namespaces = select.namespaces or (stored.document.namespace,)
    if not (EVERYWHERE in namespaces or spec.key.namespace in namespaces):
        return
    if select.devices and spec.key.name not in select.devices:
        return
    if any(labels.get(name) != value for name, value in select.match_labels.items()):
        return
    yield from (name for name in spec.properties if not select.properties or name in select.properties)


def _of_methods(
    view: RegistryView, specs: Mapping[TwinKey, TwinSpec], pushes: dict[str, PlannedPush], *, strict: bool
) -> Iterator[tuple[TwinKey, str, Outlet]]:
    for stored in view.all(DocumentKind.DEVICE):
        device = stored.document
        spec = specs.get(TwinKey(Kind.DEVICE, device.namespace, device.name))
        if spec is None or not isinstance(device.spec, DeviceSpec):
            continue
        for one in device.spec.properties:
            if one.push_method and one.name in spec.properties:
                for push in _methods(one.push_method, strict=strict):
                    pushes.setdefault(push.queue, push)
                    yield spec.key, one.name, Outlet(push.queue, spec.properties[one.name].unit, push.route)


def _methods(said: FreeMap, *, strict: bool) -> Iterator[PlannedPush]:
    from twin.manifest.push_methods import InvalidPushMethod, push_methods
    from twin.manifest.pushes import PushSpec

    default = PushSpec(type="http")
    try:
        found = list(push_methods(said, strict=strict))
    except InvalidPushMethod:  # its document was applied with a warning of it
        return
    for method in found:
        shared = json.dumps([method.type, method.config, method.timeout_ms], sort_keys=True)
        name = f"kubeedge-{method.type}-{hashlib.sha256(shared.encode()).hexdigest()[:8]}"
        yield PlannedPush(
            TwinKey(Kind.PUSH, DEFAULT_NAMESPACE, name),
            f"{DEFAULT_NAMESPACE}/{name}#",
            method.type,
            method.config,
            default.buffer.max_bytes,
            default.buffer.max_age_ms,
            default.batch.max_readings,
            default.batch.wait_ms,
            method.timeout_ms or default.timeout_ms,
            json.dumps(method.route, sort_keys=True) if method.route else "",
        )
