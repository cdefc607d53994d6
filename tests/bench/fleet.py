"""Many simulated gateways in one process: ``python -m tests.bench.fleet``, told what to do on standard input.

Each has a certificate, a TLS connection and a session of its own and speaks the sync of twin.wire.sync: frames of rows,
each acknowledged after its commit. What is left out is a gateway's own work: devices, engine, store.
"""

from __future__ import annotations

import asyncio
import json
import random
import secrets
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from twin.document import Slot
from twin.exchange import (
    Ack,
    Alive,
    Ask,
    DocumentDigests,
    Frame,
    Hello,
    Refusal,
    Row,
    Run,
    Standing,
    SyncMessage,
    Welcome,
)
from twin.link import Message, Will
from twin.link.mqtt import MqttLink, MqttOptions, TlsOptions
from twin.model import Kind, Section, Site, TwinKey
from twin.wire import topics
from twin.wire.enrolment import server_name
from twin.wire.sync import decode, encode

ALIVE_S: Final = 2.0
HELLO_S: Final = 5.0


@dataclass(slots=True)
class Times:
    """What was measured since the last look."""

    acks_ms: list[float] = field(default_factory=list)
    frames: int = 0
    sessions: int = 0
    refusals: int = 0


class SimulatedGateway:
    """One of them; its twin is itself, with as many properties as a frame has rows."""

    def __init__(self, name: str, asked: dict[str, Any], times: Times) -> None:
        self.name = name
        self._times = times
        self._rows = asked["rows"]
        self._period_s = asked["period_s"]
        self._key = TwinKey(Kind.GATEWAY, "default", name)
        self._run = Run(secrets.token_hex(8), 1)
        self._nonce = ""
        self._session = ""
        self._cursor = 0
        self._sent: dict[int, float] = {}
        self._said_s = 0.0
        self._again: asyncio.TimerHandle | None = None
        pair = Path(asked["folder"]) / f"{name}.pem"
        tls = TlsOptions(Path(asked["ca"]), pair, pair, server_name(name, asked["host"]))
        self.link = MqttLink(
            MqttOptions(
                asked["host"],
                asked["port"],
                name,
                tls=tls,
                connect_timeout_s=30.0,
                first_delay_s=asked["spread_s"],
                will=Will(topics.sync_state(name), b'{"online":false}'),
            )
        )

    @property
    def live(self) -> bool:
        """Whether it has a session."""
        return bool(self._session)

    async def run(self) -> None:
        """Come, speak, come again, until cancelled."""
        async with self.link:
            await self.link.subscribe(topics.sync_down(self.name), self._hear)
            self.link.on_state(lambda state: self._greet() if state == "up" else self._lose())
            await asyncio.sleep(random.uniform(0.0, self._period_s))
            next_s = time.monotonic()
            while True:
                if self._session:
                    self._report()
                next_s += self._period_s
                while (left_s := next_s - time.monotonic()) > 0:
                    await asyncio.sleep(min(left_s, ALIVE_S))
                    if self._session and time.monotonic() - self._said_s >= ALIVE_S:
                        self._say(Alive(self._session))

    def _report(self) -> None:
        now_us = time.time_ns() // 1000
        tick = max(now_us, self._cursor + 1)
        rows = tuple(
            Row(
                self._key,
                "",
                Section.REPORTED,
                f"p{number}",
                Site.EDGE,
                Slot(tick % 1000 / 10, tick + number, 0, "hub", now_us // 1000),
            )
            for number in range(self._rows)
        )
        upto = tick + self._rows - 1
        self._sent[upto] = time.monotonic()
        self._times.frames += 1
        self._say(Frame(self._session, max([self._cursor, *(one for one in self._sent if one < upto)]), upto, rows))

    def _hear(self, message: Message) -> None:
        said = decode(message.payload, what="down")
        match said:
            case Welcome(nonce=self._nonce):
                self._session, self._cursor = said.session, said.standing.cursor
                self._stop_greeting()
                self._sent.clear()
                self._times.sessions += 1
                self._say(DocumentDigests(said.session, (), ((self._key, ""),)))
            case Refusal(nonce=self._nonce):
                self._times.refusals += 1
                self._greet_in(said.retry_after_s * random.uniform(1.0, 1.5))
            case Ack(session=self._session):
                now_s = time.monotonic()
                self._cursor = max(self._cursor, said.cursor)
                for upto in [one for one in self._sent if one <= said.cursor]:
                    self._times.acks_ms.append((now_s - self._sent.pop(upto)) * 1000)
                if said.again:
                    self._sent.clear()
            case Ask(hello=True):
                self._greet()
            case _:
                pass

    def _greet(self) -> None:
        self._lose()
        self._nonce = secrets.token_hex(8)
        self.link.publish(topics.sync_state(self.name), b'{"online":true}', qos=1, retain=True)
        self._say(Hello(self._nonce, Standing((self._run,), frozenset(), 0, 0)))
        self._greet_in(HELLO_S)  # nobody may have heard it: workers may be about to connect

    def _greet_in(self, wait_s: float) -> None:
        self._stop_greeting()
        self._again = asyncio.get_running_loop().call_later(wait_s, self._greet)

    def _stop_greeting(self) -> None:
        if self._again is not None:
            self._again.cancel()

    def _lose(self) -> None:
        self._session = ""
        self._stop_greeting()

    def _say(self, message: SyncMessage) -> None:
        self._said_s = time.monotonic()
        self.link.publish(topics.sync_up(self.name), encode(message), qos=1)


async def main() -> None:
    """Run as many as are asked for; a line with what was measured for each line that comes in."""
    asked = json.loads(sys.stdin.readline())
    times = Times()
    gateways = [SimulatedGateway(name, asked, times) for name in asked["names"]]
    tasks = [asyncio.create_task(one.run()) for one in gateways]
    loop = asyncio.get_running_loop()
    try:
        while await loop.run_in_executor(None, sys.stdin.readline):
            acks = sorted(times.acks_ms)
            told = {
                "live": sum(one.live for one in gateways),
                "frames": times.frames,
                "acks": len(acks),
                "sessions": times.sessions,
                "refusals": times.refusals,
                "p50_ms": acks[len(acks) // 2] if acks else 0.0,
                "p99_ms": acks[int(len(acks) * 0.99)] if acks else 0.0,
            }
            times.acks_ms.clear()
            times.frames = 0
            sys.stdout.write(json.dumps(told) + "\n")
            sys.stdout.flush()
    finally:
        for task in tasks:
            task.cancel()


if __name__ == "__main__":
    asyncio.run(main())
