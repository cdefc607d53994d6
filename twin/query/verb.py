"""The verb ``query``. An answer holds every write that was acknowledged before the question: both mean the disk."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from twin.api import Caller, Served
from twin.errors import InvalidQuery, QueryAborted
from twin.model import TwinKey
from twin.query.reader import Answer, SqliteReader
from twin.wire.api import QueryReply, QueryRequest, Verb

if TYPE_CHECKING:
    from twin.query.plan import Plan

MAX_WAIT_S: Final = 5.0
"""For the queries that came before."""


class QueryVerb:
    """query on a store's file; one at a time, on a thread, so that neither loop nor disk is taken over."""

    def __init__(self, reader: SqliteReader, *, max_wait_s: float = MAX_WAIT_S) -> None:
        self._reader = reader
        self._max_wait_s = max_wait_s
        self._turn = asyncio.Lock()

    def verbs(self) -> dict[Verb, Served[QueryRequest]]:
        """What an ApiServer is to serve."""
        return {Verb.QUERY: Served(QueryRequest, self.query)}

    async def query(self, request: QueryRequest, _: Caller) -> QueryReply:
        """Rows of the twins that fit. Raises InvalidQuery, QueryAborted, StoreError."""
        try:
            async with asyncio.timeout(self._max_wait_s):
                await self._turn.acquire()
        except TimeoutError:
            message = f"other queries have kept the gateway busy for {self._max_wait_s:g} s"
            raise QueryAborted(message, remedy="Ask again later, or less often.") from None
        try:
            return await asyncio.to_thread(answer, self._reader, request)
        finally:
            self._turn.release()


def answer(reader: SqliteReader, request: QueryRequest) -> QueryReply:
    """Parse, run and answer; blocks. Raises InvalidQuery, QueryAborted, StoreError."""
    plan, after = planned(request)
    return query_reply(reader.run(plan, rows=request.limit, after=after))


def planned(request: QueryRequest) -> tuple[Plan, TwinKey | None]:
    """The plan of a request, and where its page begins. Raises InvalidQuery."""
    from twin.query.parse import parse  # sqlglot costs memory and time that only those who query should pay

    plan = parse(request.query)
    after = TwinKey.parse(request.after) if request.after else None
    if after is not None and not plan.pageable:
        message = "`after` goes with neither ORDER BY, LIMIT, GROUP BY nor COUNT(*)"
        raise InvalidQuery(message, remedy="Leave them out: pages come in the order of the keys.")
    return plan, after


def query_reply(found: Answer) -> QueryReply:
    """An answer as clients see it."""
    return QueryReply(
        columns=list(found.columns),
        rows=found.rows,
        more=found.more,
        after=str(found.after) if found.after is not None else "",
        units=list(found.units) if any(found.units) else [],
    )
