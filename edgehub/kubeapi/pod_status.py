"""The status of a pod in Kubernetes' layout, from what its twin reports. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from edgehub.kubeapi.objects import Json, elements, mapping, time_of
from twin.document import Slot
from twin.manifest.kube import Container, PodSpec
from twin.manifest.kube_engine import has_own_network
from twin.merge import value_of
from twin.model import Value

_STARTED: Final = "Started"
_QOS: Final = "BestEffort"


def pod_status(spec: PodSpec, reported: Mapping[str, Slot], host: str) -> Json:
    """The status; ``host`` is the gateway's address. Before the first report it is Pending."""
    told = {name: value_of(slot) for name, slot in reported.items()}
    containers, begun = mapping(told.get("containers")), _begun(told.get("events"))
    status: Json = {"phase": told.get("phase") or "Pending", "hostIP": host, "hostIPs": [{"ip": host}]}
    if begun:
        status["startTime"] = time_of(min(begun.values()))
        if address := address_of(spec, reported, host):
            status |= {"podIP": address, "podIPs": [{"ip": address}]}
    for key in ("reason", "message"):
        if told.get(key):
            status[key] = told[key]
    status["conditions"] = list(_conditions(mapping(told.get("conditions")), reported.get("conditions")))
    for key, of in (("initContainerStatuses", spec.init_containers), ("containerStatuses", spec.containers)):
        if of:
            status[key] = [_container(one, mapping(containers.get(one.name)), begun.get(one.name)) for one in of]
    status["qosClass"] = _QOS
    return status


def address_of(spec: PodSpec, reported: Mapping[str, Slot], host: str) -> str:
    """Where a pod is reached: at its own address, or at the gateway's; empty while it is not known."""
    own = value_of(reported["address"]) if "address" in reported else ""
    if isinstance(own, str) and own:
        return own
    return "" if has_own_network(spec) else host


def is_ready(reported: Mapping[str, Slot]) -> bool:
    """Whether a pod may be sent requests."""
    return "ready" in reported and value_of(reported["ready"]) is True


def _begun(events: Value) -> dict[str, int]:
    """When each container was last started, as far as the events go back."""
    begun: dict[str, int] = {}
    for event in map(mapping, elements(events)):
        name, at = event.get("container"), event.get("at")
        if event.get("reason") == _STARTED and isinstance(name, str) and isinstance(at, int):
            begun[name] = max(at, begun.get(name, 0))
    return begun


def _conditions(told: Json, slot: Slot | None) -> Iterator[Value]:
    for name, holds in told.items():
        at = time_of(slot.at) if slot is not None else None
        yield {"type": name, "status": "True" if holds else "False", "lastProbeTime": None, "lastTransitionTime": at}


def _container(container: Container, told: Json, begun: int | None) -> Value:
    state = told.get("state")
    return {
        "name": container.name,
        "image": container.image,
        "imageID": container.image,
        "ready": told.get("ready") is True,
        "started": state == "running",
        "restartCount": told.get("restarts") or 0,
        "state": _state(told, time_of(begun) if begun is not None else None),
        "lastState": {"terminated": {"exitCode": told["exit_code"]}} if _waits_after_end(told) else {},
    }


def _waits_after_end(told: Json) -> bool:
    return told.get("state") == "waiting" and "exit_code" in told


def _state(told: Json, begun: str | None) -> Value:
    reason, message = told.get("reason") or "", told.get("message") or ""
    state = told.get("state")
    if state in ("running", "stopping"):
        return {"running": {"startedAt": begun}}
    if state == "exited":
        ended: Json = {"exitCode": told.get("exit_code") or 0, "reason": reason or "Completed", "startedAt": begun}
        return {"terminated": ended | ({"message": message} if message else {}) | {"finishedAt": None}}
    waits: Json = {"reason": reason or "ContainerCreating"}
    return {"waiting": waits | ({"message": message} if message else {})}
