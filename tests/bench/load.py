"""The load process: plain paho in a tight loop, a fixed number of reports in flight, the next one sent at each ack.

python -m tests.bench.load PORT USER PASSWORD '{"topic": ..., "acks": ..., "window": 256, ...}'; prints one JSON line.
The same program loads the hub and the bare loop.
"""

from __future__ import annotations

import json
import select
import sys
import time
from dataclasses import asdict, dataclass, field
from statistics import median
from typing import Any, Final

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from tests.bench.plant import name, payload

_SILENCE_S: Final = 10.0


@dataclass(frozen=True)
class Order:
    """What to send. ``rate`` is reports a second, 0 for all that the window lets through; ``values`` of each report."""

    topic: str
    acks: str
    window: int
    devices: int = 100
    warm_s: float = 2.0
    measure_s: float = 10.0
    rate: float = 0.0
    values: int = 10


@dataclass
class Outcome:
    """What came back while it was measured; ``p50_ms`` from publish to ack."""

    updates: int = 0
    refused: int = 0
    seconds: float = 0.0
    p50_ms: float = 0.0


@dataclass
class Load:
    """One connection and what it has in flight."""

    client: mqtt.Client
    order: Order
    next_id: int = field(default_factory=lambda: time.time_ns() // 1000)
    sent: int = 0
    in_flight: dict[int, float] = field(default_factory=dict)
    waits_s: list[float] = field(default_factory=list)
    refused: int = 0

    def run(self) -> Outcome:
        """Warm up, measure, report."""
        topics = [f"{self.order.topic}{name(device)}" for device in range(self.order.devices)]
        poller = select.poll()
        sock: Any = self.client.socket()
        poller.register(sock, select.POLLIN)
        first_turn = time.time_ns() // 1_000_000_000 % 800_000
        began_s = time.perf_counter()
        warm_until_s = began_s + self.order.warm_s
        ends_s = warm_until_s + self.order.measure_s
        measuring = False
        while (now_s := time.perf_counter()) < ends_s:
            if not measuring and now_s >= warm_until_s:
                measuring, warm_until_s = True, now_s
                self.waits_s.clear()
                self.refused = 0
            due = self.sent + self.order.window
            if self.order.rate:
                due = int((now_s - began_s) * self.order.rate)
            while len(self.in_flight) < self.order.window and self.sent < due:
                turn, device = divmod(self.sent, self.order.devices)
                self._send(topics[device], device, first_turn + turn)
            if self.client.want_write():
                self.client.loop_write()
            pause_ms = 1 if self.order.rate and len(self.in_flight) < self.order.window else _SILENCE_S * 1000
            if poller.poll(pause_ms):
                self.client.loop_read()
            elif pause_ms > 1:
                sys.exit(f"no ack in {_SILENCE_S:g} s, {len(self.in_flight)} reports in flight")
        return Outcome(
            updates=len(self.waits_s) * self.order.values,
            refused=self.refused,
            seconds=now_s - warm_until_s,
            p50_ms=median(self.waits_s) * 1000,
        )

    def on_ack(self, _client: object, _user: object, message: mqtt.MQTTMessage) -> None:
        """Take acks, one or many a message."""
        now_s = time.perf_counter()
        ack: dict[str, Any] = json.loads(message.payload)
        for report_id in ack.get("stored", ()):
            sent_s = self.in_flight.pop(report_id, None)
            if sent_s is not None:
                self.waits_s.append(now_s - sent_s)
        self.refused += len(ack.get("refused", ()))

    def _send(self, topic: str, device: int, turn: int) -> None:
        self.sent += 1
        self.next_id += 1
        self.in_flight[self.next_id] = time.perf_counter()
        self.client.publish(topic, payload(device, turn, self.next_id, time.time_ns() // 1_000_000, self.order.values))


def main() -> None:
    """Connect, run, print."""
    port, user, password, order_text = sys.argv[1:]
    client = connected(int(port), user, password, f"load-{time.time_ns()}")
    load = Load(client, Order(**json.loads(order_text)))
    client.on_message = load.on_ack
    subscribed(client, load.order.acks)
    outcome = load.run()
    client.disconnect()
    sys.stdout.write(json.dumps(asdict(outcome)) + "\n")


def connected(port: int, user: str, password: str, client_id: str) -> mqtt.Client:
    """A connected plain paho client (MQTT 3.1.1, the cheaper one), driven by ``loop_read``."""
    client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id)
    client.username_pw_set(user, password)
    client.connect("127.0.0.1", port, keepalive=600)
    deadline_s = time.monotonic() + _SILENCE_S
    while not client.is_connected():
        client.loop(0.1)
        if time.monotonic() > deadline_s:
            sys.exit("the broker does not answer")
    return client


def subscribed(client: mqtt.Client, topic_filter: str) -> None:
    """Subscribe and wait for the grant."""
    granted: list[object] = []
    client.on_subscribe = lambda *arguments: granted.append(arguments)
    client.subscribe(topic_filter, qos=0)
    deadline_s = time.monotonic() + _SILENCE_S
    while not granted:
        client.loop(0.1)
        if time.monotonic() > deadline_s:
            sys.exit(f"no grant for {topic_filter}")


if __name__ == "__main__":
    main()
