"""What has to change at one gateway, so that it has what the cluster says. Pure.

    wanted (cluster) ─┐
    base (its set) ───┼─> checked together ──> put, delete ─ and what is refused, and why
    gone uids ────────┘

Only documents with this cluster's mark are changed or deleted. What the checks refuse is left out, alone, and what was
there of it stays.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from cloudsync.kube.marks import cluster_of
from twin.manifest.catalog import RegistryView, Stored, content_hash
from twin.manifest.document import Document, Ref
from twin.manifest.problems import Problem
from twin.manifest.references import broken_references


@dataclass(slots=True)
class Wanted:
    """What the cluster wants a gateway to have; ``uids`` of those whose life is the cluster's."""

    documents: dict[Ref, Document] = field(default_factory=dict)
    uids: dict[Ref, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be done; ``put`` holds only what differs."""

    put: tuple[Document, ...]
    delete: tuple[Ref, ...]
    refused: Mapping[Ref, str]


def planned(base: RegistryView, wanted: Wanted, cluster: str, gone: Mapping[Ref, frozenset[str]]) -> Plan:
    """Compare what a gateway has with what is wanted. ``gone``: uids that ended there."""
    refused: dict[Ref, str] = {}
    asked: dict[Ref, Document] = {}
    for ref, document in wanted.documents.items():
        old = base.stored.get(ref)
        if wanted.uids.get(ref) in gone.get(ref, frozenset()):
            refused[ref] = "it was deleted at the gateway"
        elif old is not None and cluster_of(old.document) != cluster:
            refused[ref] = _taken_by(ref, old)
        else:
            asked[ref] = document
    mine = {ref for ref, one in base.stored.items() if cluster_of(one.document) == cluster}
    removed = mine - wanted.documents.keys() - refused.keys()
    while True:
        after = _after(base, asked, removed)
        problems = list(broken_references(after))
        blamed = {ref: _told(ref, problems) for ref in asked if any(one.source == str(ref) for one in problems)}
        if not blamed:
            break
        refused |= blamed
        asked = {ref: one for ref, one in asked.items() if ref not in blamed}
    if problems:  # of what stays: it needs what would go
        removed = {ref for ref in removed if not list(broken_references(_after(base, asked, {ref})))}
    put = [one for ref, one in asked.items() if _differs(base.stored.get(ref), one, wanted.uids.get(ref))]
    return Plan(tuple(put), tuple(sorted(removed)), refused)


def _after(base: RegistryView, put: Mapping[Ref, Document], removed: set[Ref]) -> RegistryView:
    stored = {ref: one for ref, one in base.stored.items() if ref not in removed}
    return RegistryView({**stored, **{ref: Stored(one, "", 0, "") for ref, one in put.items()}})


def _differs(old: Stored | None, document: Document, uid: str | None) -> bool:
    return old is None or uid not in (None, old.uid) or old.hash != content_hash(document.raw)


def _taken_by(ref: Ref, old: Stored) -> str:
    other = cluster_of(old.document)
    whose = f"the cluster {other}" if other else "somebody in the cloud or at the gateway"
    return f"the gateway has a {ref.kind} of this name already, from {whose}; delete that first"


def _told(ref: Ref, problems: list[Problem]) -> str:
    found = [one for one in problems if one.source == str(ref)]
    return "; ".join(f"{one.path}: {one.text}" if one.path else one.text for one in found[:3])
