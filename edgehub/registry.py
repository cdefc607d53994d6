"""The registry: the documents people wrote, checked as a whole, kept in one file, read from memory.

apply ──> base + documents ──> built-in and given checks ──> one write ──> new view
                               any problem: nothing changed
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self, TypeAlias

from tinydb import TinyDB
from tinydb.table import Document as Row

from edgehub.storage import FileStorage, Tables
from twin.clock import Clock, SystemClock
from twin.errors import StoreCorrupt, StoreError
from twin.manifest.catalog import (
    Action,
    Applied,
    DocumentDigest,
    RegistryView,
    Stored,
    applied,
    changed_refs,
    deleted,
    read_rows,
)
from twin.manifest.document import Document, DocumentKind, Ref
from twin.manifest.problems import InvalidManifest, Problem
from twin.manifest.references import broken_references
from twin.manifest.yaml import dump

Check: TypeAlias = Callable[[RegistryView], Iterable[Problem]]

_TABLE: Final = "documents"
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
        self._view = RegistryView()

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
        return self._view

    def get(self, kind: DocumentKind, namespace: str, name: str) -> Stored | None:
        """One document, if there is such."""
        return self._view.get(kind, namespace, name)

    def all(self, kind: DocumentKind) -> tuple[Stored, ...]:
        """All documents of a kind, by namespace and name."""
        return self._view.all(kind)

    def digest(self) -> tuple[DocumentDigest, ...]:
        """What a peer compares with its own to find the documents that differ."""
        return self._view.digests()

    def apply(self, documents: Sequence[Document], *, dry_run: bool = False) -> Applied:
        """Create or update all of the documents, or none; on disk when this returns.

        Raises InvalidManifest with every problem of the set that would result, StoreError if the disk refuses.
        """
        after, outcome = applied(self._view, documents, self._new_uid)
        self._settle(after, dry_run=dry_run)
        return outcome

    def delete(self, refs: Iterable[Ref], *, dry_run: bool = False) -> Applied:
        """Delete all of the documents, or none; on disk when this returns. Raises as ``apply`` does."""
        after, outcome = deleted(self._view, refs)
        self._settle(after, dry_run=dry_run)
        return outcome

    def diff(self, documents: Sequence[Document]) -> tuple[DocumentDiff, ...]:
        """Show what ``apply`` would change; checks nothing and writes nothing."""
        _, outcome = applied(self._view, documents, self._new_uid)
        by_ref = {document.ref: document for document in documents}
        return tuple(
            DocumentDiff(one.ref, one.action, _diff(self._view.stored.get(one.ref), by_ref[one.ref]))
            for one in outcome.changes
        )

    def _settle(self, after: RegistryView, *, dry_run: bool) -> None:
        problems = [problem for check in self._checks for problem in check(after)]
        if problems:
            raise InvalidManifest(problems)
        if not dry_run:
            self._write(after.without_places())

    def _write(self, after: RegistryView) -> None:
        """Bring the file from the present view to the next one, in one write."""
        if self._db is None:
            text = f"the registry {self._path} is not open"
            raise StoreError(text, remedy="Open it first.")
        table = self._db.table(_TABLE)
        changed = sorted(changed_refs(self._view, after))
        known = [self._ids[ref] for ref in changed if ref in self._ids]
        ids = {ref: number for ref, number in self._ids.items() if ref in after.stored}
        following = max(self._ids.values(), default=0) + 1
        for ref in changed:
            if ref in after.stored and ref not in ids:
                ids[ref], following = following, following + 1
        if changed:
            with self._storage.batch():
                table.remove(doc_ids=known)
                table.insert_multiple(Row(after.stored[ref].row(), ids[ref]) for ref in changed if ref in after.stored)
        self._view, self._ids = after, ids

    def _load(self, tables: Tables) -> None:
        rows = tables.get(_TABLE, {})
        try:
            view = read_rows(rows.values(), self._new_uid)
        except InvalidManifest as error:
            text = f"{self._path} holds documents that this release cannot read:\n{error}"
            raise StoreCorrupt(text, remedy="Correct them in the file, or restore the file from a backup.") from error
        self._view = view
        self._ids = {ref: int(number) for ref, number in zip(view.stored, rows, strict=True)}
        if self._storage.edited:
            self._accept_edit(view)

    def _accept_edit(self, edited: RegistryView) -> None:
        """Treat an edit by hand as an apply: same uid, a higher generation where a spec changed."""
        before = self._storage.before_edit
        try:
            base = read_rows(before.get(_TABLE, {}).values(), self._new_uid) if before else edited
        except InvalidManifest:
            base = edited
        after, outcome = applied(base, [one.document for one in edited.stored.values()], self._new_uid)
        kept = RegistryView({ref: after.stored[ref] for ref in edited.stored})
        self._ids = {ref: number for number, ref in enumerate(kept.stored, 1)}
        rows = {str(self._ids[ref]): one.row() for ref, one in kept.stored.items()}
        self._storage.write({_TABLE: rows})
        self._view = kept
        refs = [str(one.ref) for one in outcome.changed] + [
            f"{ref} (deleted)" for ref in base.stored.keys() - kept.stored.keys()
        ]
        _log.warning("%s: changed by hand: %s", self._path, ", ".join(refs) or "nothing that counts")

    def _fault(self, tables: Tables) -> str:
        """Say in one line why tables that a person edited cannot be used; empty if they can."""
        strangers = sorted(tables.keys() - {_TABLE})
        if strangers:
            return f"its table {strangers[0]} is not known"
        try:
            problems = list(broken_references(read_rows(tables.get(_TABLE, {}).values(), self._new_uid)))
        except InvalidManifest as error:
            problems = list(error.problems)
        texts = [f"{problem.source}: {problem.path}: {problem.text}" for problem in problems]
        return f"it was edited by hand, with problems: {'; '.join(texts)}" if texts else ""


def _diff(old: Stored | None, new: Document) -> str:
    import difflib  # memory that only who asks for a diff should pay

    before = dump(old.document.raw).splitlines(keepends=True) if old else []
    after = dump(new.raw).splitlines(keepends=True)
    return "".join(difflib.unified_diff(before, after, f"{new.ref} (now)", f"{new.ref} ({new.place})"))
