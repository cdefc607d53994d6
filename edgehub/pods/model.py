"""The words of the kubelet loop as types: what a pod should be, and what is known of its containers."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from twin.manifest.kube import PodSpec, SecretVolume, Volume
from twin.manifest.kube_fields import PullPolicy, RestartPolicy

LOST_CODE: Final = 137
"""The exit code of a container of which only its absence is known."""
NOT_STARTED_CODE: Final = 128
API_VOLUME: Final = Volume(name="edgetwin-kube-api", secret=SecretVolume(secretName="edgetwin-kube-api"))
"""The volume by which a pod reaches the gateway's Kubernetes API, if it asks for it; no document may have its name."""
API_FOLDER: Final = "/var/run/secrets/kubernetes.io/serviceaccount"
_FOLDER: Final = re.compile(r"(?!images$)[A-Za-z0-9][A-Za-z0-9-]{0,63}")


@dataclass(frozen=True, slots=True, order=True)
class PodId:
    """Names one pod; ``uid`` tells apart pods that had the name one after the other."""

    namespace: str
    name: str
    uid: str

    @property
    def folder(self) -> str:
        """A name for what is the pod's own: its uid, unless that came from elsewhere and is no name of a folder."""
        if _FOLDER.fullmatch(self.uid):
            return self.uid
        return f"uid-{hashlib.sha256(self.uid.encode()).hexdigest()[:32]}"


@dataclass(frozen=True, slots=True)
class ContainerPlan:
    """What the loop has to know of a container to decide."""

    name: str
    init: bool = False
    has_startup: bool = False
    has_readiness: bool = False


def container_plans(spec: PodSpec) -> tuple[ContainerPlan, ...]:
    """What the loop has to know of each container, init containers first, in their order."""
    init = (ContainerPlan(one.name, init=True) for one in spec.init_containers)
    main = (
        ContainerPlan(
            one.name, has_startup=one.startup_probe is not None, has_readiness=one.readiness_probe is not None
        )
        for one in spec.containers
    )
    return (*init, *main)


@dataclass(frozen=True, slots=True)
class PodPlan:
    """A pod as it should be. ``fingerprint`` differs when anything differs that needs new containers."""

    id: PodId
    fingerprint: str
    restart: RestartPolicy
    grace_s: int
    containers: tuple[ContainerPlan, ...]
    """Init containers first, in their order."""
    spec: PodSpec = field(compare=False, repr=False)
    labels: Mapping[str, str] = field(default_factory=dict, compare=False, repr=False)
    annotations: Mapping[str, str] = field(default_factory=dict, compare=False, repr=False)

    @property
    def volumes(self) -> tuple[Volume, ...]:
        """Those of the manifest, and the one for the Kubernetes API."""
        return (*self.spec.volumes, API_VOLUME) if self.spec.automount_service_account_token else self.spec.volumes

    @property
    def init(self) -> tuple[ContainerPlan, ...]:
        """Those that run to their end, one after the other, before the others start."""
        return tuple(one for one in self.containers if one.init)

    @property
    def main(self) -> tuple[ContainerPlan, ...]:
        """Those that the pod is for."""
        return tuple(one for one in self.containers if not one.init)


class Phase(StrEnum):
    """Where one container is in its life."""

    WAITING = "waiting"
    STARTING = "starting"
    RUNNING = "running"
    STOPPING = "stopping"
    EXITED = "exited"


@dataclass(frozen=True, slots=True)
class ContainerState:
    """What is known of one container. Times are seconds since the machine started, so no clock that is set moves them.

    ``crashes`` counts ends in a row without a long run between them, ``runs`` all starts.
    """

    phase: Phase = Phase.WAITING
    runs: int = 0
    crashes: int = 0
    started_at: float = 0.0
    finished_at: float = 0.0
    exit_code: int = 0
    reason: str = ""
    message: str = ""
    started: bool = False
    """Whether the startup probe has succeeded, if there is one."""
    ready: bool = False
    unhealthy: bool = False
    """Whether a probe asks for a restart."""

    @property
    def alive(self) -> bool:
        """Whether there is, or may be, a process."""
        return self.phase in (Phase.STARTING, Phase.RUNNING, Phase.STOPPING)


@dataclass(frozen=True, slots=True)
class PodState:
    """What is there of one pod; ``fingerprint`` is that of the plan it was made from."""

    id: PodId
    fingerprint: str
    spec: PodSpec = field(compare=False, repr=False)
    containers: Mapping[str, ContainerState] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Mount:
    """One path of the gateway inside a container."""

    source: str
    target: str
    read_only: bool


@dataclass(frozen=True, slots=True)
class Launch:
    """All that an engine needs to start a container."""

    pod: PodId
    container: str
    run: int
    crashes: int
    image: str
    pull: PullPolicy
    command: tuple[str, ...]
    args: tuple[str, ...]
    env: Mapping[str, str]
    cwd: str
    mounts: tuple[Mount, ...]
    cpu_milli: int
    """The most it may use; 0 is no limit."""
    memory_bytes: int

    @property
    def argv(self) -> tuple[str, ...]:
        """Program and arguments, where an image names none."""
        return (*self.command, *self.args)


@dataclass(frozen=True, slots=True)
class PodDns:
    """What a pod with a network of its own asks for names."""

    server: str
    domain: str

    def searches(self, namespace: str) -> tuple[str, str, str]:
        """The domains in which a short name is looked for."""
        return f"{namespace}.svc.{self.domain}", f"svc.{self.domain}", self.domain


@dataclass(frozen=True, slots=True)
class LogLimits:
    """How much of a container's output is kept."""

    max_bytes: int = 10 * 1024 * 1024
    files: int = 3
