"""The twin document: leaves, each with a slot for every site that may write it.

desired   property -> Leaf(edge, cloud)     both sites may write
reported  property -> Slot                  only the edge writes
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Final, NamedTuple, TypeAlias

from twin.model import Quality, Reason, Site, TwinSpec, Value


class Tombstone(Enum):
    """What a delete leaves in the writer's own slot."""

    DELETED = "deleted"


DELETED: Final = Tombstone.DELETED
SlotValue: TypeAlias = "Value | Tombstone"


class Slot(NamedTuple):
    """The part of a leaf that one site writes.

    A named tuple, because one is made for every reading and a frozen dataclass takes four times as long to make.
    """

    value: SlotValue
    tick: int
    seen: int = 0
    """The other slot's tick when this one was written."""
    by: str = ""
    """The account that wrote."""
    at: int = 0
    """The writer's time in milliseconds since 1970; for people, and for the policy ``latest``."""
    quality: Quality = Quality.GOOD
    reason: Reason = Reason.NONE


def live(reported: Mapping[str, Slot]) -> dict[str, Slot]:
    """The reported slots without those that were deleted."""
    return {name: slot for name, slot in reported.items() if slot.value is not DELETED}


@dataclass(frozen=True, slots=True)
class Leaf:
    """One desired property: a slot for each site, None where that site never wrote."""

    edge: Slot | None = None
    cloud: Slot | None = None

    def slot(self, site: Site) -> Slot | None:
        """The slot of one site."""
        return self.edge if site is Site.EDGE else self.cloud

    def with_slot(self, site: Site, slot: Slot) -> Leaf:
        """The leaf with one slot replaced."""
        return Leaf(slot, self.cloud) if site is Site.EDGE else Leaf(self.edge, slot)


@dataclass(frozen=True, slots=True)
class TwinDocument:
    """A twin as it stood at one moment: the spec from its documents, and its leaves."""

    spec: TwinSpec
    version: int
    desired: Mapping[str, Leaf] = field(default_factory=dict)
    reported: Mapping[str, Slot] = field(default_factory=dict)
    """Without tombstones; only the feed, which has to carry them, sees those."""
