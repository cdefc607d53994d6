"""Messages out: written, counted, handed to the link; what the link does not take is said again later."""

from __future__ import annotations

import asyncio
import logging
from typing import Final

from twin.errors import InvalidMessage, LinkError
from twin.exchange import SyncMessage
from twin.link import Link
from twin.wire import topics
from twin.wire.codec import encode as encode_state
from twin.wire.messages import MapperState
from twin.wire.sync import encode_json, packed

log = logging.getLogger(__name__)

BIRTH: Final = encode_state(MapperState(online=True))
DEATH: Final = encode_state(MapperState(online=False))


class Up:
    """Speaks on the gateway's topic, while there is a link."""

    def __init__(self, gateway: str) -> None:
        self._topic = topics.sync_up(gateway)
        self._state_topic = topics.sync_state(gateway)
        self._link: Link | None = None
        self.said_at_s = 0.0
        """When something was said last, in the loop's time."""
        self.messages = 0
        self.bytes = 0
        """Of JSON, before it is compressed."""
        self.payload_bytes = 0

    def bind(self, link: Link | None) -> None:
        """Speak over this link from now on; over none, everything is dropped."""
        self._link = link

    def send(self, message: SyncMessage) -> None:
        """Send one message, or drop it as the line might."""
        if self._link is None:
            return
        try:
            body = encode_json(message)
            payload = packed(body)
            self._link.publish(self._topic, payload, qos=1)
        except InvalidMessage as error:
            log.error("%s", error)  # the text says all; a value that cannot travel must not stop the others
            return
        except LinkError as error:
            log.debug("a %s is said again later: %s", type(message).__name__, error.message)
            return
        self.said_at_s = asyncio.get_running_loop().time()
        self.messages += 1
        self.bytes += len(body)
        self.payload_bytes += len(payload)

    def tell_state(self, *, online: bool) -> None:
        """Publish the birth, or the death of a gateway that leaves by itself."""
        if self._link is not None:
            try:
                self._link.publish(self._state_topic, BIRTH if online else DEATH, qos=1, retain=True)
            except LinkError as error:
                log.debug("the state is not told: %s", error.message)
