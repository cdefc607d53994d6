"""The null modem: a broker and links in one process, with a real broker's semantics and no sockets."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from dataclasses import dataclass, field, replace
from typing import Self

from twin.errors import LinkError
from twin.link import Handler, LinkState, Message, Refused, Unheard, Unsubscribe, Will
from twin.link.mqtt import MAX_WAITING
from twin.link.states import StatefulLink
from twin.link.topic_match import Route, Routes, checked_filter, checked_topic, matches

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Sent:
    """A message in a link's queue; ``route`` is set for one that goes to one filter: retained, or shared."""

    message: Message
    qos: int
    route: Route | None = None


@dataclass(slots=True)
class _Out:
    message: Message
    qos: int
    unheard: Unheard | None = None


@dataclass(slots=True)
class _Port:
    """The broker's end of one link."""

    link: MemoryLink
    up: bool = False
    allowed: bool = True
    inbox: deque[_Sent] = field(default_factory=deque)


class MemoryBroker:
    """Routes between its links: wildcards, retained messages, shared subscriptions, qos 1 again after a cut, wills.

    Everything is delivered by ``call_soon``, so a run is deterministic. ``cut`` is the cable pulled: a qos 1 message
    that had not reached the broker comes with the next connection; one whose answer was lost comes twice.
    """

    def __init__(self) -> None:
        self._ports: dict[int, _Port] = {}
        self._retained: dict[str, Message] = {}
        self._turns: dict[str, int] = {}
        """How many messages each shared filter has had; they go round."""

    def link(self, will: Will | None = None) -> MemoryLink:
        """Make a link to this broker."""
        return MemoryLink(self, will)

    def cut(self, link: MemoryLink) -> None:
        """Break the link; its will is published, and it stays down until restored."""
        port = self._port(link)
        port.allowed = False
        if port.up:
            self._drop(port)
            if link.will is not None:
                self.route(Message(link.will.topic, link.will.payload, link.will.retain), 1)
        link.lost()

    def restore(self, link: MemoryLink) -> None:
        """Let a cut link connect again; it does so in the next turns of the loop."""
        port = self._port(link)
        port.allowed = True
        link.retry()

    def attach(self, link: MemoryLink) -> bool:
        """Connect a link; false while it is cut."""
        port = self._port(link)
        if port.allowed:
            port.up = True
        return port.allowed

    def detach(self, link: MemoryLink) -> None:
        """Disconnect with a goodbye: no will."""
        self._drop(self._port(link))

    def route(self, message: Message, qos: int) -> bool:
        """Store a retained message and queue it for every link that subscribes to it; false if none does."""
        if message.retain:
            if message.payload:
                self._retained[message.topic] = message
            else:
                self._retained.pop(message.topic, None)
        live = replace(message, retain=False) if message.retain else message
        heard = False
        shares: dict[str, list[tuple[_Port, Route]]] = {}
        for port in tuple(self._ports.values()):
            if not port.up:
                continue
            if port.link.wants(message.topic):
                heard = True
                self._queue(port, _Sent(live, qos))
            for route in port.link.shares(message.topic):
                shares.setdefault(route.topic_filter, []).append((port, route))
        for topic_filter, members in shares.items():
            turn = self._turns[topic_filter] = self._turns.get(topic_filter, -1) + 1
            port, route = members[turn % len(members)]
            self._queue(port, _Sent(live, qos, route))
        return heard or bool(shares)

    def subscribe(self, link: MemoryLink, route: Route) -> None:
        """Send the retained messages of a filter; a shared one gets none."""
        if route.group:
            return
        port = self._port(link)
        for topic, message in tuple(self._retained.items()):
            if matches(route.topic_filter, topic):
                self._queue(port, _Sent(message, 1, route))

    def _queue(self, port: _Port, sent: _Sent) -> None:
        port.inbox.append(sent)
        if len(port.inbox) == 1:
            asyncio.get_running_loop().call_soon(self._deliver, port)

    def _deliver(self, port: _Port) -> None:
        """Hand over what is queued now; what handlers cause comes in a later turn."""
        for _ in range(len(port.inbox)):
            if not port.inbox:  # cut by a handler
                return
            sent = port.inbox[0]
            port.link.incoming(sent.message, sent.route)
            if port.inbox and port.inbox[0] is sent:
                port.inbox.popleft()
        if port.inbox:
            asyncio.get_running_loop().call_soon(self._deliver, port)

    def _drop(self, port: _Port) -> None:
        port.up = False
        port.inbox.clear()  # a clean session: the broker forgets

    def _port(self, link: MemoryLink) -> _Port:
        return self._ports.setdefault(id(link), _Port(link))


class MemoryLink(StatefulLink):
    """A Link to a MemoryBroker."""

    def __init__(self, broker: MemoryBroker, will: Will | None = None) -> None:
        super().__init__("in memory", "in memory")
        self._broker = broker
        self._routes = Routes()
        self._unacked: deque[_Out] = deque()  # written to the wire, not yet read by the broker
        self._waiting: deque[_Out] = deque()
        self.will = will

    async def __aenter__(self) -> Self:
        """Start connecting."""
        self._enter(LinkState.CONNECTING)
        asyncio.get_running_loop().call_soon(self._connect)
        return self

    async def __aexit__(self, *_exc: object) -> None:
        """Say goodbye and stop."""
        while self._state is LinkState.UP and (self._unacked or self._waiting):  # noqa: ASYNC110 the next turn flushes
            await asyncio.sleep(0)
        self._broker.detach(self)
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
        refused: Refused | None = None,  # noqa: ARG002  # this broker takes everything
        unheard: Unheard | None = None,
    ) -> None:
        """Hand a message to the connection; the contract is Link's."""
        checked_topic(topic)
        if response_topic:
            checked_topic(response_topic)
        out = _Out(Message(topic, payload, retain, response_topic, correlation), min(qos, 1), unheard)
        if self._state is LinkState.UP:
            self._write(out)
        elif out.qos:
            if len(self._waiting) >= MAX_WAITING:
                message = f"{len(self._waiting)} messages wait for the broker in memory, no room for {topic}"
                raise LinkError(message, remedy="Publish less until the link is up, or keep only the newest value.")
            self._waiting.append(out)

    async def subscribe(self, topic_filter: str, handler: Handler, *, qos: int = 1) -> Unsubscribe:
        """Call the handler for each message that matches; the contract is Link's."""
        route = self._routes.add(checked_filter(topic_filter), handler, min(qos, 1))
        if self._state is LinkState.UP:
            self._broker.subscribe(self, route)

        def stop() -> None:
            self._routes.remove(route, handler)

        return stop

    def wants(self, topic: str) -> bool:
        """Whether a filter of this link matches that it does not share."""
        return bool(self._routes.unshared(topic))

    def shares(self, topic: str) -> list[Route]:
        """The shared filters of this link that match."""
        return [route for route in self._routes.all() if route.group and matches(route.plain, topic)]

    def incoming(self, message: Message, route: Route | None) -> None:
        """Take a message from the broker; a retained or a shared one is for one filter only."""
        handlers = self._routes.unshared(message.topic) if route is None else tuple(dict.fromkeys(route.handlers))
        for handler in handlers:
            try:
                handler(message)
            except Exception:
                log.exception("a handler of %s failed", message.topic)

    def lost(self) -> None:
        """The cable was pulled: what the broker has not read waits again, qos 0 is gone."""
        self._waiting.extendleft(reversed([out for out in self._unacked if out.qos]))
        self._unacked.clear()
        if self._state is not LinkState.CLOSED:
            self._enter(LinkState.DOWN)

    def retry(self) -> None:
        """The cable is back."""
        if self._state is LinkState.DOWN:
            self._enter(LinkState.CONNECTING)
            asyncio.get_running_loop().call_soon(self._connect)

    def _remedy(self, failure: str) -> str:  # noqa: ARG002  there is one
        return "Open the link, or restore it if it was cut."

    def _connect(self) -> None:
        if self._state is not LinkState.CONNECTING:
            return
        if not self._broker.attach(self):
            self._enter(LinkState.DOWN)
            return
        for route in self._routes.all():
            self._broker.subscribe(self, route)
        self._enter(LinkState.UP)
        while self._waiting:
            self._write(self._waiting.popleft())

    def _write(self, out: _Out) -> None:
        self._unacked.append(out)
        if len(self._unacked) == 1:
            asyncio.get_running_loop().call_soon(self._flush)

    def _flush(self) -> None:
        """The broker reads what was written before this turn."""
        for _ in range(len(self._unacked)):
            if not self._unacked:
                return
            out = self._unacked[0]
            heard = self._broker.route(out.message, out.qos)
            if self._unacked and self._unacked[0] is out:
                self._unacked.popleft()
                if not heard and out.qos and out.unheard is not None:
                    out.unheard()
        if self._unacked:
            asyncio.get_running_loop().call_soon(self._flush)
