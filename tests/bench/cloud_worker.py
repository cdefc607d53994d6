"""`python -m tests.bench.cloud_worker URL FIRST GATEWAYS FRAMES SECONDS`: the real hub of a worker, fed from memory.

It begins a session for each gateway, makes the bytes of its frames, and says `ready`. Told `go`, it decodes and takes
frame after frame, a few of each gateway on their way, and says how many rows it has acknowledged, and in what time.
"""

from __future__ import annotations

import asyncio
import secrets
import sys
import time
from collections.abc import Iterator
from typing import Final

from cloudsync.hub import Hub
from cloudsync.pacing import Pacing
from cloudsync.store.opening import open_store
from twin.clock import SystemClock
from twin.document import Slot
from twin.exchange import Ack, Frame, Hello, Row, Run, Standing, SyncMessage, Welcome
from twin.feed import WINDOW
from twin.model import Kind, Section, Site, TwinKey
from twin.wire.sync import decode, encode

TWINS: Final = 250
"""Of each gateway."""
PROPERTIES: Final = 4
ROWS: Final = 500
"""Of a frame: half of the twins, with all their properties."""


class _Gateway:
    """One gateway's end: its session, and its frames as bytes."""

    def __init__(self, number: int) -> None:
        self.name = f"gw{number}"
        self.number = number
        self.session = asyncio.get_running_loop().create_future()
        self.cursor = 0
        self.payloads: Iterator[bytes] = iter(())

    def frames(self, count: int) -> list[bytes]:
        keys = [key_of(self.number, twin) for twin in range(TWINS)]
        tick, made = self.cursor, []
        for number in range(count):
            half = keys[: TWINS // 2] if number % 2 else keys[TWINS // 2 :]
            rows = []
            for key in half:
                for name in range(PROPERTIES):
                    rows.append(_row(key, f"p{name}", tick + len(rows) + 1))
            frame = Frame(self.session.result(), tick, tick + len(rows), tuple(rows))
            tick = frame.upto
            made.append(encode(frame))
        return made


def key_of(gateway: int, twin: int) -> TwinKey:
    """One twin of one gateway."""
    return TwinKey(Kind.DEVICE, "bench", f"d{gateway}-{twin}")


def _row(key: TwinKey, name: str, tick: int) -> Row:
    value = round(tick * 0.618034 % 100, 2)
    return Row(
        key,
        f"u-{key.name}",
        Section.REPORTED,
        name,
        Site.EDGE,
        Slot(value, tick, 0, "mapper", 1_760_000_000_000 + tick),
    )


class _Rig:
    def __init__(self, gateways: list[_Gateway]) -> None:
        self._gateways = {one.name: one for one in gateways}
        self.acked = 0
        self.over = asyncio.Event()
        self.hub: Hub | None = None

    def send(self, gateway: str, message: SyncMessage) -> None:
        """Take what the hub sends to a gateway."""
        one = self._gateways[gateway]
        if isinstance(message, Welcome):
            one.cursor = message.standing.cursor
            one.session.set_result(message.session)
        elif isinstance(message, Ack):
            if message.again:
                raise AssertionError(message)
            self.acked += message.cursor - one.cursor
            one.cursor = message.cursor
            self.feed(one)

    def feed(self, one: _Gateway) -> None:
        """Put the gateway's next frame into the hub."""
        payload = next(one.payloads, None)
        if payload is None:
            self.over.set()
        elif not self.over.is_set():
            assert self.hub is not None
            self.hub.receive(one.name, decode(payload, what="frame"))


async def _known(_: str) -> bool:
    return True


async def _main(url: str, first: int, count: int, frames: int, seconds: float) -> None:
    gateways = [_Gateway(number) for number in range(first, first + count)]
    rig = _Rig(gateways)
    store = open_store(url, SystemClock())
    await store.open()
    rig.hub = Hub(
        store,
        send=rig.send,
        hint=lambda _: None,
        known=_known,
        clock=SystemClock(),
        nonce=lambda: secrets.token_hex(4),
        pacing=Pacing(rate_hz=1000, burst=1000, max_wait_s=1),
    )
    for one in gateways:
        standing = Standing((Run("bench", 1),), frozenset(), 0, 0)
        rig.hub.receive(one.name, Hello(secrets.token_hex(4), standing))
    await asyncio.gather(*(one.session for one in gateways))
    await rig.hub.drained()
    for one in gateways:
        one.payloads = iter(one.frames(frames))
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    await asyncio.to_thread(sys.stdin.readline)
    rig.acked = 0
    began_s = time.perf_counter()
    for one in gateways:
        for _ in range(WINDOW):
            rig.feed(one)
    try:
        async with asyncio.timeout(seconds):
            await rig.over.wait()
    except TimeoutError:
        pass
    took_s, acked = time.perf_counter() - began_s, rig.acked
    sys.stdout.write(f"{acked} {took_s}\n")
    sys.stdout.flush()
    rig.over.set()
    await rig.hub.drained()
    await store.close()


if __name__ == "__main__":
    asyncio.run(_main(sys.argv[1], *map(int, sys.argv[2:5]), float(sys.argv[5])))
