"""What the cloud itself is to have run, and where it was put: documents of the cloud's own, beside those of gateways.

apply ──> Workload ──scheduler──> Placement: written first ──Placing──> the document in a gateway's set
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING, NamedTuple, Protocol

from twin.exchange import DocumentRef
from twin.model import TwinKey, Value

if TYPE_CHECKING:
    from cloudsync.store import AuditEntry


class Identity(NamedTuple):
    """Which life of a workload, and which change of it."""

    ref: DocumentRef
    uid: str
    generation: int


@dataclass(frozen=True, slots=True)
class Workload:
    """One document of the cloud's own. Times are milliseconds since 1970."""

    ref: DocumentRef
    uid: str
    generation: int
    hash: str
    raw: Mapping[str, Value]
    owner: str = ""
    """Of a pod that was made for a Deployment: the Deployment's uid."""
    made: str = ""
    """Which template it was made from."""
    why: str = ""
    """What keeps it from having a gateway."""
    at: int = 0
    """When it was made."""

    @property
    def identity(self) -> Identity:
        """Which life and change of it."""
        return Identity(self.ref, self.uid, self.generation)


class PlacementState(IntEnum):
    """Where the stay of a document at a gateway is."""

    BOUND = 0
    LEAVING = 1
    """It is to go; the gateway may not know yet."""
    ENDING = 2
    """The gateway knows, and what ran has its grace period still."""


@dataclass(frozen=True, slots=True)
class Placement:
    """One document at one gateway."""

    gateway: str
    ref: DocumentRef
    uid: str
    """Of the workload."""
    owner: str = ""
    state: PlacementState = PlacementState.BOUND
    since: int = 0
    """When it came into its state."""
    grace_s: int = 0
    source: str = ""
    """What the document was made from when it was put there; empty: it was not yet."""
    hash: str = ""
    """Of the document that was put there."""

    @property
    def place(self) -> tuple[str, DocumentRef]:
        """What there is one of."""
        return self.gateway, self.ref


class Presence(NamedTuple):
    """What is known of a gateway's line."""

    gateway: str
    online: bool
    heard_at: int
    agreed: bool


class Lease(NamedTuple):
    """Whether a lease is held now, and since when somebody has held it without a gap."""

    held: bool
    since: int


class PodReport(NamedTuple):
    """What a gateway reports of one pod, or of itself."""

    uid: str
    gateway: str
    reported: Mapping[str, Value]


class WorkloadTransaction(Protocol):
    """A change of workloads and placements, all of it or nothing, one at a time in the whole cloud."""

    revision: int
    """That of this change; one more than that of the change before."""

    async def get(self, refs: Collection[DocumentRef]) -> list[Workload]:
        """Those of these that there are."""
        ...

    async def put(self, workloads: Sequence[Workload]) -> None:
        """Make or replace them."""
        ...

    async def delete(self, refs: Collection[DocumentRef]) -> None:
        """Delete them; nothing happens to one that is not there."""
        ...

    async def explain(self, whys: Mapping[DocumentRef, str]) -> None:
        """Write down what keeps pods from having a gateway, or that nothing does."""
        ...

    async def place(self, placements: Sequence[Placement]) -> None:
        """Make or replace placements."""
        ...

    async def forget(self, places: Collection[tuple[str, DocumentRef]]) -> None:
        """Delete placements."""
        ...

    async def audit(self, entry: AuditEntry) -> None:
        """Write one line of the audit log."""
        ...


class WorkloadStore(Protocol):
    """Every method raises StoreError when it fails."""

    def transaction(self) -> AbstractAsyncContextManager[WorkloadTransaction]:
        """Commit at the end of the block, roll back if it raises. The revision rises."""
        ...

    async def revision(self) -> int:
        """Rises with each change of workloads and placements."""
        ...

    async def identities(self) -> list[Identity]:
        """Of all workloads; quick."""
        ...

    async def get(self, refs: Collection[DocumentRef]) -> list[Workload]:
        """Those of these that there are."""
        ...

    async def page(self, kind: str, *, namespace: str = "", after: str = "", limit: int) -> list[Workload]:
        """A page of one kind by namespace and name; ``after`` is ``namespace/name``."""
        ...

    async def owned(self, owner: str, *, limit: int) -> list[Workload]:
        """The pods that were made for a Deployment, by name."""
        ...

    async def placements(self, refs: Collection[DocumentRef] | None = None) -> list[Placement]:
        """All of them, or those of some documents."""
        ...

    async def presences(self) -> list[Presence]:
        """Of every gateway that was ever heard of."""
        ...

    async def in_sets(self, kinds: Collection[str]) -> list[tuple[str, Identity, str]]:
        """What gateways have of some kinds: gateway, identity there, hash."""
        ...

    async def reports(self, keys: Collection[TwinKey], properties: Collection[str]) -> dict[TwinKey, PodReport]:
        """What twins of pods or gateways report, of some properties; those that are not there are left out."""
        ...

    async def lease(self, name: str, holder: str, *, now: int, until: int, gap_ms: int) -> Lease:
        """Take or renew a lease, if it is free or over. ``since`` begins anew after a gap of more than ``gap_ms``."""
        ...

    async def release(self, name: str, holder: str, *, now: int) -> None:
        """Let others have it at once."""
        ...
