"""The edge's end of the exchange of documents.

session begins ──digests──> cloud ──Documents──> joined, checked, on disk ──> twins follow; what is wanted goes up
changed here ──Documents──> cloud; digests follow a moment later, for Documents are not acknowledged
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from typing import Final, Protocol

from edgehub.agreeing import Agreement
from twin.exchange import (
    FRAME_BYTES,
    DocumentDigests,
    DocumentRef,
    DocumentRow,
    Documents,
    DocumentState,
    Place,
    SyncMessage,
)
from twin.manifest.agreement import summary

AGAIN_S: Final = 3.0
"""How long after a change of documents here the digests follow."""
ANSWER_S: Final = 10.0
SETTLED_S: Final = 0.3
"""How long after documents came the hash is compared again."""
_FOREVER: Final = float("inf")
_MAX_ROWS: Final = 200


class LocalDocuments(Protocol):
    """The gateway's documents, as the exchange needs them."""

    def states(self) -> Sequence[DocumentState]:
        """Of every document that was ever heard of."""
        ...

    def rows(self, refs: Iterable[DocumentRef]) -> list[DocumentRow]:
        """Documents with their content."""
        ...

    def own_twins(self) -> tuple[Place, ...]:
        """The twins that are made without a document."""
        ...

    async def agree(self, rows: Sequence[DocumentRow]) -> Agreement:
        """Take rows of the cloud; on disk, and served, when it returns. Raises StoreError."""
        ...


class DocumentExchange:
    """One gateway's. ``due_at_s`` is when the digests go next, in the loop's time."""

    def __init__(self, local: LocalDocuments, send: Callable[[SyncMessage], None]) -> None:
        self._local = local
        self._send = send
        self._session = ""
        self.agreed = False
        """Whether the cloud has answered the digests of this session."""
        self.due_at_s = _FOREVER

    def begin(self, session: str, now_s: float) -> None:
        """A session begins: compare all."""
        self._session = session
        self.agreed = False
        self.compare(now_s)

    def end(self) -> None:
        """The session is over."""
        self._session = ""
        self.due_at_s = _FOREVER

    def compare(self, now_s: float, *, whole: bool = False) -> None:
        """Send one hash over all documents, or what is here of each; and again if no answer comes."""
        if self._session:
            states = tuple(self._local.states())
            said, hashed = (states, "") if whole else ((), summary(states))
            self._send(DocumentDigests(self._session, said, self._local.own_twins(), hashed))
            self.due_at_s = now_s + ANSWER_S

    def changed(self, refs: Iterable[DocumentRef], now_s: float) -> None:
        """Documents were changed here."""
        if self._session:
            self._send_rows(self._local.rows(refs))
            self.due_at_s = min(self.due_at_s, now_s + AGAIN_S)

    async def take(self, message: Documents, now_s: float) -> None:
        """Take documents of the cloud, and send what it lacks. Raises StoreError; the digests bring them again."""
        wanted: tuple[DocumentRef, ...] = ()
        answer: tuple[DocumentRef, ...] = ()
        if message.rows:
            agreement = await self._local.agree(message.rows)
            wanted, answer = agreement.wanted, agreement.answer
        if message.rows or message.wanted:
            self.due_at_s = now_s + SETTLED_S  # the hash once more: it is answered when all of this has been taken
        else:
            self.agreed = True
            self.due_at_s = _FOREVER
        self._send_rows(self._local.rows(dict.fromkeys((*answer, *message.wanted))), wanted)

    def _send_rows(self, rows: Sequence[DocumentRow], wanted: tuple[DocumentRef, ...] = ()) -> None:
        part: list[DocumentRow] = []
        left_bytes = FRAME_BYTES
        for row in rows:
            size = len(json.dumps(row.raw)) if row.raw is not None else 100
            if part and (size > left_bytes or len(part) == _MAX_ROWS):
                self._send(Documents(self._session, tuple(part)))
                part, left_bytes = [], FRAME_BYTES
            part.append(row)
            left_bytes -= size
        if part or wanted:
            self._send(Documents(self._session, tuple(part), wanted))
