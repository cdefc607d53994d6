"""The merge rule: a join that is a product of maxima, and a winner that is a pure function of the joined pair.

So the join is commutative, associative and idempotent by construction, and replicas that hold the same pair agree on
the winner and on the overruled value too.
"""

from __future__ import annotations

from twin.document import Leaf, Slot, Tombstone
from twin.model import ConflictPolicy, Site, Value


def join(a: Leaf, b: Leaf) -> Leaf:
    """Unite what two replicas know of one leaf."""
    return Leaf(join_slot(a.edge, b.edge), join_slot(a.cloud, b.cloud))


def join_slot(a: Slot | None, b: Slot | None) -> Slot | None:
    """The write with the greater tick, with the greater ``seen`` of the two."""
    if a is None or b is None:
        return a or b
    newer = a if a.tick >= b.tick else b
    seen = max(a.seen, b.seen)
    return newer if newer.seen == seen else newer._replace(seen=seen)


def known_tick(leaf: Leaf, site: Site) -> int:
    """The ``seen`` of a write that a site makes now: the other slot's tick, and not less than its last write had.

    That had more if the other slot was lost with a disk; the join would then raise this write, at the other site only.
    """
    own, other = leaf.slot(site), leaf.slot(site.peer)
    return max(other.tick if other else 0, own.seen if own else 0)


def winner(leaf: Leaf, policy: ConflictPolicy) -> Site | None:
    """The site whose write stands: the only one, the causally later one, or the one that the policy chooses."""
    edge, cloud = leaf.edge, leaf.cloud
    if edge is None or cloud is None:
        return Site.EDGE if edge is not None else Site.CLOUD if cloud is not None else None
    if edge.seen >= cloud.tick:
        return Site.EDGE
    if cloud.seen >= edge.tick:
        return Site.CLOUD
    if policy is ConflictPolicy.EDGE:
        return Site.EDGE
    if policy is ConflictPolicy.CLOUD:
        return Site.CLOUD
    return Site.EDGE if edge.at > cloud.at else Site.CLOUD


def standing(leaf: Leaf, policy: ConflictPolicy) -> Slot | None:
    """The slot whose value the twin shows; None if nobody wrote or the winner deleted it."""
    site = winner(leaf, policy)
    slot = leaf.slot(site) if site is not None else None
    return None if slot is None or isinstance(slot.value, Tombstone) else slot


def value_of(slot: Slot) -> Value:
    """The value of a slot that is known to hold one."""
    assert not isinstance(slot.value, Tombstone)
    return slot.value
