"""The words of the scheduler as types: what is to run, which gateways there are, what is where, and what is decided.

Times are milliseconds since 1970, amounts thousandths of a core and bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, NamedTuple

from cloudsync.store.workloads import PlacementState
from twin.manifest.workloads import CutOff

PODS_AT_MOST: Final = 110
"""Of a gateway whose capacity says nothing of pods, as in Kubernetes."""
LABEL_GATEWAY: Final = "kubernetes.io/hostname"
"""A label that each gateway has: its name."""
STAYS: Final = CutOff()


class PodName(NamedTuple):
    """Names one pod."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


class Effect(StrEnum):
    """What a taint does to pods that do not tolerate it."""

    NO_SCHEDULE = "NoSchedule"
    PREFER_NO_SCHEDULE = "PreferNoSchedule"
    NO_EXECUTE = "NoExecute"


class Taint(NamedTuple):
    """What keeps pods off a gateway."""

    key: str
    value: str
    effect: Effect


class Tolerated(NamedTuple):
    """Taints that a pod does not mind; None: any."""

    key: str | None
    value: str | None
    effect: Effect | None

    def fits(self, taint: Taint) -> bool:
        """Whether it is one of them."""
        return (
            self.key in (None, taint.key) and self.value in (None, taint.value) and self.effect in (None, taint.effect)
        )


class Port(NamedTuple):
    """A port of the gateway's own network, which all its pods share."""

    protocol: str
    number: int


@dataclass(frozen=True, slots=True)
class Needs:
    """What a pod asks of its gateway; pods that ask for the same are placed with one look."""

    cpu_milli: int = 0
    memory_bytes: int = 0
    ports: frozenset[Port] = frozenset()
    selector: tuple[tuple[str, str], ...] = ()
    tolerated: tuple[Tolerated, ...] = ()
    node: str = ""
    """The one gateway that it names itself."""

    def tolerates(self, taint: Taint) -> bool:
        """Whether a taint does not keep the pod off."""
        return any(one.fits(taint) for one in self.tolerated)


@dataclass(frozen=True, slots=True)
class Pod:
    """One pod that is to run once."""

    name: PodName
    uid: str
    needs: Needs
    cut_off: CutOff = STAYS
    owner: str = ""
    """Uid of its Deployment."""
    made: str = ""
    """Which template it was made from."""
    grace_s: int = 30
    at: int = 0
    """When it was made."""
    ready: bool = False
    """What its gateway says, if that was asked for."""


@dataclass(frozen=True, slots=True)
class Deployment:
    """So many pods alike. ``surge`` and ``missing``: how many too many and too few while the template is exchanged."""

    name: PodName
    uid: str
    replicas: int
    template: Pod
    """A pod as it would be made now, but for name and uid."""
    recreate: bool = False
    surge: int = 1
    missing: int = 0


@dataclass(frozen=True, slots=True)
class Amounts:
    """What pods ask for altogether."""

    cpu_milli: int = 0
    memory_bytes: int = 0
    pods: int = 0
    ports: frozenset[Port] = frozenset()


@dataclass(frozen=True, slots=True)
class Gateway:
    """One gateway, as far as placing pods goes. A capacity of None has no bound."""

    name: str
    labels: Mapping[str, str] = field(default_factory=dict)
    taints: tuple[Taint, ...] = ()
    unschedulable: bool = False
    cpu_milli: int | None = None
    memory_bytes: int | None = None
    pods: int = PODS_AT_MOST
    online: bool = True
    silent_ms: int = 0
    """For how long nothing was heard of it, while somebody listened."""
    agreed: bool = True
    """Whether it has all documents as they are here."""
    revoked: bool = False
    """Whether people have shut it out for good."""
    own: frozenset[PodName] = frozenset()
    """Pods that were made there, and not put there from here."""
    used: Amounts = Amounts()
    """By those."""


@dataclass(frozen=True, slots=True)
class Placed:
    """One pod at one gateway. The pod may be gone, and its stay there not over."""

    pod: PodName
    gateway: str
    uid: str
    owner: str = ""
    state: PlacementState = PlacementState.BOUND
    since: int = 0
    grace_s: int = 30
    removed: bool = True
    """Of one that is to go: whether its document is out of the gateway's set."""

    @property
    def place(self) -> tuple[str, PodName]:
        """What there is one of."""
        return self.gateway, self.pod


@dataclass(frozen=True, slots=True)
class World:
    """All that is looked at."""

    pods: Mapping[PodName, Pod]
    deployments: Mapping[str, Deployment]
    """By uid."""
    gateways: Mapping[str, Gateway]
    placed: tuple[Placed, ...]


class Note(NamedTuple):
    """One decision in words, for the audit log."""

    subject: str
    what: str


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be changed; all of it together. An empty plan is that all is as it should be."""

    make: Mapping[PodName, Pod] = field(default_factory=dict)
    """Pods that Deployments want."""
    drop: frozenset[PodName] = frozenset()
    """Pods that nobody wants any more."""
    place: tuple[Placed, ...] = ()
    """Stays that begin, or come into another state."""
    forget: frozenset[tuple[str, PodName]] = frozenset()
    """Stays that are over."""
    whys: Mapping[PodName, str] = field(default_factory=dict)
    """What keeps each pod that has no gateway from having one."""
    notes: tuple[Note, ...] = ()
    look_at: int | None = None
    """When something is due without anything else having changed."""

    @property
    def empty(self) -> bool:
        """Whether nothing is to be changed, but for words."""
        return not (self.make or self.drop or self.place or self.forget)
