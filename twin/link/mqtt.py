"""The link over MQTT 5: connected, subscribed again and kept for ever.

CLOSED -> CONNECTING -> UP -> DOWN -> CONNECTING ...     each CONNECTING is a fresh session on a fresh socket
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections import deque
from typing import Final, Self

from twin.errors import LinkError, TooLarge
from twin.link import Handler, LinkState, Refused, Unheard, Unsubscribe
from twin.link.backoff import Backoff
from twin.link.options import MqttOptions as MqttOptions  # options and link are imported together
from twin.link.options import TlsOptions as TlsOptions
from twin.link.options import options_from_url as options_from_url
from twin.link.session import Outgoing, Session
from twin.link.states import StatefulLink
from twin.link.topic_match import Routes, checked_filter, checked_topic

MAX_WAITING: Final = 1000  # qos 1 messages that a link which is down takes
MAX_UNACKED: Final = 20_000  # qos 1 messages of a link which is up that the broker has not answered

_STABLE_S: Final = 10.0  # a connection that held this long starts the backoff anew
_REFUSED_TOPICS: Final = 1000
_AUTH_REASONS: Final = ("Bad user name or password", "Not authorized", "Banned", "Bad authentication method")

log = logging.getLogger(__name__)


class MqttLink(StatefulLink):
    """A Link to an MQTT 5 broker."""

    def __init__(self, options: MqttOptions, *, rng: random.Random | None = None) -> None:
        super().__init__(options.client_id, f"{options.host}:{options.port}")
        self._options = options
        self._rng = rng if rng is not None else random.Random()
        self._backoff = Backoff(options.retry_base_s, options.retry_cap_s, self._rng)
        self._routes = Routes()
        self._waiting: deque[Outgoing] = deque()
        self._task: asyncio.Task[None] | None = None
        self._session: Session | None = None
        self._closing = False
        self._failure = ""
        self._refused: set[str] = set()
        self._answered = asyncio.Event()
        self._answered.set()
        self.dropped = 0  # messages with a topic that is not UTF-8, and qos 0 ones that the socket did not take

    async def __aenter__(self) -> Self:
        """Start connecting."""
        self._failure = ""
        self._closing = False
        self._task = asyncio.create_task(self._run(), name=f"link {self._options.client_id}")
        return self

    async def __aexit__(self, *_exc: object) -> None:
        """Say goodbye and stop."""
        task, self._task = self._task, None
        self._closing = True
        if self._session is not None:
            await self._session.goodbye()
        if task is not None:
            task.cancel()
            await asyncio.wait({task})
        self._enter(LinkState.CLOSED)

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
        """Hand a message to the connection; the contract is Link's."""
        checked_topic(topic)
        if response_topic:
            checked_topic(response_topic)
        if len(payload) + len(topic) > self._options.max_packet_bytes:
            message = (
                f"a message of {len(payload)} bytes to {topic} is over the link's {self._options.max_packet_bytes}"
            )
            raise TooLarge(message, remedy="Send it in parts, or raise the limit here and at the broker.")
        session = self._session if self._state is LinkState.UP else None
        outgoing = Outgoing(topic, payload, retain, response_topic, correlation, refused, unheard)
        if qos == 0:
            if session is not None and not session.send_once(outgoing):
                self.dropped += 1
            return
        unacked = len(session.unacked) if session is not None else 0
        if len(self._waiting) + unacked >= (MAX_UNACKED if session is not None else MAX_WAITING):
            message = (
                f"{len(self._waiting) + unacked} messages wait for the broker {self._broker_name}, no room for {topic}"
            )
            raise LinkError(message, remedy="Publish less until the link is up, or keep only the newest value.")
        self._waiting.append(outgoing)
        self._answered.clear()
        if session is not None:
            session.send_waiting()

    async def answered(self) -> None:
        """Wait until the broker has answered every qos 1 message: taken it, or refused it."""
        await self._answered.wait()

    async def subscribe(self, topic_filter: str, handler: Handler, *, qos: int = 1) -> Unsubscribe:
        """Call the handler for each message that matches; the contract is Link's.

        Retained messages come again with each connection, and when another handler joins the filter.
        """
        route = self._routes.add(checked_filter(topic_filter), handler, min(qos, 1))

        def stop() -> None:
            if self._routes.remove(route, handler) and self._session is not None:
                self._session.unsubscribe(route)

        if self._session is not None and self._session.accepted:
            refusal = await self._session.subscribe(route)
            if refusal:
                stop()
                message = f"the broker {self._broker_name} refuses the subscription to {topic_filter}: {refusal}"
                raise LinkError(message, remedy="Check the ACL of this account, and that the broker is not overloaded.")
        return stop

    async def _run(self) -> None:
        if self._options.first_delay_s:
            await asyncio.sleep(self._rng.uniform(0.0, self._options.first_delay_s))
        loop = asyncio.get_running_loop()
        while True:
            self._enter(LinkState.CONNECTING)
            began_s = loop.time()
            session = Session(self._options, self._routes, self._waiting, self)
            self._session = session
            try:
                await session.run()
            except (OSError, LinkError) as error:
                if self._closing:
                    return
                self._tell_failure(f"no connection to the broker {self._broker_name}: {_text(error)}")
            finally:
                self._session = None
                session.close()
            if self._state is LinkState.UP and loop.time() - began_s >= _STABLE_S:
                self._backoff.reset()
            self._enter(LinkState.DOWN)
            await asyncio.sleep(self._backoff.next_s())

    def came_up(self) -> None:
        """A session is up."""
        if self._failure:
            log.info("link %s to %s is up again", self._options.client_id, self._broker_name)
        else:
            log.debug("link %s to %s is up", self._options.client_id, self._broker_name)
        self._failure = ""
        self._enter(LinkState.UP)

    def _why_down(self) -> str:
        return self._failure

    def _remedy(self, failure: str) -> str:
        if any(reason in failure for reason in _AUTH_REASONS):
            return "Check user name, password and client id, and that the broker knows this account."
        return super()._remedy(failure)

    def _tell_failure(self, failure: str) -> None:
        level = logging.DEBUG if failure == self._failure else logging.WARNING
        self._failure = failure
        log.log(level, "link %s: %s. %s", self._options.client_id, failure, self._remedy(failure))

    def dropped_one(self) -> None:
        """Count a message that went nowhere."""
        self.dropped += 1

    def answered_all(self) -> None:
        """Wake who waits for that."""
        self._answered.set()

    def was_refused(self, topic: str, reason: str) -> None:
        """Log a refused topic, once."""
        if topic not in self._refused and len(self._refused) < _REFUSED_TOPICS:
            self._refused.add(topic)
            log.warning("the broker %s refuses messages to %s: %s", self._broker_name, topic, reason)


def _text(error: Exception) -> str:
    if isinstance(error, LinkError):
        return error.message
    return error.strerror or str(error) if isinstance(error, OSError) else str(error)
