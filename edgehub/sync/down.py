"""Messages in: read at once, kept in order until the session takes them; bounded, for the other side repeats."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from typing import Final

from twin.errors import InvalidMessage
from twin.exchange import Documents, SyncMessage
from twin.link import Message
from twin.wire.sync import decode_json, unpacked

_WHAT: Final = "a message of the cloud"

log = logging.getLogger(__name__)

MAX_MESSAGES: Final = 256
MAX_BYTES: Final = 32 * 1024 * 1024
"""What waits at most; what comes beyond is dropped, and asked for again."""


class Down:
    """The messages that wait. ``wake`` is called for each one that comes."""

    def __init__(self, wake: Callable[[], None]) -> None:
        self._wake = wake
        self._waiting: deque[tuple[SyncMessage, int]] = deque()
        self._bytes = 0
        self.heard_at_s = 0.0
        """When something was heard last, in the loop's time."""
        self.dropped = 0
        self.messages = 0
        self.bytes = 0
        """Of JSON, once it is unpacked."""
        self.payload_bytes = 0

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def on_message(self, message: Message) -> None:
        """Take one message of the link."""
        size = len(message.payload)
        self.messages += 1
        self.payload_bytes += size
        if len(self._waiting) >= MAX_MESSAGES or self._bytes + size > MAX_BYTES:
            self.dropped += 1
            log.debug("a message of the cloud is dropped, %d wait", len(self._waiting))
            return
        try:
            body = unpacked(message.payload, what=_WHAT)
            self.bytes += len(body)
            read = decode_json(body, what=_WHAT)
        except InvalidMessage as error:
            self.dropped += 1
            log.warning("%s", error)
            return
        self.heard_at_s = asyncio.get_running_loop().time()
        self._waiting.append((read, size))
        self._bytes += size
        self._wake()

    def take(self) -> SyncMessage:
        """The oldest that waits; documents that came in several messages are one, for each costs a whole write."""
        message = self._next()
        if isinstance(message, Documents) and (message.rows or message.wanted):
            rows, wanted = [*message.rows], [*message.wanted]
            while self._waiting and _goes_on(message, self._waiting[0][0]):
                more = self._next()
                assert isinstance(more, Documents)
                rows += more.rows
                wanted += more.wanted
            message = Documents(message.session, tuple(rows), tuple(wanted))
        return message

    def _next(self) -> SyncMessage:
        message, size = self._waiting.popleft()
        self._bytes -= size
        return message

    def forget(self) -> None:
        """Drop all that waits; it is of a connection that is over."""
        self._waiting.clear()
        self._bytes = 0


def _goes_on(message: Documents, following: SyncMessage) -> bool:
    """Whether it only brings more; one without anything says that all is there."""
    if not isinstance(following, Documents) or following.session != message.session:
        return False
    return bool(following.rows or following.wanted)
