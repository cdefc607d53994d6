"""What the cluster is told of a device, from its twin, in KubeEdge's words. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping

from cloudsync.kube.nodes import time_text
from cloudsync.kube.objects import KubeObject, parts, text
from twin.document import Slot, TwinDocument, live
from twin.merge import standing, value_of
from twin.model import ConflictPolicy, Quality, TwinSpec, Value


def device_status(twin: TwinDocument, *, alive: bool) -> dict[str, Value]:
    """The status of a device whose gateway has a session, or has none."""
    reported = live(twin.reported)
    good = [slot.at for slot in reported.values() if slot.quality is Quality.GOOD]
    told: dict[str, Value] = {"twins": list(_twins(twin, reported)), "state": _state(reported, good, alive=alive)}
    if good:
        told["lastOnlineTime"] = time_text(max(good))
    return told


def with_desired(status: Mapping[str, Value], device: KubeObject) -> dict[str, Value]:
    """The same with what people desire, which stands in the status of a Device of v1alpha2."""
    wanted = {text(one, "propertyName"): one.get("desired") for one in parts(device.status, "twins")}
    wanted = {name: desired for name, desired in wanted.items() if desired is not None}
    twins = {text(one, "propertyName"): dict(one) for one in parts(status, "twins")}
    for name, desired in wanted.items():
        twins.setdefault(name, {"propertyName": name})["desired"] = desired
    return {**status, "twins": [twins[name] for name in sorted(twins)]}


def _state(reported: Mapping[str, Slot], good: list[int], *, alive: bool) -> str:
    if not alive or not reported:
        return "unknown"
    return "online" if good else "offline"


def _twins(twin: TwinDocument, reported: Mapping[str, Slot]) -> Iterator[Value]:
    for name in sorted({*twin.spec.properties, *reported, *twin.desired}):
        told: dict[str, Value] = {"propertyName": name}
        if name in reported:
            told["reported"] = _value(twin.spec, name, reported[name])
        if name in twin.desired:
            policy = twin.spec.properties[name].conflict if name in twin.spec.properties else ConflictPolicy.LATEST
            slot = standing(twin.desired[name], policy)
            if slot is not None:
                told["observedDesired"] = _value(twin.spec, name, slot)
        if len(told) > 1:
            yield told


def _value(spec: TwinSpec, name: str, slot: Slot) -> Value:
    """KubeEdge writes every value as a text, its time in milliseconds."""
    value = value_of(slot)
    about: dict[str, Value] = {"timestamp": str(slot.at)}
    if name in spec.properties:
        about["type"] = spec.properties[name].type.value.lower()
    if slot.quality is not Quality.GOOD:
        about |= {"quality": slot.quality.value, "reason": slot.reason.value}
    return {"value": value if isinstance(value, str) else json.dumps(value), "metadata": about}
