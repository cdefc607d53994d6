"""Paho's client with the hot paths rewritten: the socket, PUBLISH in both directions, and PUBACK.

Paho reads a packet with four system calls, writes each one with a call of its own, builds tables of all MQTT 5
properties and reason codes for each one that it reads (11 to 16 microseconds), and keeps a record of each one that it
writes, which the session does too. It has no public seam for this, so private methods of paho 2.2 are overridden and
used; tests/twin/link/test_paho_client.py fails if a later paho drops one.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode
from paho.mqtt.exception import MalformedPacket

from twin.link.paho_lean import DISCONNECT, PUBACK, PUBLISH, Client, MQTTv5

NO_SUBSCRIBER: Final = 0x10  # reason code of a PUBACK: taken, and for nobody
FAILURES: Final = 0x80  # reason codes from here on

_READ_AHEAD_BYTES: Final = 65536
_WRITE_BYTES: Final = 65536
_PACKET_TYPE: Final = 0xF0
_RESPONSE_TOPIC: Final = 0x08
_CORRELATION: Final = 0x09
_SUBSCRIPTION: Final = 0x0B
_USER_PROPERTY: Final = 0x26
_FIXED_BYTES: Final = {0x01: 1, 0x02: 4, 0x23: 2}  # payload format, message expiry, topic alias
_STRINGS: Final = (0x03, _RESPONSE_TOPIC, _CORRELATION)


@dataclass(slots=True)
class Publish:
    """A decoded PUBLISH. ``number`` is the subscription identifier, 0 if there is none or more than one."""

    topic: bytes
    payload: bytes
    qos: int
    retain: bool
    mid: int = 0
    number: int = 0
    response_topic: str = ""
    correlation: bytes = b""


class ReadAhead:
    """A non-blocking socket that is read in large pieces and handed out in the small ones that paho asks for."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._buffer = b""
        self._at = 0

    def recv(self, size: int) -> bytes:
        """Up to ``size`` bytes; empty at the end of the stream."""
        at = self._at
        if at >= len(self._buffer):
            if size >= _READ_AHEAD_BYTES:
                return self._sock.recv(size)
            self._buffer = self._sock.recv(_READ_AHEAD_BYTES)
            at = 0
        piece = self._buffer[at : at + size]
        self._at = at + len(piece)
        return piece

    def pending(self) -> int:
        """Bytes that were read from the kernel but not yet from here: no event will announce them."""
        inner = self._sock.pending() if isinstance(self._sock, ssl.SSLSocket) else 0
        return len(self._buffer) - self._at + inner

    def send(self, packet: bytes) -> int:
        """Send what fits."""
        return self._sock.send(packet)

    def close(self) -> None:
        """Close the socket."""
        self._sock.close()

    def fileno(self) -> int:
        """File descriptor for the event loop."""
        return self._sock.fileno()

    def setblocking(self, flag: bool) -> None:
        """As a socket's."""
        self._sock.setblocking(flag)


class FastClient(Client):
    """One MQTT 5 connection; tells ``on_incoming`` each message and ``on_acked`` (mid, reason code) each PUBACK."""

    def __init__(
        self, client_id: str, on_incoming: Callable[[Publish], None], on_acked: Callable[[int, int], None]
    ) -> None:
        super().__init__(CallbackAPIVersion.VERSION2, client_id, protocol=MQTTv5, reconnect_on_failure=False)
        self._on_incoming = on_incoming
        self._on_acked = on_acked
        self._reader: ReadAhead | None = None
        self.max_inflight_messages = 0  # the link keeps the window, with the broker's own limit

    def pending(self) -> bool:
        """Whether bytes wait that the event loop will not announce."""
        return self._reader is not None and self._reader.pending() > 0

    def drop(self) -> None:
        """Close the socket without a goodbye."""
        self._sock_close()

    def next_mid(self) -> int:
        """A number for a packet that is to be acknowledged; the same comes again after 65 535 others."""
        return self._mid_generate()

    def send(self, mid: int, topic: str, payload: bytes, qos: int, retain: bool, properties: bytes) -> bool:
        """Queue a PUBLISH with the number and the packed properties; false if there is no connection."""
        if self._sock is None:
            return False
        packet = encode_publish(mid, topic, payload, qos, retain, properties)
        self._packet_queue(PUBLISH, packet, mid, 1)  # not 0: paho would tell someone that it is out
        return True

    def _create_socket(self) -> Any:
        sock: Any = super()._create_socket()  # a TCP or TLS socket: no other transport is asked for
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._reader = ReadAhead(sock)
        return self._reader

    def _ssl_wrap_socket(self, tcp_sock: socket.socket) -> ssl.SSLSocket:
        """As paho's, which leaves the socket open where the handshake fails: one for each try. Ours checks the host."""
        context = self._ssl_context
        assert context is not None
        wrapped = context.wrap_socket(tcp_sock, server_hostname=self._host, do_handshake_on_connect=False)
        try:
            wrapped.settimeout(self._connect_timeout)
            wrapped.do_handshake()
        except BaseException:
            wrapped.close()
            raise
        return wrapped

    def _packet_write(self) -> MQTTErrorCode:
        """Send what waits in few pieces: a call into the kernel costs more than many small packets."""
        waiting = self._out_packet
        if len(waiting) > 1:
            pieces: list[bytes | bytearray] = []
            size = 0
            while waiting and size < _WRITE_BYTES and waiting[0]["command"] & _PACKET_TYPE != DISCONNECT:
                packet = waiting.popleft()
                pieces.append(packet["packet"][packet["pos"] :])
                size += packet["to_process"]
            if pieces:  # as one PUBACK, after which paho has nothing more to do
                packet["command"], packet["packet"] = PUBACK, b"".join(pieces)
                packet["pos"], packet["to_process"] = 0, size
                waiting.appendleft(packet)
        return super()._packet_write()

    def _handle_publish(self) -> MQTTErrorCode:
        message = decode_publish(self._in_packet["command"], self._in_packet["packet"])
        self._on_incoming(message)
        return MQTTErrorCode.MQTT_ERR_SUCCESS if message.qos == 0 else self._send_puback(message.mid)

    def _handle_pubackcomp(self, _cmd: Any) -> MQTTErrorCode:
        packet = self._in_packet["packet"]
        if len(packet) < 2:
            message = "PUBACK ends too early"
            raise MalformedPacket(message)
        reason = packet[2] if len(packet) > 2 else 0
        self._on_acked(packet[0] << 8 | packet[1], reason)
        return MQTTErrorCode.MQTT_ERR_SUCCESS


def encode_publish(mid: int, topic: str, payload: bytes, qos: int, retain: bool, properties: bytes) -> bytes:
    """Encode an MQTT 5 PUBLISH (3.3)."""
    name = topic.encode()
    number = mid.to_bytes(2, "big") if qos else b""
    left = 2 + len(name) + len(number) + len(properties) + len(payload)
    head = bytearray((PUBLISH | qos << 1 | retain,))
    while left > 127:
        head.append(left & 127 | 128)
        left >>= 7
    head.append(left)
    return b"".join((head, len(name).to_bytes(2, "big"), name, number, properties, payload))


def decode_publish(command: int, packet: bytes | bytearray) -> Publish:
    """Decode the body of an MQTT 5 PUBLISH (3.3.2). Raises MalformedPacket."""
    qos = command >> 1 & 3
    if qos > 1:
        message = "PUBLISH with qos 2, which was not subscribed to"
        raise MalformedPacket(message)
    try:
        at = 2 + (packet[0] << 8 | packet[1])
        publish = Publish(bytes(packet[2:at]), b"", qos, bool(command & 1))
        if qos:
            publish.mid = packet[at] << 8 | packet[at + 1]
            at += 2
        size, at = _varint(packet, at)
        if size:
            _read_properties(packet, at, at + size, publish)
            at += size
    except IndexError as error:
        message = "PUBLISH ends too early"
        raise MalformedPacket(message) from error
    if at > len(packet):
        message = "PUBLISH ends too early"
        raise MalformedPacket(message)
    publish.payload = bytes(memoryview(packet)[at:])
    return publish


def _read_properties(packet: bytes | bytearray, at: int, end: int, publish: Publish) -> None:
    numbers = 0
    while at < end:
        kind = packet[at]
        at += 1
        if kind == _SUBSCRIPTION:
            publish.number, at = _varint(packet, at)
            numbers += 1
        elif kind in _STRINGS:
            text, at = _sized(packet, at)
            if kind == _CORRELATION:
                publish.correlation = text
            elif kind == _RESPONSE_TOPIC:
                publish.response_topic = text.decode(errors="replace")
        elif kind == _USER_PROPERTY:
            _, at = _sized(packet, at)
            _, at = _sized(packet, at)
        elif kind in _FIXED_BYTES:
            at += _FIXED_BYTES[kind]
        else:
            message = f"PUBLISH with property {kind:#x}"
            raise MalformedPacket(message)
    if at != end:
        message = "PUBLISH with a property that ends too late"
        raise MalformedPacket(message)
    if numbers > 1:  # one copy for all our matching filters
        publish.number = 0


def _sized(packet: bytes | bytearray, at: int) -> tuple[bytes, int]:
    end = at + 2 + (packet[at] << 8 | packet[at + 1])
    return bytes(packet[at + 2 : end]), end


def _varint(packet: bytes | bytearray, at: int) -> tuple[int, int]:
    value = 0
    for shift in (0, 7, 14, 21):
        byte = packet[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
    message = "PUBLISH with a length of more than four bytes"
    raise MalformedPacket(message)
