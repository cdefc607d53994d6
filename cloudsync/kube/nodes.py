"""A gateway as a Node and its Lease. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

from cloudsync.kube.objects import KubeObject, part, parts, text
from twin.model import Value

LEASE_NAMESPACE: Final = "kube-node-lease"
LEASE_S: Final = 40
"""How long a lease is good; Kubernetes' own kubelets take as long, and renew after a quarter of it."""
GATEWAY: Final = "edgetwin.dev/gateway"
"""The label that says which gateway a node is; nodes without it are never touched."""
ROLE: Final = "node-role.kubernetes.io/edge"
PODS: Final = 110

_PRESSURE: Final = ("MemoryPressure", "DiskPressure", "PIDPressure")


@dataclass(frozen=True, slots=True)
class Gateway:
    """What the cloud knows of a gateway. ``said`` is what its own twin reports."""

    name: str
    alive: bool
    heard_at: int
    """Milliseconds since 1970."""
    said: Mapping[str, Value] = field(default_factory=dict)

    @property
    def addresses(self) -> list[str]:
        """Its IP addresses, the one to use first."""
        found = part(self.said, "system").get("addresses")
        return [one for one in found if isinstance(one, str)] if isinstance(found, list) else []


def node_name(prefix: str, gateway: str) -> str:
    """The node of a gateway."""
    return f"{prefix}{gateway}"


def gateway_of(node: KubeObject) -> str:
    """The gateway that a node is; empty for any other node."""
    labels = node.metadata.get("labels")
    return text(labels, GATEWAY) if isinstance(labels, dict) else ""


def node_labels(gateway: Gateway, name: str) -> dict[str, Value]:
    """The labels that we keep; others may be added by hand."""
    arch = text(gateway.said, "arch")
    about: dict[str, Value] = {"kubernetes.io/arch": arch, "beta.kubernetes.io/arch": arch} if arch else {}
    return {"kubernetes.io/hostname": name, "kubernetes.io/os": "linux", ROLE: "", GATEWAY: gateway.name, **about}


def new_node(gateway: Gateway, name: str, *, taint: bool) -> dict[str, Value]:
    """A node as it is made; its status is written apart."""
    taints: list[Value] = [{"key": ROLE, "effect": "NoSchedule"}] if taint else []
    spec: dict[str, Value] = {"taints": taints} if taints else {}
    return {"metadata": {"name": name, "labels": node_labels(gateway, name)}, "spec": spec}


def node_status(gateway: Gateway, node: KubeObject, now_ms: int) -> dict[str, Value]:
    """The status of a node. A condition that is as it was keeps the time of its last change."""
    cpu, memory = gateway.said.get("cpu"), gateway.said.get("memory")
    amounts: dict[str, Value] = {"pods": str(PODS)}
    if isinstance(cpu, int) and isinstance(memory, int):
        amounts |= {"cpu": str(cpu), "memory": f"{memory // 1024}Ki"}
    addresses: list[Value] = [{"type": "InternalIP", "address": one} for one in gateway.addresses]
    addresses.append({"type": "Hostname", "address": gateway.name})
    return {
        "capacity": dict(amounts),
        "allocatable": dict(amounts),
        "addresses": addresses,
        "conditions": list(_conditions(gateway, node, now_ms)),
        "nodeInfo": _info(gateway),
        "daemonEndpoints": {"kubeletEndpoint": {"Port": 0}},
    }


def said(status: Mapping[str, Value]) -> Value:
    """What of a status deserves a write: all but the times."""
    conditions: list[Value] = [
        {name: one.get(name) for name in ("type", "status", "reason", "message")} for one in parts(status, "conditions")
    ]
    names = ("capacity", "allocatable", "addresses", "nodeInfo")
    return [conditions, *(status.get(name) for name in names)]


def new_lease(name: str, node: KubeObject, now_ms: int) -> dict[str, Value]:
    """The lease of a node; it goes with its node."""
    owner: Value = {"apiVersion": "v1", "kind": "Node", "name": name, "uid": node.uid}
    metadata: Value = {"name": name, "namespace": LEASE_NAMESPACE, "ownerReferences": [owner]}
    return {"metadata": metadata, **renewed(name, now_ms)}


def renewed(name: str, now_ms: int) -> dict[str, Value]:
    """A lease that is good from now on."""
    at = datetime.fromtimestamp(now_ms / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    return {"spec": {"holderIdentity": name, "leaseDurationSeconds": LEASE_S, "renewTime": at}}


def time_text(at_ms: int) -> str:
    """A time as Kubernetes writes it."""
    return datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _conditions(gateway: Gateway, node: KubeObject, now_ms: int) -> Iterator[Value]:
    before = {text(one, "type"): one for one in parts(node.status, "conditions")}
    if gateway.alive:
        reason, message = "EdgetwinReady", "the gateway has a session with its cloud"
    else:
        reason, message = "NodeStatusUnknown", "the gateway has no session with its cloud; what runs there runs on"
    for kind in (*_PRESSURE, "Ready"):
        ready = kind == "Ready"
        status = ("True" if ready else "False") if gateway.alive else "Unknown"
        old = before.get(kind, {})
        since = text(old, "lastTransitionTime") if old.get("status") == status else ""
        yield {
            "type": kind,
            "status": status,
            "reason": reason if ready or not gateway.alive else f"EdgetwinHasNo{kind}",
            "message": message if ready or not gateway.alive else "nothing of it is reported",
            "lastHeartbeatTime": time_text(gateway.heard_at or now_ms),
            "lastTransitionTime": since or time_text(now_ms),
        }
    yield from (dict(one) for kind, one in before.items() if kind not in (*_PRESSURE, "Ready"))  # somebody else's


def _info(gateway: Gateway) -> Value:
    system = part(gateway.said, "system")
    return {
        "architecture": text(gateway.said, "arch"),
        "operatingSystem": "linux",
        "kernelVersion": text(system, "kernel"),
        "osImage": text(system, "os"),
        "kubeletVersion": f"v0.0.0-edgetwin-{text(gateway.said, 'version')}",
        "kubeProxyVersion": "",
        "containerRuntimeVersion": "edgetwin://process",
        "machineID": "",
        "systemUUID": "",
        "bootID": "",
    }
