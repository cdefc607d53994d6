"""What is known of each document beside its content, and what becomes of documents that the cloud sends. Pure.

row of the cloud ──join──> ours stands ............................................ the cloud is told
                           theirs, and every check is content ..................... served
                           theirs, but a check refuses it, or its kind is no use .. kept aside; what was served stays
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from twin.exchange import DocumentRef, DocumentRow, DocumentState
from twin.manifest.agreement import Take, deleted, joined, replaced, unknown
from twin.manifest.catalog import RegistryView, Stored, changed_refs
from twin.manifest.document import MESH, DocumentKind, Ref
from twin.manifest.problems import InvalidManifest, Problem
from twin.manifest.read import read_parsed
from twin.manifest.yaml import Parsed
from twin.model import Site, Value

NOT_OURS: Final = ""
"""Why a document of a kind that this release has no use for is kept aside."""

MADE_HERE: Final = "a Secret of this name was made at this gateway, and is used in its place"
_GUARDED: Final = DocumentKind.SECRET
"""Secrets that were made here are not told to the other site; those of the cloud, which are encrypted for this gateway
alone, are told as they came, and only the cloud changes them."""
_ORDER: Final = (
    *(DocumentKind.DEVICE_MODEL, DocumentKind.MAPPER, DocumentKind.CONNECTION, DocumentKind.DEVICE),
    *(DocumentKind.CONFIG_MAP, DocumentKind.SECRET, DocumentKind.POD),
    *(DocumentKind.SERVICE, DocumentKind.ENDPOINTS, DocumentKind.ENDPOINT_SLICE),
    *MESH,
    DocumentKind.PUSH,
)
Problems = Callable[[RegistryView], list[Problem]]


@dataclass(frozen=True, slots=True)
class Aside:
    """The content that both sites agree on while another one, or none, is served; ``why`` it is not."""

    uid: str
    generation: int
    hash: str
    raw: Mapping[str, Value] | None
    """None: it is to be deleted, and something needs it still."""
    why: str


@dataclass(frozen=True, slots=True)
class Known:
    """What is kept of one document beside its content."""

    gone: frozenset[str] = frozenset()
    by_cloud: bool = False
    """Whether the cloud wrote what is served, and so the desired values in it."""
    aside: Aside | None = None


@dataclass(frozen=True, slots=True)
class Books:
    """All documents that are served, and what is known of these and others."""

    view: RegistryView = field(default_factory=RegistryView)
    known: Mapping[DocumentRef, Known] = field(default_factory=dict)

    def refs(self) -> list[DocumentRef]:
        """Every document that was ever heard of, but for Secrets that were made here."""
        return sorted(ref for ref in {*map(wide, self.view.stored), *self.known} if not self._is_secret_of_here(ref))

    def _is_secret_of_here(self, ref: DocumentRef) -> bool:
        known = self.known.get(ref, Known())
        return ref.kind == _GUARDED and not known.by_cloud and known.aside is None

    def state(self, ref: DocumentRef) -> DocumentState:
        """What this site holds of one document, as it tells the other."""
        known = self.known.get(ref, Known())
        if known.aside is not None:
            aside = known.aside
            if aside.raw is None:
                return DocumentState(ref, "", 0, "", known.gone)
            return DocumentState(ref, aside.uid, aside.generation, aside.hash, known.gone)
        stored = self.stored(ref)
        if stored is None or self._is_secret_of_here(ref):
            return unknown(ref)._replace(gone=known.gone)
        return DocumentState(ref, stored.uid, stored.generation, stored.hash, known.gone)

    def row(self, ref: DocumentRef) -> DocumentRow:
        """The same with the content."""
        state, aside, stored = self.state(ref), self.known.get(ref, Known()).aside, self.stored(ref)
        if not state.uid:
            return DocumentRow(state, None)
        return DocumentRow(state, aside.raw if aside is not None else stored.document.raw if stored else None)

    def stored(self, ref: DocumentRef) -> Stored | None:
        """The document that is served."""
        return self.view.stored.get(narrow) if (narrow := _narrow(ref)) is not None else None


@dataclass(frozen=True, slots=True)
class Agreement:
    """What came of rows of the cloud."""

    books: Books
    changed: frozenset[DocumentRef]
    """Documents of which something is other than before."""
    answer: tuple[DocumentRef, ...]
    """Documents of which the cloud has to hear what is here."""
    wanted: tuple[DocumentRef, ...]
    """Documents whose content did not come."""


def wide(ref: Ref) -> DocumentRef:
    """The name of a document as both sites write it."""
    return DocumentRef(ref.kind.value, ref.namespace, ref.name)


def with_local(books: Books, after: RegistryView, new_uid: Callable[[], str]) -> Books:
    """What is known once this site has changed its documents to ``after``. A life that stands aside goes on."""
    stored, known = dict(after.stored), dict(books.known)
    for ref in changed_refs(books.view, after):
        name = wide(ref)
        had, state, new = known.get(name, Known()), books.state(name), stored.get(ref)
        if new is not None and had.aside is not None and had.aside.raw is not None:
            new = stored[ref] = replace(new, uid=state.uid, generation=max(new.generation, state.generation + 1))
        if new is not None and new.uid in state.gone:  # the other site has ended that life
            new = stored[ref] = replace(new, uid=new_uid(), generation=1)
        ended = deleted(state) if new is None else replaced(state, new.uid, new.generation, new.hash)
        known[name] = Known(gone=ended.gone)
    return Books(RegistryView(stored), _worth_keeping(known))


def carried(books: Books, ref: DocumentRef, raw: Mapping[str, Value] | None, *, uid: str, hash_: str) -> Books:
    """What is known once this site has written, or deleted (None), a document of a kind that has no use here yet."""
    state = books.state(ref)
    if raw is None:
        known = Known(deleted(state).gone)
    else:
        new = replaced(state, state.uid or uid, state.generation + 1, hash_)
        known = Known(new.gone, aside=Aside(new.uid, new.generation, hash_, raw, NOT_OURS))
    return Books(books.view, _worth_keeping({**books.known, ref: known}))


def agreed(books: Books, rows: Iterable[DocumentRow], problems: Problems) -> Agreement:
    """Take rows of the cloud, and try again what stands aside."""
    known, wishes = dict(books.known), _Wishes(books, problems)
    answer: list[DocumentRef] = []
    wanted: list[DocumentRef] = []
    for row in rows:
        ref = row.state.ref
        now = Books(books.view, known)
        own = now.state(ref)
        found = joined(own, row.state, site=Site.EDGE)
        if found.take is Take.THEIRS and row.raw is None:
            wanted.append(ref)
            continue
        if found.state != row.state:
            answer.append(ref)
        had = known.get(ref, Known())
        if found.take is Take.OWN:
            known[ref] = replace(had, gone=found.state.gone)
        else:
            state, raw = found.state, row.raw if found.take is Take.THEIRS else None
            known[ref] = Known(state.gone, had.by_cloud, Aside(state.uid, state.generation, state.hash, raw, NOT_OURS))
    view, whys = wishes.granted(known)
    for ref, why in whys.items():
        aside = known[ref].aside
        assert aside is not None
        known[ref] = replace(known[ref], aside=replace(aside, why=why)) if why is not None else _served(ref, known[ref])
    after = Books(view, _worth_keeping(known))
    refs = {*books.refs(), *after.refs()}
    changed = frozenset(ref for ref in refs if _differs(books, after, ref))
    return Agreement(after, changed, tuple(answer), tuple(wanted))


class _Wishes:
    """What stands aside, tried against the checks: all at once, then without those that are to blame, then singly."""

    def __init__(self, books: Books, problems: Problems) -> None:
        self._books = books
        self._problems = problems

    def granted(self, known: Mapping[DocumentRef, Known]) -> tuple[RegistryView, dict[DocumentRef, str | None]]:
        """The view with all that can be served, and why each of the others cannot; None for those that are."""
        wishes: dict[Ref, Stored | None] = {}
        whys: dict[DocumentRef, str | None] = {}
        for ref, one in known.items():
            aside, narrow = one.aside, _narrow(ref)
            if aside is None or (narrow is None and aside.raw is not None):
                continue
            whys[ref] = None
            if narrow is None:
                continue
            if ref.kind == _GUARDED and not one.by_cloud and narrow in self._books.view.stored:
                whys[ref] = NOT_OURS if aside.raw is None else MADE_HERE
                continue
            try:
                wishes[narrow] = None if aside.raw is None else _read(narrow, aside)
            except InvalidManifest as error:
                whys[ref] = _text(error.problems)
        view = self._all(wishes, whys)
        return view, whys

    def _all(self, wishes: dict[Ref, Stored | None], whys: dict[DocumentRef, str | None]) -> RegistryView:
        left = dict(wishes)
        while left:
            view = _over(self._books.view, left)
            found = self._problems(view)
            if not found:
                return view
            blamed = {ref for ref in left if any(one.source == str(ref) for one in found)}
            if not blamed:
                return self._singly(left, whys)
            for ref in blamed:
                whys[wide(ref)] = _text([one for one in found if one.source == str(ref)])
                del left[ref]
        return self._books.view

    def _singly(self, wishes: dict[Ref, Stored | None], whys: dict[DocumentRef, str | None]) -> RegistryView:
        """One after the other: what others need comes first and goes last."""
        view = self._books.view
        by_need = sorted(wishes, key=lambda ref: _ORDER.index(ref.kind))
        deletes = [ref for ref in reversed(by_need) if wishes[ref] is None]
        for ref in (*(ref for ref in by_need if wishes[ref] is not None), *deletes):
            tried = _over(view, {ref: wishes[ref]})
            found = self._problems(tried)
            if found:
                whys[wide(ref)] = _text(found)
            else:
                view = tried
        return view


def is_of_the_cloud(books: Books, ref: DocumentRef) -> bool:
    """Whether it is a Secret that the cloud has given, so that only the cloud changes it."""
    return ref.kind == _GUARDED and books.known.get(ref, Known()).by_cloud and books.stored(ref) is not None


def refused(books: Books) -> dict[DocumentRef, str]:
    """The documents of the cloud that cannot be served here, and why."""
    return {ref: one.aside.why for ref, one in sorted(books.known.items()) if one.aside is not None and one.aside.why}


def _narrow(ref: DocumentRef) -> Ref | None:
    return Ref(DocumentKind(ref.kind), ref.namespace, ref.name) if ref.kind in set(DocumentKind) else None


def _read(ref: Ref, aside: Aside) -> Stored:
    (document,) = read_parsed([Parsed(str(ref), dict(aside.raw or {}))]).documents
    if document.ref != ref:
        problem = Problem(str(ref), 0, "metadata", f"it came under this name and calls itself {document.ref}")
        raise InvalidManifest([problem])
    return Stored(document, aside.uid, aside.generation, aside.hash)


def _over(view: RegistryView, wishes: Mapping[Ref, Stored | None]) -> RegistryView:
    stored = {ref: one for ref, one in view.stored.items() if ref not in wishes}
    stored.update({ref: one for ref, one in wishes.items() if one is not None})
    return RegistryView(stored)


def _served(ref: DocumentRef, known: Known) -> Known:
    """That a Secret was the cloud's stays known when it is gone: the cloud goes on to be told that it is."""
    by_cloud = known.aside is not None and (known.aside.raw is not None or ref.kind == _GUARDED)
    return Known(known.gone, by_cloud=by_cloud)


def _text(problems: Sequence[Problem]) -> str:
    return "; ".join(f"{one.path}: {one.text}" if one.path else one.text for one in problems[:3])


def _differs(before: Books, after: Books, ref: DocumentRef) -> bool:
    return before.known.get(ref) != after.known.get(ref) or before.stored(ref) != after.stored(ref)


def _worth_keeping(known: Mapping[DocumentRef, Known]) -> dict[DocumentRef, Known]:
    return {ref: one for ref, one in known.items() if one != Known()}
