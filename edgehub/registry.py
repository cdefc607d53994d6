"""The registry: the documents people wrote, checked as a whole, kept in one file, read from memory.

apply ──> base + documents ──> built-in and given checks ──> one write ──> new view
                               any problem: nothing changed
agree ──> join with the cloud's ──> the same checks ──> one write ──> new view; what a check refuses is kept aside
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self, TypeAlias

from tinydb import TinyDB
from tinydb.table import Document as Row

from edgehub.agreeing import Agreement, Books, agreed, carried, with_local
from edgehub.known_rows import known_of, rows_of
from edgehub.storage import FileStorage, Tables
from twin.clock import Clock, SystemClock
from twin.errors import StoreCorrupt, StoreError
from twin.exchange import DocumentRef, DocumentRow, DocumentState
from twin.manifest.catalog import (
    Action,
    Applied,
    DocumentDigest,
    RegistryView,
    Stored,
    applied,
    changed_refs,
    content_hash,
    deleted,
    read_rows,
)
from twin.manifest.differences import difference
from twin.manifest.document import Document, DocumentKind, Ref
from twin.manifest.problems import InvalidManifest, Problem
from twin.manifest.references import broken_references
from twin.model import Value

Check: TypeAlias = Callable[[RegistryView], Iterable[Problem]]

_TABLE: Final = "documents"
_KNOWN: Final = "known"
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class DocumentDiff:
    """What applying one document would change, as a unified diff; the text is empty if nothing."""

    ref: Ref
    action: Action
    text: str


class Registry:
    """All documents of a gateway. Reads never block; ``apply`` and ``delete`` wait for the disk, one at a time.

    ``checks`` see the whole set that would result and may refuse it. They run before anything is written, and not
    when the registry is opened: what was accepted once is served.
    """

    def __init__(
        self,
        path: Path,
        *,
        checks: Sequence[Check] = (),
        new_uid: Callable[[], str] = lambda: str(uuid.uuid4()),
        clock: Clock | None = None,
    ) -> None:
        self._path = path
        self._checks = (broken_references, *checks)
        self._new_uid = new_uid
        self._storage = FileStorage(path, clock=clock or SystemClock(), check=self._fault)
        self._db: TinyDB | None = None
        self._ids: dict[Ref, int] = {}
        self._books = Books()

    def __enter__(self) -> Self:
        self.open()
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def open(self) -> None:
        """Take the lock and load. Raises StoreError if another process has it, StoreCorrupt, StoreTooNew."""
        self._storage.open()
        try:
            self._db = TinyDB(storage=lambda: self._storage)
            self._load(self._storage.read() or {})
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Give the file back."""
        self._storage.close()
        self._db = None

    @property
    def view(self) -> RegistryView:
        """All documents as they stand now; does not change when the registry does."""
        return self._books.view

    @property
    def books(self) -> Books:
        """The same, and what is known of each document; does not change when the registry does."""
        return self._books

    def get(self, kind: DocumentKind, namespace: str, name: str) -> Stored | None:
        """One document, if there is such."""
        return self._books.view.get(kind, namespace, name)

    def all(self, kind: DocumentKind) -> tuple[Stored, ...]:
        """All documents of a kind, by namespace and name."""
        return self._books.view.all(kind)

    def digest(self) -> tuple[DocumentDigest, ...]:
        """What a peer compares with its own to find the documents that differ."""
        return self._books.view.digests()

    def apply(self, documents: Sequence[Document], *, dry_run: bool = False) -> Applied:
        """Create or update all of the documents, or none; on disk when this returns.

        Raises InvalidManifest with every problem of the set that would result, StoreError if the disk refuses.
        """
        after, outcome = applied(self._books.view, documents, self._new_uid)
        self._settle(after, dry_run=dry_run)
        return outcome

    def delete(self, refs: Iterable[Ref], *, dry_run: bool = False) -> Applied:
        """Delete all of the documents, or none; on disk when this returns. Raises as ``apply`` does."""
        after, outcome = deleted(self._books.view, refs)
        self._settle(after, dry_run=dry_run)
        return outcome

    def diff(self, documents: Sequence[Document]) -> tuple[DocumentDiff, ...]:
        """Show what ``apply`` would change; checks nothing and writes nothing."""
        _, outcome = applied(self._books.view, documents, self._new_uid)
        by_ref = {document.ref: document for document in documents}
        before = {ref: stored.document for ref, stored in self._books.view.stored.items()}
        return tuple(
            DocumentDiff(one.ref, one.action, difference(before.get(one.ref), by_ref[one.ref]))
            for one in outcome.changes
        )

    def states(self) -> list[DocumentState]:
        """What this site holds of every document that it ever heard of."""
        return [self._books.state(ref) for ref in self._books.refs()]

    def agree(self, rows: Iterable[DocumentRow]) -> Agreement:
        """Take documents of the cloud, and try those again that stand aside. Raises StoreError if the disk refuses."""
        agreement = agreed(self._books, rows, self._problems)
        if agreement.changed:
            self._write(agreement.books)
        return agreement

    def carry(self, ref: DocumentRef, raw: Mapping[str, Value] | None) -> None:
        """Keep, or delete (None), a document of a kind that has no use here yet, for the cloud. Raises StoreError."""
        made = "" if raw is None else content_hash(dict(raw))
        self._write(carried(self._books, ref, raw, uid=self._new_uid(), hash_=made))

    def _problems(self, view: RegistryView) -> list[Problem]:
        return [problem for check in self._checks for problem in check(view)]

    def _settle(self, after: RegistryView, *, dry_run: bool) -> None:
        problems = self._problems(after)
        if problems:
            raise InvalidManifest(problems)
        if not dry_run:
            self._write(with_local(self._books, after.without_places(), self._new_uid))

    def _write(self, books: Books) -> None:
        """Bring the file from the present books to the next ones, in one write."""
        if self._db is None:
            text = f"the registry {self._path} is not open"
            raise StoreError(text, remedy="Open it first.")
        table = self._db.table(_TABLE)
        after = books.view
        changed = sorted(changed_refs(self._books.view, after))
        known = [self._ids[ref] for ref in changed if ref in self._ids]
        ids = {ref: number for ref, number in self._ids.items() if ref in after.stored}
        following = max(self._ids.values(), default=0) + 1
        for ref in changed:
            if ref in after.stored and ref not in ids:
                ids[ref], following = following, following + 1
        if changed or books.known != self._books.known:
            with self._storage.batch():
                table.remove(doc_ids=known)
                table.insert_multiple(Row(after.stored[ref].row(), ids[ref]) for ref in changed if ref in after.stored)
                if books.known != self._books.known:
                    tables = self._storage.read() or {}
                    self._storage.write({**tables, _KNOWN: rows_of(books.known)})
        self._books, self._ids = books, ids

    def _load(self, tables: Tables) -> None:
        rows = tables.get(_TABLE, {})
        try:
            view, known = read_rows(rows.values(), self._new_uid), known_of(tables.get(_KNOWN, {}))
        except InvalidManifest as error:
            text = f"{self._path} holds documents that this release cannot read:\n{error}"
            raise StoreCorrupt(text, remedy="Correct them in the file, or restore the file from a backup.") from error
        self._books = Books(view, known)
        self._ids = {ref: int(number) for ref, number in zip(view.stored, rows, strict=True)}
        if self._storage.edited:
            self._accept_edit(self._books)

    def _accept_edit(self, edited: Books) -> None:
        """Treat an edit by hand as an apply: same uid, a higher generation where it changed."""
        before = self._storage.before_edit
        try:
            base = read_rows(before.get(_TABLE, {}).values(), self._new_uid) if before else edited.view
        except InvalidManifest:
            base = edited.view
        documents = [one.document for one in edited.view.stored.values()]
        after, outcome = applied(base, documents, self._new_uid)
        kept = RegistryView({ref: after.stored[ref] for ref in edited.view.stored})
        books = with_local(Books(base, edited.known), kept, self._new_uid)
        self._ids = {ref: number for number, ref in enumerate(books.view.stored, 1)}
        rows = {str(self._ids[ref]): one.row() for ref, one in books.view.stored.items()}
        self._storage.write({_TABLE: rows, **({_KNOWN: rows_of(books.known)} if books.known else {})})
        self._books = books
        refs = [str(one.ref) for one in outcome.changed] + [
            f"{ref} (deleted)" for ref in base.stored.keys() - kept.stored.keys()
        ]
        _log.warning("%s: changed by hand: %s", self._path, ", ".join(refs) or "nothing that counts")

    def _fault(self, tables: Tables) -> str:
        """Say in one line why tables that a person edited cannot be used; empty if they can."""
        strangers = sorted(tables.keys() - {_TABLE, _KNOWN})
        if strangers:
            return f"its table {strangers[0]} is not known"
        try:
            known_of(tables.get(_KNOWN, {}))
            problems = list(broken_references(read_rows(tables.get(_TABLE, {}).values(), self._new_uid)))
        except InvalidManifest as error:
            problems = list(error.problems)
        texts = [f"{problem.source}: {problem.path}: {problem.text}" for problem in problems]
        return f"it was edited by hand, with problems: {'; '.join(texts)}" if texts else ""
