"""What the cluster is told of a pod, from the pod's twin. Pure.

Times are those of the report, and stay while what they belong to stays: a twin tells no times, or it would change by
itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from cloudsync.kube.nodes import time_text
from cloudsync.kube.objects import KubeObject, part, parts, text
from twin.document import TwinDocument, live
from twin.merge import value_of
from twin.model import Value

UNSUPPORTED: Final = "UnsupportedByGateway"
_ORDER: Final = ("PodScheduled", "Initialized", "ContainersReady", "Ready")
_OURS: Final = ("phase", "conditions", "containerStatuses", "initContainerStatuses", "podIP", "podIPs", "hostIP")
_MORE: Final = ("hostIPs", "startTime", "reason", "message")


@dataclass(frozen=True, slots=True)
class Reported:
    """What a pod's twin says, and when it last said something else."""

    values: Mapping[str, Value]
    at: int

    @classmethod
    def of(cls, twin: TwinDocument | None, uid: str) -> Reported | None:
        """What is reported of one life of a pod; None if nothing is."""
        if twin is None or twin.spec.uid != uid or not twin.reported:
            return None
        slots = live(twin.reported)
        values = {name: value_of(slot) for name, slot in slots.items() if name != "events"}
        return cls(values, max((slot.at for name, slot in slots.items() if name != "events"), default=0))


def refused_status(pod: KubeObject, why: str, now_ms: int) -> dict[str, Value]:
    """Of a pod that its gateway cannot run. It stays Pending: one that failed is made anew without end."""
    conditions = [_condition(pod, kind, False, now_ms, UNSUPPORTED, why) for kind in _ORDER[1:]]
    scheduled = _condition(pod, "PodScheduled", True, now_ms)
    told: list[Value] = [scheduled, *conditions, *others(pod, _ORDER)]
    return {"phase": "Pending", "reason": UNSUPPORTED, "message": why, "conditions": told}


def reported_status(pod: KubeObject, reported: Reported, address: str, now_ms: int) -> dict[str, Value]:
    """Of a pod that its gateway tells of."""
    values, at = reported.values, reported.at or now_ms
    phase = values.get("phase")
    seen = part(values, "conditions")
    reason, message = text(values, "reason"), text(values, "message")
    conditions = [
        _condition(
            pod, kind, bool(seen.get(kind)), at, "" if seen.get(kind) else reason or "ContainersNotReady", message
        )
        for kind in _ORDER
    ]
    told: dict[str, Value] = {
        "phase": phase if isinstance(phase, str) else "Pending",
        "conditions": [*conditions, *others(pod, _ORDER)],
        "startTime": text(pod.status, "startTime") or time_text(at),
        "reason": reason or None,
        "message": message or None,
    }
    own = text(values, "address") or address
    if address:
        told |= {"hostIP": address, "hostIPs": [{"ip": address}]}
    if own:
        told |= {"podIP": own, "podIPs": [{"ip": own}]}
    told["containerStatuses"] = list(_containers(pod, "containers", "containerStatuses", values, at))
    if "initContainers" in pod.spec:
        told["initContainerStatuses"] = list(_containers(pod, "initContainers", "initContainerStatuses", values, at))
    return told


def others(one: KubeObject, ours: Sequence[str]) -> list[Value]:
    """The conditions that somebody else keeps."""
    return [dict(each) for each in parts(one.status, "conditions") if each.get("type") not in ours]


def differs(pod: KubeObject, status: Mapping[str, Value]) -> bool:
    """Whether the cluster has to be told. None in a status: it is to be gone."""
    return any(pod.status.get(name) != status[name] for name in (*_OURS, *_MORE) if name in status)


def _condition(
    pod: KubeObject, kind: str, holds: bool, at: int, reason: str = "", message: str = ""
) -> dict[str, Value]:
    status = "True" if holds else "False"
    old = next((one for one in parts(pod.status, "conditions") if one.get("type") == kind), {})
    since = text(old, "lastTransitionTime") if old.get("status") == status else ""
    told: dict[str, Value] = {"type": kind, "status": status, "lastTransitionTime": since or time_text(at)}
    if not holds:
        told |= {"reason": reason, "message": message}
    return told


def _containers(pod: KubeObject, key: str, name: str, values: Mapping[str, Value], at: int) -> Iterator[Value]:
    before = {text(one, "name"): one for one in parts(pod.status, name)}
    reported = part(values, "containers")
    for container in parts(pod.spec, key):
        called = text(container, "name")
        yield _container(container, part(reported, called), before.get(called, {}), at)


def _container(
    container: Mapping[str, Value], reported: Mapping[str, Value], before: Mapping[str, Value], at: int
) -> Value:
    restarts = reported.get("restarts", 0)
    same = before.get("restartCount") == restarts
    state = _state(reported, part(before, "state") if same else {}, at)
    return {
        "name": text(container, "name"),
        "image": text(container, "image"),
        "imageID": "",
        "ready": reported.get("ready") is True,
        "started": "running" in state,
        "restartCount": restarts,
        "state": state,
    }


def _state(reported: Mapping[str, Value], before: Mapping[str, Value], at: int) -> dict[str, Value]:
    kind = text(reported, "state")
    reason, message = text(reported, "reason"), text(reported, "message")
    if kind in ("running", "stopping"):
        return {"running": {"startedAt": text(part(before, "running"), "startedAt") or time_text(at)}}
    if kind == "exited":
        ended: dict[str, Value] = {"exitCode": reported.get("exit_code", 0), "reason": reason or "Completed"}
        ended |= {"message": message} if message else {}
        return {"terminated": {**ended, "finishedAt": _since(before, "terminated", "finishedAt") or time_text(at)}}
    waits: dict[str, Value] = {"reason": reason or "ContainerCreating"}
    return {"waiting": {**waits, **({"message": message} if message else {})}}


def _since(before: Mapping[str, Value], kind: str, name: str) -> str:
    return text(part(before, kind), name)
