"""The link of a mapper that is not ours: what its documents do not give it is refused here, loudly.

The broker drops such messages without a word. This says who tried what.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final, Self

from mappers.sdk.config import HostSettings
from mappers.sdk.connection_twin import connection_twin
from twin.errors import EdgetwinError, LinkError
from twin.link import Handler, Link, LinkState, Message, Refused, StateHandler, Unheard, Unsubscribe
from twin.model import TwinKey
from twin.wire import codec, topics

log = logging.getLogger(__name__)

_MOST_PROBLEMS: Final = 20  # each is told once; further ones are only refused


class FencedLink:
    """A link on which an account publishes its own topics only. ``tell`` is called with each new problem."""

    def __init__(self, link: Link, account: str, tell: Callable[[str], None]) -> None:
        self._link = link
        self._account = account
        self._tell = tell
        self._reporters = (account, topics.simulated_reporter(account))
        self._own = {topics.mapper_state(account)}
        self._problems: set[str] = set()

    def learn(self, message: Message) -> None:
        """Take in settings of the hub. What was once its own stays so: a last report may be late."""
        try:
            settings = codec.decode(HostSettings, message.payload or b"{}", what=f"settings on {message.topic}")
        except EdgetwinError:
            return  # told by those who use them
        for connection in settings.connections:
            keys = [TwinKey.parse(device.twin) for device in connection.devices]
            own = connection_twin(connection.name)
            for key in (*keys, *((own,) if own else ())):
                self._own.update(topics.report(reporter, key) for reporter in self._reporters)

    async def __aenter__(self) -> Self:
        """Open the link behind."""
        await self._link.__aenter__()
        return self

    async def __aexit__(self, *exc: object) -> None:
        """Close the link behind."""
        await self._link.__aexit__(*exc)

    @property
    def state(self) -> LinkState:
        """Of the link behind."""
        return self._link.state

    def on_state(self, handler: StateHandler) -> Unsubscribe:
        """As the link behind."""
        return self._link.on_state(handler)

    async def connected(self, timeout_s: float) -> None:
        """As the link behind."""
        await self._link.connected(timeout_s)

    def publish(
        self,
        topic: str,
        payload: bytes,
        *,
        qos: int = 0,
        retain: bool = False,
        response_topic: str = "",
        correlation: bytes = b"",
        refused: Refused | None = None,
        unheard: Unheard | None = None,
    ) -> None:
        """As the link behind, on topics of its own. Raises LinkError for others."""
        if topic not in self._own:
            message = f"mapper account {self._account} may not publish on {topic}"
            if message not in self._problems and len(self._problems) < _MOST_PROBLEMS:
                self._problems.add(message)
                log.error("%s: it is none of its devices", message)
                self._tell(message)
            raise LinkError(message, remedy="A mapper reports the devices of its own documents only.")
        self._link.publish(
            topic,
            payload,
            qos=qos,
            retain=retain,
            response_topic=response_topic,
            correlation=correlation,
            refused=refused,
            unheard=unheard,
        )

    async def subscribe(self, topic_filter: str, handler: Handler, *, qos: int = 1) -> Unsubscribe:
        """As the link behind; the broker delivers what the account may read."""
        return await self._link.subscribe(topic_filter, handler, qos=qos)
