"""A message connection with a state, and what it promises. Real over MQTT, in memory for tests and simulation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol, Self

__all__ = ["Handler", "Link", "LinkState", "Message", "Refused", "StateHandler", "Unheard", "Unsubscribe", "Will"]


@dataclass(frozen=True, slots=True)
class Message:
    """One message as it arrived; ``response_topic`` and ``correlation`` are MQTT 5's request/response properties."""

    topic: str
    payload: bytes
    retain: bool = False
    response_topic: str = ""
    correlation: bytes = b""


@dataclass(frozen=True, slots=True)
class Will:
    """What the broker publishes when the link dies without a goodbye."""

    topic: str
    payload: bytes
    retain: bool = True


class LinkState(StrEnum):
    """Where a link stands."""

    CLOSED = "closed"
    CONNECTING = "connecting"
    UP = "up"
    DOWN = "down"  # was refused or lost; the next try is scheduled


Handler = Callable[[Message], None]
StateHandler = Callable[[LinkState], None]
Unsubscribe = Callable[[], None]
Refused = Callable[[str], None]
"""Told the broker's reason for not taking a message."""
Unheard = Callable[[], None]
"""Told that the broker took a message for which it had nobody."""


class Link(Protocol):
    """A connection that heals itself: it reconnects with full jitter and subscribes again.

    ``async with link`` opens it; opening does not wait for the broker, ``connected`` does. Handlers run on the event
    loop, in the order of arrival, and must not block or raise.
    """

    async def __aenter__(self) -> Self:
        """Start connecting."""
        ...

    async def __aexit__(self, *exc: object) -> None:
        """Say goodbye and stop; never raises."""
        ...

    @property
    def state(self) -> LinkState:
        """The state right now."""
        ...

    def on_state(self, handler: StateHandler) -> Unsubscribe:
        """Tell the handler each change of state."""
        ...

    async def connected(self, timeout_s: float) -> None:
        """Wait until the link is up and its subscriptions are granted. Raises LinkError when the time is over."""
        ...

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
        """Hand a message to the connection, at most once with qos 0, at least once with qos 1.

        ``refused`` is told if the broker does not take a qos 1 message, because of its access rules for instance;
        ``unheard`` if the broker took one and says that nobody subscribes to its topic (MQTT 5, 3.4.2.1).
        A qos 0 message is dropped while the link is down; qos 1 waits for the next connection, up to a bound of 1000
        messages. Raises LinkError when that bound is reached, InvalidName for a topic that cannot be published to.
        """
        ...

    async def subscribe(self, topic_filter: str, handler: Handler, *, qos: int = 1) -> Unsubscribe:
        """Call the handler for each message that matches; returns when the broker has granted it, or at once if down.

        The subscription outlives connections. Several handlers may share a filter; a message that matches several
        filters reaches each of their handlers once. Raises LinkError if the broker refuses.
        """
        ...
