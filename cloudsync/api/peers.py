"""Which workers are there, and which of them is to answer a request that all of them get.

Mosquitto delivers no topic that begins with `$` to a shared subscription (2.0.11, tried), so AWS's requests reach every
worker. Each worker says every second that it is there; of those that are, a hash of worker and thing chooses one. While
one comes or goes a request may be answered twice or not at all, as with any at-least-once sender.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
from collections.abc import Callable
from types import TracebackType
from typing import Annotated, Final, Self

from pydantic import Field

from twin.clock import Clock
from twin.errors import InvalidMessage, LinkError
from twin.link import Link, Message
from twin.wire import codec, topics
from twin.wire.messages import Wire

SAY_S: Final = 1.0
GONE_S: Final = 3.5
NEW_S: Final = 0.3
"""A new worker leaves requests to the others for so long, in which it hears of them."""

_TOPIC: Final = topics.worker("peers")
_MAX_PEERS: Final = 1000

log = logging.getLogger(__name__)


class Present(Wire):
    """A worker is there, or leaves."""

    worker: Annotated[str, Field(min_length=1, max_length=200)]
    leaves: bool = False


class Peers:
    """The workers of a cloud, as one of them hears of them."""

    def __init__(self, link: Link, name: str, clock: Clock) -> None:
        self._link = link
        self._name = name
        self._clock = clock
        self._heard_s: dict[str, float] = {}
        self._ready_s = 0.0
        self._stop: Callable[[], None] | None = None
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        """Say hello."""
        self._stop = await self._link.subscribe(_TOPIC, self._on_message, qos=0)
        self._ready_s = self._clock.monotonic_s() + NEW_S
        self._task = asyncio.create_task(self._run(), name="peers")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Say goodbye."""
        self._say(leaves=True)
        if self._stop is not None:
            self._stop()
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})

    def owns(self, subject: str) -> bool:
        """Whether it is this worker's turn to care for a subject."""
        now_s = self._clock.monotonic_s()
        if now_s < self._ready_s and self._heard_s:
            return False
        alive = [name for name, heard_s in self._heard_s.items() if now_s - heard_s < GONE_S]
        return max([*alive, self._name], key=lambda name: _weight(name, subject)) == self._name

    async def _run(self) -> None:
        while True:
            self._say()
            await asyncio.sleep(SAY_S)

    def _say(self, *, leaves: bool = False) -> None:
        with contextlib.suppress(LinkError):  # the next second may be better
            self._link.publish(_TOPIC, codec.encode(Present(worker=self._name, leaves=leaves)))

    def _on_message(self, message: Message) -> None:
        try:
            said = codec.decode(Present, message.payload, what="presence of a worker")
        except InvalidMessage as error:
            log.debug("%s", error)
            return
        if said.worker == self._name:
            return
        if said.leaves:
            self._heard_s.pop(said.worker, None)
            return
        new = said.worker not in self._heard_s
        if new and len(self._heard_s) >= _MAX_PEERS:
            now_s = self._clock.monotonic_s()
            self._heard_s = {name: at_s for name, at_s in self._heard_s.items() if now_s - at_s < GONE_S}
        self._heard_s[said.worker] = self._clock.monotonic_s()
        if new:
            self._say()  # it should not have to wait to hear of us


def _weight(name: str, subject: str) -> bytes:
    return hashlib.blake2b(f"{name}\0{subject}".encode(), digest_size=8).digest()
