"""Who learns that twins have changed: hints of the worker that committed, and a look at all gateways each second.

A hint may be lost with the worker that wanted to give it; the positions in the store are not.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Collection
from typing import Final

from cloudsync.hints import read_hint
from cloudsync.store import CloudStore, Position
from twin.errors import StoreError
from twin.link import Link, Message
from twin.model import TwinKey
from twin.wire import topics

POLL_S: Final = 1.0
KEYS: Final = 1000
"""Changed twins that are read at once."""

_START: Final = Position(0, 0, 0)

log = logging.getLogger(__name__)

Listener = Callable[[str, Collection[TwinKey], bool], None]
"""Told of a gateway, the twins of it that changed, and whether any other may have changed as well."""


class Follower:
    """Follows all gateways for as long as anybody listens."""

    def __init__(self, store: CloudStore, link: Link) -> None:
        self._store = store
        self._link = link
        self._listeners: dict[object, Listener] = {}
        self._positions: dict[str, Position] | None = None
        self._begun = asyncio.Lock()
        self._hinted: set[str] = set()
        self._news = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._stop_hints: Callable[[], None] | None = None

    async def open(self) -> None:
        """Listen to hints, and begin to look."""
        self._stop_hints = await self._link.subscribe(topics.worker("changed"), self._on_hint, qos=0)
        self._task = asyncio.create_task(self._run(), name="follower of gateways")

    async def close(self) -> None:
        """Stop."""
        if self._stop_hints is not None:
            self._stop_hints()
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})

    async def listen(self, listener: Listener) -> Callable[[], None]:
        """Tell the listener of all that changes from now on; returns how to stop. Raises StoreError."""
        place = object()
        self._listeners[place] = listener
        try:
            async with self._begun:
                if self._positions is None:
                    self._positions = await self._store.positions()
        except BaseException:
            del self._listeners[place]
            raise

        def stop() -> None:
            self._listeners.pop(place, None)

        return stop

    def _on_hint(self, message: Message) -> None:
        if self._listeners:
            self._hinted |= read_hint(message.payload)
            self._news.set()

    async def _run(self) -> None:
        failing = False
        loop = asyncio.get_running_loop()
        look_at_s = loop.time() + POLL_S
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(look_at_s):
                    await self._news.wait()
            self._news.clear()
            hinted, self._hinted = self._hinted, set()
            if not self._listeners:
                self._positions = None  # nobody would be told; who comes next begins from then
                look_at_s = loop.time() + POLL_S
                continue
            try:
                if loop.time() >= look_at_s:
                    look_at_s = loop.time() + POLL_S
                    hinted.update(await self._advanced())
                for gateway in hinted:
                    await self._tell(gateway)
            except StoreError as error:
                log.log(logging.DEBUG if failing else logging.WARNING, "watches wait for the store: %s", error)
                failing = True
            else:
                failing = False

    async def _advanced(self) -> list[str]:
        known = self._positions
        if known is None:
            return []
        now = await self._store.positions()
        return [gateway for gateway, position in now.items() if known.get(gateway, _START) != position]

    async def _tell(self, gateway: str) -> None:
        while (known := self._positions) is not None:
            found = await self._store.changed(gateway, known.get(gateway, _START), limit=KEYS)
            known[gateway] = found.upto
            if found.keys or found.all:
                for listener in tuple(self._listeners.values()):
                    listener(gateway, found.keys, found.all)
            if not found.more:
                return
