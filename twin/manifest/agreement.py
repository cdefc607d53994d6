"""What two sites make of one document that both may have changed: a join, so that order and repetition do not matter.

    gone      the union: a uid that ended once never comes back
    live      the site's life if its uid is not gone; of two with one uid the greater generation, then the cloud's;
              of two uids the cloud's, and the other uid is gone

Each side calls ``joined`` with its own state and the one that came, and keeps the outcome. Pure.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from twin.exchange import DocumentRef, DocumentState
from twin.model import Site


class Take(StrEnum):
    """Whose content the outcome has."""

    OWN = "own"
    THEIRS = "theirs"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class Agreed:
    """The state after a join, and whose content goes with it."""

    state: DocumentState
    take: Take


def unknown(ref: DocumentRef) -> DocumentState:
    """The state of a document that a site never heard of."""
    return DocumentState(ref, "", 0, "", frozenset())


def joined(own: DocumentState, theirs: DocumentState, *, site: Site) -> Agreed:
    """What both sites know together; ``site`` is whose ``own`` is. The other site comes to the same state."""
    cloud, edge = (own, theirs) if site is Site.CLOUD else (theirs, own)
    gone = own.gone | theirs.gone
    cloud_lives = bool(cloud.uid) and cloud.uid not in gone
    edge_lives = bool(edge.uid) and edge.uid not in gone
    if cloud_lives and edge_lives and cloud.uid != edge.uid:
        gone |= {edge.uid}
        edge_lives = False
    if not cloud_lives and not edge_lives:
        return Agreed(DocumentState(own.ref, "", 0, "", gone), Take.NONE)
    by_edge = edge_lives and (not cloud_lives or edge.generation > cloud.generation)
    living = edge if by_edge else cloud
    # Alike but for what was not compared: nobody has to send anything.
    take = Take.OWN if living is own or living[1:4] == own[1:4] else Take.THEIRS
    return Agreed(DocumentState(own.ref, living.uid, living.generation, living.hash, gone), take)


def deleted(own: DocumentState) -> DocumentState:
    """The state after a site has deleted its document."""
    gone = own.gone | {own.uid} if own.uid else own.gone
    return DocumentState(own.ref, "", 0, "", gone)


def replaced(own: DocumentState, uid: str, generation: int, hash_: str) -> DocumentState:
    """The state after a site has written its document; another uid ends the life before."""
    gone = own.gone | {own.uid} if own.uid and own.uid != uid else own.gone
    return DocumentState(own.ref, uid, generation, hash_, gone)


def summary(states: Iterable[DocumentState]) -> str:
    """One hash over all that is known of documents, the same on both sites when they agree; order does not matter."""
    known = sorted((state for state in states if state.uid or state.gone), key=lambda state: state.ref)
    text = json.dumps([[*state[:4], sorted(state.gone)] for state in known])
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
