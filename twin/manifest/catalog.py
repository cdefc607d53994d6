"""A set of documents with their identities, and what applying others to it makes of it. Pure."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum

from twin.manifest.document import Document, DocumentKind, Ref
from twin.manifest.problems import InvalidManifest, Problem
from twin.manifest.read import read_parsed
from twin.manifest.yaml import Parsed
from twin.model import Value


class Action(StrEnum):
    """What became of a document."""

    CREATED = "created"
    UPDATED = "updated"
    UNCHANGED = "unchanged"
    DELETED = "deleted"


@dataclass(frozen=True, slots=True)
class Stored:
    """A document with its identity: a uid for its life, a generation that rises with each change of it."""

    document: Document
    uid: str
    generation: int
    hash: str

    @property
    def ref(self) -> Ref:
        """Which document it is."""
        return self.document.ref

    def row(self) -> dict[str, Value]:
        """The document as people read it in a store: with uid and generation in its metadata."""
        metadata = self.document.raw["metadata"]
        assert isinstance(metadata, dict)
        return {**self.document.raw, "metadata": {**metadata, "uid": self.uid, "generation": self.generation}}


@dataclass(frozen=True, slots=True)
class DocumentDigest:
    """What two sites compare to find the documents that differ."""

    ref: Ref
    uid: str
    generation: int
    hash: str


@dataclass(frozen=True, slots=True)
class Change:
    """What became of one document; uid and generation are those after it, or the last ones of a deleted one."""

    ref: Ref
    action: Action
    uid: str
    generation: int


@dataclass(frozen=True, slots=True)
class Applied:
    """What an apply or delete did, or would do in a dry run."""

    changes: tuple[Change, ...]

    @property
    def changed(self) -> tuple[Change, ...]:
        """The changes that are not ``unchanged``."""
        return tuple(change for change in self.changes if change.action is not Action.UNCHANGED)


@dataclass(frozen=True, slots=True)
class RegistryView:
    """All documents at one moment. In a check, new documents know their place in the file they came from."""

    stored: Mapping[Ref, Stored] = field(default_factory=dict)

    def get(self, kind: DocumentKind, namespace: str, name: str) -> Stored | None:
        """One document, if there is such."""
        return self.stored.get(Ref(kind, namespace, name))

    def all(self, kind: DocumentKind) -> tuple[Stored, ...]:
        """All documents of a kind, by namespace and name."""
        return tuple(self.stored[ref] for ref in sorted(ref for ref in self.stored if ref.kind is kind))

    def digests(self) -> tuple[DocumentDigest, ...]:
        """The digest of each document, sorted."""
        rows = (self.stored[ref] for ref in sorted(self.stored))
        return tuple(DocumentDigest(one.ref, one.uid, one.generation, one.hash) for one in rows)

    def without_places(self) -> RegistryView:
        """The same documents, no longer tied to the files they came from."""
        return RegistryView({ref: _settled(one) for ref, one in self.stored.items()})


def applied(
    base: RegistryView,
    documents: Sequence[Document],
    new_uid: Callable[[], str],
    uids: Mapping[Ref, str] | None = None,
) -> tuple[RegistryView, Applied]:
    """Put the documents over the base. ``uids`` of those whose life begins elsewhere: another uid is another document.

    Raises InvalidManifest if one of them is given twice.
    """
    stored = dict(base.stored)
    changes: dict[Ref, Change] = {}
    twice: list[Problem] = []
    for document in documents:
        ref = document.ref
        if ref in changes:
            twice.append(document.problem(("metadata", "name"), f"{ref} is given twice", "Keep one of the two."))
            continue
        stored[ref], action = _placed(base.stored.get(ref), document, new_uid, uids.get(ref) if uids else None)
        changes[ref] = Change(ref, action, stored[ref].uid, stored[ref].generation)
    if twice:
        raise InvalidManifest(twice)
    return RegistryView(stored), Applied(tuple(changes.values()))


def deleted(base: RegistryView, refs: Iterable[Ref]) -> tuple[RegistryView, Applied]:
    """Take documents out of the base. Raises InvalidManifest if one is not in it."""
    wanted = dict.fromkeys(refs)
    missing = [ref for ref in wanted if ref not in base.stored]
    if missing:
        remedy = "Check kind, namespace and name."
        raise InvalidManifest(Problem(str(ref), 0, "", "there is no such document", remedy) for ref in missing)
    gone = [base.stored[ref] for ref in wanted]
    stored = {ref: one for ref, one in base.stored.items() if ref not in wanted}
    changes = tuple(Change(one.ref, Action.DELETED, one.uid, one.generation) for one in gone)
    return RegistryView(stored), Applied(changes)


def read_rows(rows: Iterable[Mapping[str, Value]], new_uid: Callable[[], str]) -> RegistryView:
    """Read what ``Stored.row`` wrote; a row without an identity gets one. Raises InvalidManifest."""
    parsed = [Parsed(_source(row), dict(row)) for row in rows]
    documents = read_parsed(parsed).documents
    stored = (_identified(document, row.value, new_uid) for document, row in zip(documents, parsed, strict=True))
    return RegistryView({one.ref: one for one in stored})


def changed_refs(before: RegistryView, after: RegistryView) -> Iterator[Ref]:
    """The references whose rows differ between two views."""
    for ref in before.stored.keys() | after.stored.keys():
        old, new = before.stored.get(ref), after.stored.get(ref)
        if old is None or new is None or _identity(old) != _identity(new):
            yield ref


def content_hash(value: Value) -> str:
    """SHA-256 of a JSON value that does not depend on the order of keys; 1, 1.0 and true differ."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def _placed(
    old: Stored | None, document: Document, new_uid: Callable[[], str], uid: str | None
) -> tuple[Stored, Action]:
    new_hash = content_hash(document.raw)
    if old is None or (uid is not None and uid != old.uid):
        return Stored(document, uid or new_uid(), 1, new_hash), Action.CREATED
    if new_hash == old.hash:
        return Stored(document, old.uid, old.generation, new_hash), Action.UNCHANGED
    # With labels too, unlike Kubernetes: two sites tell by it whose change of one life came later.
    return Stored(document, old.uid, old.generation + 1, new_hash), Action.UPDATED


def _settled(stored: Stored) -> Stored:
    if not stored.document.origin.places:
        return stored
    document = stored.document
    return replace(stored, document=replace(document, origin=_unplaced(document)))


def _unplaced(document: Document) -> Parsed:
    """Its origin when no file is behind it any more."""
    return Parsed(str(document.ref), document.raw, moved=document.origin.moved)


def _identified(document: Document, row: Value, new_uid: Callable[[], str]) -> Stored:
    assert isinstance(row, dict)
    metadata = row["metadata"]
    assert isinstance(metadata, dict)
    uid, generation = metadata.get("uid"), metadata.get("generation")
    known = isinstance(uid, str) and uid and type(generation) is int and generation > 0
    settled = replace(document, origin=_unplaced(document))
    if not known:
        uid, generation = new_uid(), 1
    assert isinstance(uid, str)
    assert isinstance(generation, int)
    return Stored(settled, uid, generation, content_hash(document.raw))


def _source(row: Mapping[str, Value]) -> str:
    metadata = row.get("metadata")
    name = metadata.get("name") if isinstance(metadata, dict) else None
    return f"{row.get('kind')} {name}"


def _identity(stored: Stored) -> tuple[str, int, str]:
    return stored.uid, stored.generation, stored.hash
