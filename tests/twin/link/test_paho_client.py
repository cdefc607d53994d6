"""Our decoder agrees with paho's, and paho still has what we override."""

import contextlib
import socket
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from paho.mqtt._packet import decode_publish as paho_decode
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.exception import MalformedPacket
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from twin.link.paho_client import NO_SUBSCRIBER, FastClient, ReadAhead, decode_publish, encode_publish

pytestmark = pytest.mark.fast


def packet(topic: bytes, payload: bytes, properties: Properties | None = None, mid: bytes = b"") -> bytearray:
    packed = properties.pack() if properties is not None else b"\x00"
    return bytearray(len(topic).to_bytes(2, "big") + topic + mid + packed + payload)


@pytest.mark.parametrize(
    "name", ["_create_socket", "_ssl_wrap_socket", "_packet_write", "_handle_publish", "_handle_pubackcomp"]
)
def test_paho_still_has_the_methods_we_override(name):
    assert callable(getattr(Client, name))
    assert name in vars(FastClient)


@pytest.mark.parametrize("name", ["_packet_queue", "_mid_generate", "_send_puback", "_sock_close"])
def test_paho_still_has_the_methods_we_use(name):
    assert callable(getattr(Client, name))


class Recorder(Client):
    """Keeps the packet that it would send."""

    def __init__(self):
        super().__init__(CallbackAPIVersion.VERSION2, protocol=MQTTProtocolVersion.MQTTv5)
        self._sock = object()

    def _packet_queue(self, command, packet, mid, qos, info=None):
        self.packet = bytes(packet)
        return 0

    def _sock_close(self):
        self._sock = None


@given(
    st.text("abc/ü$", min_size=1, max_size=300),
    st.binary(max_size=20) | st.sampled_from([b"x" * 127, b"x" * 20_000]),
    st.integers(0, 1),
    st.booleans(),
    st.binary(max_size=5),
)
def test_a_publish_is_encoded_as_by_paho(topic, payload, qos, retain, correlation):
    properties = Properties(PacketTypes.PUBLISH)
    properties.CorrelationData = correlation
    paho = Recorder()
    mid = paho.publish(topic, payload, qos, retain, properties).mid
    assert encode_publish(mid, topic, payload, qos, retain, properties.pack()) == paho.packet


class SmallSocket:
    """Takes a few bytes a call, then none until it is told to go on."""

    def __init__(self, sizes):
        self.sizes = list(sizes)
        self.calls = 0
        self.taken = b""

    def send(self, packet):
        self.calls += 1
        if not self.sizes:
            raise BlockingIOError
        taken = packet[: self.sizes.pop(0)]
        self.taken += taken
        return len(taken)

    def close(self):
        pass


def client_on(sock):
    client = FastClient("c", lambda _: None, lambda *_: None)
    client._sock = sock
    client.on_socket_register_write = lambda *_: None
    return client


def test_many_packets_are_one_call_into_the_kernel():
    client = client_on(SmallSocket([100_000]))
    for number in range(1, 50):
        assert client.send(number, "t", b"x" * number, 1, False, b"\0")
    client.loop_write()
    assert client._sock.calls == 1
    assert client._sock.taken == b"".join(encode_publish(n, "t", b"x" * n, 1, False, b"\0") for n in range(1, 50))
    client._sock = None


@given(
    st.lists(st.lists(st.integers(0, 70_000), max_size=4), min_size=1, max_size=6),
    st.lists(st.integers(1, 90_000), max_size=12),
)
def test_what_is_queued_goes_out_whole_and_in_order_whatever_the_socket_takes(turns, sizes):
    sock = SmallSocket(sizes)
    client = client_on(sock)
    wanted = b""
    for number, turn in enumerate(turns, start=1):
        for size in turn:
            client.send(number, "t", b"x" * size, size % 2, False, b"\0")
            wanted += encode_publish(number, "t", b"x" * size, size % 2, False, b"\0")
        client.loop_write()
    sock.sizes = [10_000_000] * 100
    client.loop_write()
    assert sock.taken == wanted
    assert not client.want_write()
    client._sock = None


@pytest.mark.parametrize(
    ("packet", "reason"),
    [
        (b"\0\7", 0),
        (b"\0\7\x10", NO_SUBSCRIBER),
        (b"\0\7\x10\0", NO_SUBSCRIBER),
        (b"\0\7\x87", 0x87),  # not authorized
        (b"\0\7\x97\x09\x1f\0\6reason", 0x97),  # quota exceeded
    ],
)
def test_an_ack_tells_its_reason(packet, reason):
    acked = []
    client = FastClient("c", lambda _: None, lambda *told: acked.append(told))
    client._in_packet = {"packet": bytearray(packet)}
    client._handle_pubackcomp("PUBACK")
    assert acked == [(7, reason)]


def test_an_ack_without_a_number_is_malformed():
    client = FastClient("c", lambda _: None, lambda *_: None)
    client._in_packet = {"packet": bytearray(b"\0")}
    with pytest.raises(MalformedPacket):
        client._handle_pubackcomp("PUBACK")


@given(st.binary(max_size=20), st.binary(max_size=50), st.booleans(), st.text(max_size=5), st.binary(max_size=5))
def test_a_publish_decodes_as_in_paho(topic, payload, qos, text, correlation):
    properties = Properties(PacketTypes.PUBLISH)
    properties.CorrelationData = correlation
    properties.MessageExpiryInterval = 7
    properties.PayloadFormatIndicator = 1
    properties.UserProperty = ("key", "value")
    properties.SubscriptionIdentifier = 300
    properties.ResponseTopic = "r" + "".join(c for c in text if c.isalnum())
    body = packet(topic, payload, properties, b"\x01\x02" if qos else b"")
    ours = decode_publish(0x33 if qos else 0x31, body)
    theirs = paho_decode(0x33 if qos else 0x31, body, MQTTProtocolVersion.MQTTv5)
    assert (ours.topic, ours.payload, ours.qos, ours.retain, ours.mid) == (
        theirs.topic,
        bytes(theirs.payload),
        theirs.qos,
        True,
        theirs.mid,
    )
    assert ours.response_topic == theirs.properties.ResponseTopic
    assert ours.correlation == theirs.properties.CorrelationData
    assert ours.number == 300


def test_a_copy_for_several_filters_has_no_number():
    body = packet(b"t", b"")[:3] + b"\x04\x0b\x01\x0b\x02"
    assert decode_publish(0x30, body).number == 0


@given(st.integers(0, 255), st.binary(max_size=60))
def test_any_bytes_decode_or_are_malformed(command, body):
    with contextlib.suppress(MalformedPacket):
        decode_publish(command, body)


@given(st.lists(st.integers(1, 9), min_size=1, max_size=30), st.binary(min_size=1, max_size=100))
def test_reading_ahead_hands_out_the_same_bytes(sizes, sent):
    left, right = socket.socketpair()
    with left, right:
        right.setblocking(False)
        reader = ReadAhead(right)
        left.sendall(sent)
        got = b""
        for size in sizes:
            if len(got) < len(sent):
                got += reader.recv(size)
                assert reader.pending() == len(sent) - len(got)
        assert sent.startswith(got)


def test_a_link_does_not_load_dnspython_which_is_installed():
    code = "import sys, twin.link.mqtt, dns; print('dns.resolver' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=30)
    assert done.stdout.strip() == "False"
