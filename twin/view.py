"""Twins as clients see them: from documents of the engine to bodies of the wire. Pure."""

from __future__ import annotations

from twin.delta import delta, met
from twin.document import Leaf, Slot, Tombstone, TwinDocument
from twin.errors import UnknownProperty
from twin.merge import standing, value_of, winner
from twin.model import Access, ConflictPolicy, PropertySpec, Site, TwinKey
from twin.wire.api import ExplainReply, LeafBody, SlotBody, SpecBody, TwinBody


def twin_body(document: TwinDocument) -> TwinBody:
    """The whole twin."""
    spec = document.spec
    desired = {}
    for name, leaf in sorted(document.desired.items()):
        slot = standing(leaf, _policy(spec.properties.get(name)))
        if slot is not None:
            desired[name] = leaf_body(slot, spec.properties.get(name))
    reported = {name: leaf_body(slot, spec.properties.get(name)) for name, slot in sorted(document.reported.items())}
    pending = delta(document.desired, document.reported, spec.properties)
    return TwinBody(
        twin=str(spec.key),
        version=document.version,
        uid=spec.uid,
        model=spec.model,
        gateway=spec.gateway,
        labels=dict(spec.labels),
        desired=desired,
        reported=reported,
        delta={name: value_of(slot) for name, slot in sorted(pending.items())},
    )


def leaf_body(slot: Slot, spec: PropertySpec | None) -> LeafBody:
    """One property."""
    return LeafBody(
        value=value_of(slot),
        at=slot.at,
        quality=slot.quality,
        reason=slot.reason,
        by=slot.by,
        unit=spec.unit if spec else "",
    )


def explanation(document: TwinDocument, key: TwinKey, name: str) -> ExplainReply:
    """Who wrote a property, who won and why, and whether the device has followed. Raises UnknownProperty."""
    if not any(name in known for known in (document.spec.properties, document.reported, document.desired)):
        names = ", ".join(sorted({*document.spec.properties, *document.reported, *document.desired}))
        text = f"{key}: there is no property {name!r}"
        raise UnknownProperty(text, remedy=f"It has {names}." if names else "It has none.")
    spec = document.spec.properties.get(name)
    leaf = document.desired.get(name, Leaf())
    policy = _policy(spec)
    stands = standing(leaf, policy)
    reported = document.reported.get(name)
    pending = stands is not None and not met(value_of(stands), reported, spec.tolerance if spec else 0.0)
    return ExplainReply(
        twin=str(key),
        property=name,
        policy=policy,
        slots=[_slot_body(site, slot) for site in Site if (slot := leaf.slot(site)) is not None],
        winner=winner(leaf, policy),
        why=_why(leaf, policy),
        reported=leaf_body(reported, spec) if reported is not None else None,
        pending=pending,
        rules=_rules(spec) if spec else [],
        spec=_spec_body(spec) if spec else None,
    )


def _policy(spec: PropertySpec | None) -> ConflictPolicy:
    return spec.conflict if spec else ConflictPolicy.LATEST


def _slot_body(site: Site, slot: Slot) -> SlotBody:
    deleted = isinstance(slot.value, Tombstone)
    return SlotBody(
        site=site,
        value=None if deleted else slot.value,
        deleted=deleted,
        tick=slot.tick,
        seen=slot.seen,
        by=slot.by,
        at=slot.at,
    )


def _why(leaf: Leaf, policy: ConflictPolicy) -> str:
    edge, cloud = leaf.edge, leaf.cloud
    if edge is None and cloud is None:
        return "nobody has written a desired value"
    if edge is None or cloud is None:
        return "it is the only write"
    if edge.seen >= cloud.tick:
        return "the edge wrote knowing the cloud's value"
    if cloud.seen >= edge.tick:
        return "the cloud wrote knowing the edge's value"
    if policy is ConflictPolicy.LATEST:
        return "neither knew of the other; the policy is latest, by the writers' clocks, the cloud on a tie"
    return f"neither knew of the other; the policy is {policy}"


def _spec_body(spec: PropertySpec) -> SpecBody:
    return SpecBody(
        type=spec.type,
        access=spec.access,
        minimum=spec.minimum,
        maximum=spec.maximum,
        enum=list(spec.enum),
        unit=spec.unit,
        description=spec.description,
        keep=spec.history.keep,
    )


def _rules(spec: PropertySpec) -> list[str]:
    rules = [f"type {spec.type}", f"access {spec.access}"]
    if spec.minimum is not None:
        rules.append(f"minimum {spec.minimum:g}")
    if spec.maximum is not None:
        rules.append(f"maximum {spec.maximum:g}")
    if spec.enum:
        rules.append("one of " + ", ".join(map(repr, spec.enum)))
    if spec.unit:
        rules.append(f"unit {spec.unit}")
    if spec.access is Access.READ_WRITE and spec.tolerance:
        rules.append(f"tolerance {spec.tolerance:g}")
    return rules
