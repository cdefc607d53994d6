"""Changes of the documents, one at a time: from people and from the cloud; the twins and the mappers follow each."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Sequence

from edgehub.agreeing import Agreement
from edgehub.documents import Documents
from twin.api import Caller
from twin.engine import TwinEngine
from twin.errors import StoreError
from twin.exchange import DocumentRef, DocumentRow, DocumentState, Place
from twin.model import Kind
from twin.wire.api import ApplyMode, ApplyReply, ApplyRequest

log = logging.getLogger(__name__)

_UNDOCUMENTED = frozenset({Kind.MAPPER, Kind.GATEWAY, Kind.ROUTE, Kind.ALARM, Kind.PUSH})


class Applying:
    """``follow`` makes twins and mappers what the documents say. Raises StoreError if the twins cannot be written."""

    def __init__(self, documents: Documents, engine: TwinEngine, follow: Callable[[], Awaitable[None]]) -> None:
        self._documents = documents
        self._engine = engine
        self._follow = follow
        self._lock = asyncio.Lock()
        self.on_change: Callable[[Sequence[DocumentRef]], None] = lambda _: None
        """Told what was changed here, for the cloud."""

    async def apply(self, request: ApplyRequest, _: Caller) -> ApplyReply:
        """The verb. Raises InvalidDocuments with every problem; then nothing has changed."""
        async with self._lock:
            before = self._documents.books
            reply = await asyncio.to_thread(self._documents.apply, request)
            after = self._documents.books
            if request.dry_run or request.mode is ApplyMode.DIFF:
                return reply
            try:
                await self._follow()
            except StoreError as error:
                late = (
                    "the documents are on disk; their twins follow when the store takes changes again: " + error.message
                )
                reply = reply.model_copy(update={"warnings": [*reply.warnings, late]})
        self.on_change([ref for ref in after.refs() if after.state(ref) != before.state(ref)])
        return reply

    async def agree(self, rows: Sequence[DocumentRow]) -> Agreement:
        """Take documents of the cloud. Raises StoreError if the registry's disk refuses; nothing has changed then."""
        async with self._lock:
            agreement = await asyncio.to_thread(self._documents.agree, rows)
            if agreement.changed:
                try:
                    await self._follow()
                except StoreError as error:
                    log.warning("documents of the cloud are on disk, their twins follow later: %s", error.message)
        return agreement

    def states(self) -> Sequence[DocumentState]:
        """What is here of every document that was ever heard of."""
        return self._documents.states()

    def rows(self, refs: Iterable[DocumentRef]) -> list[DocumentRow]:
        """Documents with their content."""
        books = self._documents.books
        return [books.row(ref) for ref in refs]

    def own_twins(self) -> tuple[Place, ...]:
        """The twins that are made without a document."""
        return tuple((key, self._engine.spec(key).uid) for key in self._engine if key.kind in _UNDOCUMENTED)
