"""One MQTT connection from connect to the loss of its socket, driven from the event loop."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import deque
from dataclasses import dataclass
from typing import Any, Final, Protocol

from paho.mqtt.enums import MQTTErrorCode
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from twin.errors import LinkError
from twin.link import Message, Refused, Unheard
from twin.link.options import MqttOptions
from twin.link.paho_client import FAILURES, NO_SUBSCRIBER, FastClient, Publish
from twin.link.topic_match import Route, Routes

MAX_UNSENT_BYTES: Final = 64 * 1024 * 1024  # qos 0 is dropped while the socket has not taken this much

_PACKETS_A_TURN: Final = 100  # then the loop's other callbacks get their turn
_GOODBYE_S: Final = 1.0

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A message on its way out."""

    topic: str
    payload: bytes
    retain: bool
    response_topic: str
    correlation: bytes
    refused: Refused | None = None
    unheard: Unheard | None = None


class Owner(Protocol):
    """What a session tells its link."""

    def came_up(self) -> None:
        """The broker has accepted us and granted the subscriptions."""
        ...

    def was_refused(self, topic: str, reason: str) -> None:
        """The broker did not take a message."""
        ...

    def dropped_one(self) -> None:
        """A message went nowhere."""
        ...

    def answered_all(self) -> None:
        """The broker has answered every message, and none waits."""
        ...


class Session:
    """Single use. ``waiting`` belongs to the link and outlives the session."""

    def __init__(self, options: MqttOptions, routes: Routes, waiting: deque[Outgoing], owner: Owner) -> None:
        self._options = options
        self._routes = routes
        self._waiting = waiting
        self._owner = owner
        self._loop = asyncio.get_running_loop()
        self._thread = threading.get_ident()
        self._connack: asyncio.Future[str] = self._loop.create_future()
        self._lost: asyncio.Future[str] = self._loop.create_future()
        self._grants: dict[int, asyncio.Future[str]] = {}
        self._window = 65535
        self._numbered = True
        self._unsent_bytes = 0
        self._fd = -1
        self._blocked = False
        self.accepted = False
        self.unacked: dict[int, Outgoing] = {}
        self._client = FastClient(options.client_id, self._incoming, self._acked)

    async def run(self) -> None:
        """Connect, subscribe, stay up. Ends by raising OSError or LinkError, with the reason."""
        await self._connect()
        refusal = await self._answer(self._connack, "no answer to CONNECT")
        if refusal:
            raise LinkError(refusal)
        self.accepted = True
        for route in self._routes.all():
            if refusal := await self.subscribe(route):
                log.warning("the broker refuses the subscription to %s: %s", route.topic_filter, refusal)
        if not self._lost.done():
            self._owner.came_up()
            self.send_waiting()
        period_s = min(1.0, self._options.keepalive_s / 4)
        while not self._lost.done():
            await asyncio.wait({self._lost}, timeout=period_s)
            self._client.loop_misc()
        raise LinkError(self._lost.result())

    async def subscribe(self, route: Route) -> str:
        """Ask for a filter and wait for the grant; returns the refusal, empty if granted or the connection is over."""
        properties = None
        if self._numbered:
            properties = _empty(PacketTypes.SUBSCRIBE)
            properties.SubscriptionIdentifier = route.number
        asked = [(route.topic_filter, SubscribeOptions(qos=route.qos))]
        rc, mid = self._client.subscribe(asked, properties=properties)
        if rc != MQTTErrorCode.MQTT_ERR_SUCCESS or mid is None:
            return ""
        grant: asyncio.Future[str] = self._loop.create_future()
        self._grants[mid] = grant
        try:
            return await self._answer(grant, "no answer to SUBSCRIBE")
        finally:
            self._grants.pop(mid, None)

    def unsubscribe(self, route: Route) -> None:
        """Give a filter back."""
        self._client.unsubscribe(route.topic_filter)

    def send_once(self, message: Outgoing) -> bool:
        """Send with qos 0; false if the socket is too far behind."""
        if not self._client.want_write():
            self._unsent_bytes = 0
        if self._unsent_bytes > MAX_UNSENT_BYTES:
            return False
        self._unsent_bytes += len(message.payload)
        return self._client.send(0, message.topic, message.payload, 0, message.retain, _properties(message))

    def send_waiting(self) -> None:
        """Send with qos 1 what waits, as far as the broker's window allows."""
        while self._waiting and len(self.unacked) < self._window and not self._lost.done():
            mid = self._client.next_mid()
            if mid in self.unacked:
                continue
            message = self._waiting[0]
            if not self._client.send(mid, message.topic, message.payload, 1, message.retain, _properties(message)):
                return
            self.unacked[mid] = self._waiting.popleft()

    async def goodbye(self) -> None:
        """Let what waits go out, then DISCONNECT; a second at most."""
        if not self.accepted or self._lost.done():
            return
        deadline_s = self._loop.time() + _GOODBYE_S
        while (self.unacked or self._waiting) and not self._lost.done() and self._loop.time() < deadline_s:
            await asyncio.wait({self._lost}, timeout=0.01)
        if not self._lost.done():
            self._client.disconnect()
            await asyncio.wait({self._lost}, timeout=max(0.1, deadline_s - self._loop.time()))

    def close(self) -> None:
        """Drop the socket; what was not acknowledged waits for the next connection, in its order."""
        self._client.drop()
        self._detach()
        self._end("closed")
        self._waiting.extendleft(reversed(self.unacked.values()))
        self.unacked.clear()

    async def _connect(self) -> None:
        options = self._options
        client = self._client
        client.on_connect = self._connected
        client.on_disconnect = self._disconnected
        client.on_subscribe = self._granted
        client.on_socket_close = self._socket_closed
        client.on_socket_register_write = self._want_write
        client.on_socket_unregister_write = self._wrote_all
        client.connect_timeout = options.connect_timeout_s
        if options.username:
            client.username_pw_set(options.username, options.password)
        if options.will is not None:
            client.will_set(options.will.topic, options.will.payload, qos=1, retain=options.will.retain)
        wishes = _empty(PacketTypes.CONNECT)
        wishes.MaximumPacketSize = options.max_packet_bytes + 65536  # the cap is for payloads; headers come on top
        if options.session_expiry_s:
            wishes.SessionExpiryInterval = options.session_expiry_s

        def connect() -> None:
            if options.tls is not None:
                client.tls_set_context(options.tls.context())
            client.connect(
                options.host, options.port, options.keepalive_s, clean_start=options.clean_start, properties=wishes
            )

        # Name look-up, TCP and TLS block, so a thread does them; one that hangs is left behind and cleans up itself.
        attempt = asyncio.create_task(asyncio.to_thread(connect), name=f"connect {options.client_id}")
        try:
            done, _ = await asyncio.wait({attempt}, timeout=options.connect_timeout_s * 2)
        except asyncio.CancelledError:
            attempt.add_done_callback(self._drop_late)
            raise
        if not done:
            attempt.add_done_callback(self._drop_late)
            message = f"not connected within {options.connect_timeout_s * 2:g} s"
            raise LinkError(message)
        await attempt
        self._attach()

    def _drop_late(self, attempt: asyncio.Task[None]) -> None:
        if not attempt.cancelled():
            attempt.exception()  # was told as a time-out
        self._client.drop()

    async def _answer(self, answer: asyncio.Future[str], otherwise: str) -> str:
        """Wait for the broker's answer; empty text is consent, and also the end of an accepted connection."""
        await asyncio.wait({answer, self._lost}, timeout=self._options.connect_timeout_s, return_when="FIRST_COMPLETED")
        if answer.done():
            return answer.result()
        if self._lost.done():
            return "" if self.accepted else self._lost.result()
        return f"{otherwise} within {self._options.connect_timeout_s:g} s"

    def _attach(self) -> None:
        sock = self._client.socket()
        if sock is None:
            message = "the connection was closed at once"
            raise LinkError(message)
        self._fd = sock.fileno()
        self._loop.add_reader(self._fd, self._readable)
        self._write()

    def _detach(self) -> None:
        if self._fd >= 0:
            self._loop.remove_reader(self._fd)
            self._loop.remove_writer(self._fd)
            self._fd = -1

    def _readable(self) -> None:
        for _ in range(_PACKETS_A_TURN):
            if self._client.loop_read() != MQTTErrorCode.MQTT_ERR_SUCCESS:
                return
            if not self._client.pending():
                return
        self._loop.call_soon(self._read_on)

    def _read_on(self) -> None:
        if self._fd >= 0 and self._client.pending():
            self._readable()

    def _incoming(self, publish: Publish) -> None:
        try:
            topic = publish.topic.decode()
        except UnicodeDecodeError:
            self._owner.dropped_one()
            return
        if publish.retain:
            handlers = self._routes.on_subscribe(topic, publish.number)
        else:
            handlers = self._routes.handlers(topic, publish.number)
        message = Message(topic, publish.payload, publish.retain, publish.response_topic, publish.correlation)
        for handler in handlers:
            try:
                handler(message)
            except Exception:
                log.exception("a handler of %s failed", topic)

    def _acked(self, mid: int, reason: int) -> None:
        message = self.unacked.pop(mid, None)
        if message is not None and reason:
            self._tell(message, reason)
        self.send_waiting()
        if not self.unacked and not self._waiting:
            self._owner.answered_all()

    def _tell(self, message: Outgoing, reason: int) -> None:
        if reason == NO_SUBSCRIBER and message.unheard is not None:
            message.unheard()
        if reason >= FAILURES:
            refusal = str(ReasonCode(PacketTypes.PUBACK, identifier=reason))
            self._owner.was_refused(message.topic, refusal)
            if message.refused is not None:
                message.refused(refusal)

    def _connected(self, _client: object, _user: object, _flags: object, reason: ReasonCode, properties: Any) -> None:
        if reason.is_failure:
            _settle(self._connack, f"the broker refuses the login: {reason}")
            return
        self._window = getattr(properties, "ReceiveMaximum", 65535)
        self._numbered = getattr(properties, "SubscriptionIdentifierAvailable", 1) == 1
        _settle(self._connack, "")

    def _granted(self, _client: object, _user: object, mid: int, reasons: list[ReasonCode], _properties: Any) -> None:
        refusals = [str(reason) for reason in reasons if reason.is_failure]
        if mid in self._grants:
            _settle(self._grants[mid], ", ".join(refusals))

    def _disconnected(self, _client: object, _user: object, flags: Any, reason: ReasonCode, _properties: Any) -> None:
        who = "the broker ended it" if flags.is_disconnect_packet_from_server else "the connection was lost"
        why = "" if str(reason) == "Unspecified error" else f": {reason}"  # all that paho says of a reset
        self._end(f"{who}{why}")

    def _end(self, reason: str) -> None:
        _settle(self._lost, reason)

    def _socket_closed(self, _client: object, _user: object, _sock: object) -> None:
        if threading.get_ident() == self._thread:
            self._detach()

    def _want_write(self, _client: object, _user: object, _sock: object) -> None:
        if threading.get_ident() == self._thread and self._fd >= 0:
            self._loop.call_soon(self._write)

    def _write(self) -> None:
        """Send all that this turn of the loop has queued, and wait for the socket only if it does not take that."""
        if self._fd >= 0:
            self._client.loop_write()
        if self._fd >= 0 and self._client.want_write():
            self._blocked = True
            self._loop.add_writer(self._fd, self._client.loop_write)

    def _wrote_all(self, _client: object, _user: object, _sock: object) -> None:
        if self._blocked and threading.get_ident() == self._thread and self._fd >= 0:
            self._blocked = False
            self._loop.remove_writer(self._fd)


def _settle(future: asyncio.Future[str], text: str) -> None:
    if not future.done():
        future.set_result(text)


def _empty(packet_type: int) -> Properties:
    return Properties(packet_type)  # type: ignore[no-untyped-call] # paho annotates only part of itself


def _properties(message: Outgoing) -> bytes:
    if not message.response_topic and not message.correlation:
        return b"\0"
    properties = _empty(PacketTypes.PUBLISH)
    if message.response_topic:
        properties.ResponseTopic = message.response_topic
    if message.correlation:
        properties.CorrelationData = message.correlation
    packed: bytes = properties.pack()  # type: ignore[no-untyped-call] # as above
    return packed
