"""What podman is told to make: pure, from a launch and the pod's manifest to the bodies of its REST calls."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from pydantic import JsonValue

from edgehub.pods.model import Launch, PodDns, PodId
from edgehub.pods.podman.conf import NETWORK, digest
from twin.manifest.kube import PodSpec
from twin.manifest.kube_engine import full_reference, has_own_network

HUB: Final = "dev.edgetwin.hub"
RUN: Final = "dev.edgetwin.run"
NAMESPACE: Final = "io.kubernetes.pod.namespace"
NAME: Final = "io.kubernetes.pod.name"
UID: Final = "io.kubernetes.pod.uid"
CONTAINER: Final = "io.kubernetes.container.name"
"""As other kubelets label theirs, so that the tools of those find them."""
_PERIOD_US: Final = 100_000


NDOTS: Final = 5
"""Kubernetes' own: shorter names are first tried in the domains that are searched."""


@dataclass(frozen=True, slots=True)
class Names:
    """What things of one hub are called in a podman that others may use, too."""

    hub: str

    @property
    def label(self) -> str:
        """What marks all that is the hub's."""
        return f"{HUB}={self.hub}"

    def pod(self, pod: PodId) -> str:
        """A podman pod: legible, and like no other."""
        return f"{pod.namespace}-{pod.name}-{digest(f'{self.hub} {pod.folder}')[:8]}"

    def container(self, pod: PodId, container: str) -> str:
        """A container; each run has the same name."""
        return f"{pod.namespace}-{pod.name}-{container}-{digest(f'{self.hub} {pod.folder} {container}')[:8]}"

    def labels(self, pod: PodId) -> dict[str, JsonValue]:
        """What is found again."""
        return {HUB: self.hub, NAMESPACE: pod.namespace, NAME: pod.name, UID: pod.uid}


def network_body(hub: str, subnet: str) -> dict[str, JsonValue]:
    """The network of all pods with one of their own; podman picks a free subnet if none is given."""
    body: dict[str, JsonValue] = {"name": NETWORK, "driver": "bridge", "dns_enabled": False}
    # Named, for podman's own choice may be that of another podman which has not made its bridge yet.
    body |= {"network_interface": f"et-{hub}"}
    return body | ({"subnets": [{"subnet": subnet}]} if subnet else {})


def pod_body(pod: PodId, spec: PodSpec, names: Names, dns: PodDns | None = None) -> dict[str, JsonValue]:
    """A podman pod, whose first container does nothing but hold the network. No ``dns``: the host's."""
    published: list[JsonValue] = [
        {"container_port": port.container_port, "host_port": port.host_port, "protocol": port.protocol.lower()}
        for container in spec.all_containers
        for port in container.ports
        if port.host_port is not None
    ]
    labels: dict[str, JsonValue] = names.labels(pod)
    body: dict[str, JsonValue] = {"name": names.pod(pod), "labels": labels, "hostname": pod.name[:63]}
    body |= {"netns": {"nsmode": "bridge"}, "networks": {NETWORK: {}}}
    if dns is not None:
        searches: list[JsonValue] = list(dns.searches(pod.namespace))
        body |= {"dns_server": [dns.server], "dns_search": searches, "dns_option": [f"ndots:{NDOTS}"]}
    return body | ({"portmappings": published} if published else {})


@dataclass(frozen=True, slots=True)
class LogFile:
    """Where output goes, and what is its most while no hub puts it aside."""

    path: str
    max_bytes: int


def container_body(launch: Launch, spec: PodSpec, log: LogFile, names: Names) -> dict[str, JsonValue]:
    """One container; podman starts it once, and restarts and probes are the loop's."""
    labels = {**names.labels(launch.pod), CONTAINER: launch.container, RUN: str(launch.run)}
    mounts: list[JsonValue] = [
        {
            "type": "bind",
            "source": one.source,
            "destination": one.target,
            "options": ["rbind", "rprivate", "ro" if one.read_only else "rw"],
        }
        for one in launch.mounts
    ]
    env: dict[str, JsonValue] = dict(launch.env)
    body: dict[str, JsonValue] = {
        "name": names.container(launch.pod, launch.container),
        "image": full_reference(launch.image) or launch.image,
        "env": env,
        "labels": labels,
        "mounts": mounts,
        "log_configuration": {"driver": "k8s-file", "path": log.path, "size": log.max_bytes},
        "restart_policy": "no",
        "httpproxy": False,
    }
    # As in Kubernetes: a command also takes the image's arguments away.
    for key, words in (("entrypoint", launch.command), ("command", launch.args)):
        if words:
            body[key] = list(words)
    if launch.cwd:
        body["work_dir"] = launch.cwd
    if limits := _limits(launch):
        body["resource_limits"] = limits
    if has_own_network(spec):
        return body | {"pod": names.pod(launch.pod)}
    return body | {"netns": {"nsmode": "host"}}


def run_of(labels: Mapping[str, str]) -> int:
    """The run that a container is labelled with, 0 if it is not."""
    text = labels.get(RUN, "")
    return int(text) if text.isdigit() else 0


def _limits(launch: Launch) -> dict[str, JsonValue]:
    limits: dict[str, JsonValue] = {}
    if launch.cpu_milli:
        quota = max(launch.cpu_milli * _PERIOD_US // 1000, 1000)  # the kernel takes 1 ms at least
        limits["cpu"] = {"quota": quota, "period": _PERIOD_US}
    if launch.memory_bytes:
        limits["memory"] = {"limit": launch.memory_bytes}
    return limits
