"""What an open page is told, as server-sent events: the twins that it shows, how many there are, how the place is.

    board ──> names that changed ──> those that are shown ──> one event, when the browser has taken the one before

What waits for a browser is only names, at most those of one page of twins: a slow one misses values, never the newest.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from contextlib import AsyncExitStack, aclosing
from dataclasses import asdict
from typing import Final

from pydantic import BaseModel
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from twin.errors import EdgetwinError
from twin.page.board import Board
from twin.page.listing import Listing, Wish, listing

PAUSE_S: Final = 0.25
"""At most four events of twins a second."""
LISTING_S: Final = 1.0
"""How often twins are sorted and counted anew."""
STATUS_S: Final = 2.0
SEND_S: Final = 20.0
"""How long a browser may take nothing."""

Part = Callable[[], Awaitable[BaseModel | None]]
"""Asks for one part of how the place is."""


class Live:
    """One open page."""

    def __init__(
        self, board: Board | None, wish: Wish, parts: dict[str, Part], may_stay: Callable[[], Awaitable[bool]]
    ) -> None:
        self._board = board
        self._wish = wish
        self._parts = parts
        self._may_stay = may_stay
        self._shown = Listing()
        self._changed: set[str] = set()
        self._stale = True
        self._news = asyncio.Event()

    async def events(self) -> AsyncGenerator[bytes, None]:
        """All events, until the visitor may stay no more, or the board has ended."""
        async with AsyncExitStack() as stack:
            if self._board is not None:
                await stack.enter_async_context(self._board.looking(self._on_change))
            listed_s = asked_s = -LISTING_S - STATUS_S
            while self._board is None or not self._board.ended:
                now_s = time.monotonic()
                if self._board is not None and self._stale and now_s - listed_s >= LISTING_S:
                    listed_s = now_s
                    for event in self._listed(self._board):
                        yield event
                if self._board is not None and (told := self._told(self._board)) is not None:
                    yield told
                if now_s - asked_s >= STATUS_S:
                    asked_s = now_s
                    if not await self._stays():
                        yield _event("logout", b"{}")
                        return
                    for name, part in self._parts.items():
                        yield await _part(name, part)
                await self._pause(asked_s + STATUS_S - time.monotonic())

    async def _stays(self) -> bool:
        """Whether the visitor may stay; if nobody can say so just now, it may until somebody can."""
        try:
            return await self._may_stay()
        except EdgetwinError:
            return True

    def _on_change(self, names: Iterable[str]) -> None:
        self._stale = True
        shown = self._shown.names
        self._changed.update(name for name in names if name in shown)
        self._news.set()

    async def _pause(self, most_s: float) -> None:
        await asyncio.sleep(PAUSE_S)
        try:
            async with asyncio.timeout(max(0.0, most_s - PAUSE_S)):
                await self._news.wait()
        except TimeoutError:
            pass
        self._news.clear()

    def _listed(self, board: Board) -> Iterable[bytes]:
        if not (board.ready or board.trouble):
            return
        self._stale = False
        now = listing(board.twins, self._wish)
        before, self._shown = self._shown, now
        self._changed.update(name for name in now.names if name not in before.names)
        if now != before or board.trouble or not before.names:
            said = {**asdict(now), "trouble": board.trouble}
            yield _event("listing", json.dumps(said).encode())

    def _told(self, board: Board) -> bytes | None:
        twins = board.twins
        changed = [name for name in self._shown.names if name in self._changed]
        self._changed.clear()
        if not changed:
            return None
        bodies = [twins[name].model_dump_json(exclude_defaults=True).encode() for name in changed if name in twins]
        return _event("twins", b'{"now":%d,"twins":[%b]}' % (time.time_ns() // 1_000_000, b",".join(bodies)))


async def _part(name: str, part: Part) -> bytes:
    try:
        said = await part()
    except EdgetwinError as error:
        failed = {"trouble": error.message, "remedy": error.remedy}
        return _event(name, json.dumps(failed).encode())
    return _event(name, b"null" if said is None else said.model_dump_json().encode())


def _event(name: str, line: bytes) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (name.encode(), line)


class Shared:
    """One answer, or one failure, for all who ask within a moment: they stand in a line."""

    def __init__(self, ask: Part, fresh_s: float = STATUS_S / 2) -> None:
        self._ask = ask
        self._fresh_s = fresh_s
        self._asked_s = -fresh_s
        self._answer: BaseModel | None = None
        self._failure: EdgetwinError | None = None
        self._lock = asyncio.Lock()

    async def __call__(self) -> BaseModel | None:
        """The answer. Raises EdgetwinError."""
        async with self._lock:
            if time.monotonic() - self._asked_s >= self._fresh_s:
                try:
                    self._answer, self._failure = await self._ask(), None
                except EdgetwinError as error:
                    self._failure = error
                self._asked_s = time.monotonic()
            if self._failure is not None:
                raise self._failure.with_traceback(None)
            return self._answer


class EventStream(Response):
    """Sends events until the browser goes, or takes nothing for too long."""

    media_type = "text/event-stream"

    def __init__(self, events: AsyncGenerator[bytes, None], on_end: Callable[[], None]) -> None:
        super().__init__(headers={"cache-control": "no-store", "x-accel-buffering": "no"})
        self._events = events
        self._on_end = on_end
        del self.headers["content-length"]

    async def __call__(self, _: Scope, receive: Receive, send: Send) -> None:
        """Send."""
        sending = asyncio.ensure_future(self._send_all(send))
        going = asyncio.ensure_future(_gone(receive))
        try:
            await asyncio.wait({sending, going}, return_when=asyncio.FIRST_COMPLETED)
            if sending.done():
                sending.result()
        finally:
            sending.cancel()
            going.cancel()
            await asyncio.gather(sending, going, return_exceptions=True)
            self._on_end()

    async def _send_all(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        try:
            async with aclosing(self._events) as events:
                async for event in events:
                    async with asyncio.timeout(SEND_S):
                        await send({"type": "http.response.body", "body": event, "more_body": True})
        except TimeoutError:
            return  # it sleeps, or is gone: it comes again when it wakes
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
