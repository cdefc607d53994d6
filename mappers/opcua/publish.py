"""Keeps several publish requests with the server at any time, so that no subscription starves behind another.

asyncua has one in flight: 24 000 notifications a second at best, and whole nodes unheard on a busy machine.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Final

from asyncua import ua
from asyncua.client.ua_session import UaSession
from asyncua.ua.status_codes import StatusCodes
from asyncua.ua.uaerrors import UaStatusCodeError

from mappers.opcua.notification import NotADataChange, Published, read_publish
from mappers.opcua.values import read_variant

log = logging.getLogger(__name__)

_PASSING: Final = frozenset({StatusCodes.BadTimeout, StatusCodes.BadSequenceNumberUnknown})
_MAX_ACKS: Final = 10_000
_PAUSE_S: Final = 0.5  # after a refusal that may pass, so that a confused server is not asked in a tight loop


class WindowedSession(UaSession):
    """asyncua's session with a window of publish requests in place of its one loop."""

    def ensure_publish_loop(self) -> None:
        """Start no loop of one request: the window asks."""

    async def ask_publish(self, acks: list[ua.SubscriptionAcknowledgement]) -> bytes:
        """Send one publish request; the body of its answer, which comes when the server has something to say."""
        request = ua.PublishRequest()
        request.Parameters.SubscriptionAcknowledgements = acks
        return bytes(await self._send_request(request, timeout=0))


class PublishWindow:
    """The publish requests of one session."""

    def __init__(
        self,
        session: WindowedSession,
        size: int,
        on_published: Callable[[Published], None],
        on_lost: Callable[[str], None],
    ) -> None:
        self._session = session
        self._size = size
        self._on_published = on_published
        self._on_lost = on_lost
        self._tasks: set[asyncio.Task[None]] = set()
        self._others: set[asyncio.Task[None]] = set()
        self._acks: list[ua.SubscriptionAcknowledgement] = []

    def fill(self) -> None:
        """Have as many requests in flight as the window holds; call it when there is a subscription."""
        while len(self._tasks) < self._size:
            task = asyncio.create_task(self._ask(), name="OPC UA publish")
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def also(self, call: Coroutine[None, None, None]) -> None:
        """Run a call beside the requests; it ends with the window."""
        task = asyncio.create_task(call, name="OPC UA republish")
        self._others.add(task)
        task.add_done_callback(self._others.discard)

    async def close(self) -> None:
        """End all requests."""
        tasks = [*self._tasks, *self._others]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=1)
        self._acks.clear()

    async def _ask(self) -> None:
        while True:
            acks, self._acks = self._acks, []
            try:
                published = read_publish(await self._session.ask_publish(acks), read_variant)
            except NotADataChange as error:
                log.warning("a publish response was not understood: %s", error)
                continue
            except UaStatusCodeError as error:
                if error.code in _PASSING:
                    await asyncio.sleep(_PAUSE_S)
                    continue
                if error.code == StatusCodes.BadTooManyPublishRequests and len(self._tasks) > 1:
                    return  # the server takes fewer; what is in flight goes on
                if error.code != StatusCodes.BadNoSubscription:
                    self._on_lost(str(error))
                return
            except (OSError, TimeoutError) as error:
                self._on_lost(str(error) or type(error).__name__)
                return
            if published.has_notification and len(self._acks) < _MAX_ACKS:
                ack = ua.SubscriptionAcknowledgement(
                    SubscriptionId=ua.UInt32(published.subscription), SequenceNumber=ua.UInt32(published.number)
                )
                self._acks.append(ack)
            self._on_published(published)
