"""The set of documents of one gateway: from rows as they are kept to documents as they are checked, and back. Pure."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping

from twin.exchange import DocumentRef, DocumentRow, DocumentState
from twin.manifest.agreement import deleted, replaced, unknown
from twin.manifest.catalog import Action, Change, RegistryView, Stored, content_hash
from twin.manifest.document import Document, DocumentKind, Ref
from twin.manifest.problems import InvalidManifest
from twin.manifest.read import read_parsed
from twin.manifest.yaml import Parsed

log = logging.getLogger(__name__)


def read_document(row: DocumentRow) -> Document | None:
    """A document as this release reads it; None if there is none, or it is of a kind or form not known here."""
    ref = row.state.ref
    if row.raw is None or ref.kind not in set(DocumentKind):
        return None
    try:
        manifest = read_parsed([Parsed(f"{ref.kind} {ref.namespace}/{ref.name}", dict(row.raw))])
    except InvalidManifest as error:
        log.warning("a document of another release, kept as it is: %s", error)
        return None
    return manifest.documents[0]


def read_set(documents: Mapping[DocumentRef, DocumentRow]) -> RegistryView:
    """What is alive of a set and understood here."""
    stored = {}
    for row in documents.values():
        document = read_document(row) if row.state.uid else None
        if document is not None:
            stored[document.ref] = Stored(document, row.state.uid, row.state.generation, row.state.hash)
    return RegistryView(stored)


def known_rows(documents: Mapping[DocumentRef, DocumentRow]) -> Callable[[Ref], DocumentState]:
    """What is known of each document."""

    def known(ref: Ref) -> DocumentState:
        named = DocumentRef(ref.kind, ref.namespace, ref.name)
        return documents[named].state if named in documents else unknown(named)

    return known


def row_after(known: DocumentState, change: Change, document: Document | None) -> DocumentRow:
    """What is kept of a document after a change of it."""
    if change.action is Action.DELETED or document is None:
        return DocumentRow(deleted(known), None)
    state = replaced(known, change.uid, change.generation, content_hash(document.raw))
    return DocumentRow(state, document.raw)
