"""Our decoder agrees with paho's, and paho still has what we override."""

import contextlib
import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st
from paho.mqtt._packet import decode_publish as paho_decode
from paho.mqtt.client import Client
from paho.mqtt.enums import MQTTProtocolVersion
from paho.mqtt.exception import MalformedPacket
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from twin.link.paho_client import FastClient, ReadAhead, decode_publish

pytestmark = pytest.mark.fast


def packet(topic: bytes, payload: bytes, properties: Properties | None = None, mid: bytes = b"") -> bytearray:
    packed = properties.pack() if properties is not None else b"\x00"
    return bytearray(len(topic).to_bytes(2, "big") + topic + mid + packed + payload)


@pytest.mark.parametrize("name", ["_create_socket", "_handle_publish", "_handle_pubackcomp", "_do_on_publish"])
def test_paho_still_has_the_methods_we_override(name):
    assert callable(getattr(Client, name))
    assert name in vars(FastClient)


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
