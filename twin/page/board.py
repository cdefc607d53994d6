"""All twins of one place as they are now, while somebody looks: one watch, however many pages are open."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Final

from twin.client import TwinClient
from twin.errors import EdgetwinError
from twin.wire.api import TwinBody, WatchEvent

log = logging.getLogger(__name__)

EVERY_MS: Final = 250
"""A twin is told of at most four times a second."""
RETRY_S: Final = 2.0
LINGER_S: Final = 20.0
"""A board goes on for so long after its last page was closed: people go from one view to the next."""

OnChange = Callable[[Iterable[str]], None]
"""Told the names of the twins that have changed, or are there no more."""


class Board:
    """The twins of a gateway, or of all that there are; of one kind, or of all."""

    def __init__(self, client: Callable[[], Awaitable[TwinClient]], gateway: str, kind: str = "") -> None:
        self._client = client
        self._gateway = gateway
        self._kind = kind
        self._watchers: set[OnChange] = set()
        self.twins: dict[str, TwinBody] = {}
        self.ready = False
        """Whether all twins are here."""
        self.trouble = ""
        """What keeps it from being told."""
        self.ended = False
        """Whether it is followed no more: who looks must ask for another."""

    @property
    def watched(self) -> bool:
        """Whether anybody looks."""
        return bool(self._watchers)

    @asynccontextmanager
    async def looking(self, on_change: OnChange) -> AsyncIterator[None]:
        """Tell of changes while the block runs."""
        self._watchers.add(on_change)
        try:
            yield
        finally:
            self._watchers.discard(on_change)

    async def follow(self) -> None:
        """Follow the twins until cancelled; what breaks off begins anew."""
        while True:
            try:
                client = await self._client()
                async with client.watch(gateway=self._gateway, kind=self._kind, every_ms=EVERY_MS) as events:
                    found: set[str] = set()
                    async for event in events:
                        if event.restarted:
                            found.clear()
                            self.ready = False
                        self._take(event, found)
            except EdgetwinError as error:
                log.debug("the twins are not told: %s", error)
                self.trouble, self.ready = error.message, False
                self._tell(())
            await asyncio.sleep(RETRY_S)

    def _take(self, event: WatchEvent, found: set[str]) -> None:
        bodies = event.twins or ([event.body] if event.body is not None else [])
        gone = event.gone or ([event.twin] if event.twin and event.body is None else [])
        for body in bodies:
            self.twins[body.twin] = body
        if not self.ready:
            found.update(body.twin for body in bodies)
        if event.ready:
            gone = [*gone, *(self.twins.keys() - found)]
            self.ready, self.trouble = True, ""
        for name in gone:
            self.twins.pop(name, None)
        self._tell([*(body.twin for body in bodies), *gone])

    def _tell(self, names: Iterable[str]) -> None:
        for tell in tuple(self._watchers):
            tell(names)


class Boards:
    """The boards that are open: one for each place, and for each account that sees it."""

    def __init__(self) -> None:
        self._boards: dict[tuple[str, ...], Board] = {}
        self._tasks: dict[tuple[str, ...], asyncio.Task[None]] = {}

    def of(self, account: str, gateway: str, client: Callable[[], Awaitable[TwinClient]], kind: str = "") -> Board:
        """The board of a place, of twins of one kind or of all; it is followed from now on."""
        key = (account, gateway, kind)
        if key not in self._boards:
            board = self._boards[key] = Board(client, gateway, kind)
            self._tasks[key] = asyncio.create_task(self._keep(key, board), name=f"board of {account} {gateway}")
        return self._boards[key]

    async def close(self) -> None:
        """Follow nothing any more."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _keep(self, key: tuple[str, ...], board: Board) -> None:
        following = asyncio.create_task(board.follow(), name="twins of a board")
        try:
            unseen_s = 0.0
            while unseen_s < LINGER_S:
                await asyncio.wait({following}, timeout=RETRY_S)
                if following.done():
                    following.result()
                unseen_s = 0.0 if board.watched else unseen_s + RETRY_S
        except Exception:  # a supervisor boundary: the next page begins a new board
            log.exception("a board has failed")
        finally:
            board.ended = True
            self._boards.pop(key, None)
            self._tasks.pop(key, None)
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)
