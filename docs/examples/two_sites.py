"""Two sites that share one twin, a line between them that can be cut, and what each of them ends with."""

from __future__ import annotations

import asyncio
import itertools
import shutil
import tempfile
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from pathlib import Path

from twin.engine import TwinEngine
from twin.exchange import Message
from twin.feed import Feed
from twin.model import Access, PropertySpec, Site, TwinKey, TwinSpec, Value
from twin.sqlite_store import SqliteStore
from twin.view import explanation, twin_body

TANK = TwinKey.parse("plant/tank")
SPEC = TwinSpec(TANK, "1", properties={"valve": PropertySpec("valve", access=Access.READ_WRITE)})
HOUR_US = 3_600_000_000


class HandClock:
    """A clock that people set, rightly or not."""

    def __init__(self) -> None:
        self.us = 1_700_000_000_000_000

    def now_us(self) -> int:
        """A millisecond later each time."""
        self.us += 1000
        return self.us

    def monotonic_s(self) -> float:
        """Nobody waits here."""
        return 0.0


class Place:
    """A site: its store, and the engine and feed of its present start."""

    def __init__(self, site: Site, path: Path, disk: ThreadPoolExecutor) -> None:
        self.site, self.path, self.disk = site, path, disk
        self.clock = HandClock()
        self.sent: deque[Message] = deque()
        self.names = (f"{site}-{number}" for number in itertools.count())

    async def start(self) -> None:
        """As after a power cut: what is on disk counts."""
        self.store = SqliteStore(self.path)
        self.store.open()
        self.engine = TwinEngine(self.store, clock=self.clock, executor=self.disk, site=self.site)
        self.engine.open()
        self.engine.define(SPEC)
        self.feed = Feed(self.engine.replica, send=self.sent.append, nonce=lambda: next(self.names))
        await self.feed.open()

    async def stop(self) -> None:
        """Let go of the file."""
        await self.engine.close()
        self.store.close()

    def put_back(self, backup: Path) -> None:
        """Replace the file, while nobody holds it."""
        for path in self.path.parent.glob(f"{self.path.name}*"):
            path.unlink()
        shutil.copy(backup, self.path)

    async def want(self, value: Value, by: str) -> None:
        """Set the valve; answered once it is on disk."""
        await self.engine.set_desired(TANK, {"valve": value}, by=by).stored()

    def valve(self) -> Value:
        """What is desired of the valve here; None if nothing is."""
        leaf = twin_body(self.engine.document(TANK)).desired.get("valve")
        return leaf.value if leaf is not None else None

    def why(self) -> str:
        """Who won, and why."""
        said = explanation(self.engine.document(TANK), TANK, "valve")
        return f"{said.winner}, because {said.why}"


async def line_is_up(edge: Place, cloud: Place) -> None:
    """The edge asks for a session, and everything is delivered."""
    edge.sent.clear()
    cloud.sent.clear()
    await edge.feed.connect()
    while edge.sent or cloud.sent:
        for sender, receiver in ((edge, cloud), (cloud, edge)):
            while sender.sent:
                await receiver.feed.receive(sender.sent.popleft())
    assert edge.engine.document(TANK).desired == cloud.engine.document(TANK).desired


async def main(folder: Path) -> list[str]:
    """Four things that happen to a line; returns what a person would see."""
    seen: list[str] = []
    async with AsyncExitStack() as stack:
        disks = [stack.enter_context(ThreadPoolExecutor(1)) for _ in Site]
        edge, cloud = (Place(site, folder / f"{site}.db", disk) for site, disk in zip(Site, disks, strict=True))
        for place in (edge, cloud):
            await place.start()
            stack.push_async_callback(place.stop)

        # The line is cut, both write. Neither knows of the other, so the policy decides: the later one by the clock.
        await edge.want(30, by="panel")
        cloud.clock.us += HOUR_US
        await cloud.want(70, by="app")
        seen.append(f"cut: edge {edge.valve()}, cloud {cloud.valve()}")
        await line_is_up(edge, cloud)
        seen.append(f"two edits at once: {edge.valve()} on both, {edge.why()}")

        # The edge has seen 70 and writes again. Its clock has gone back to 1970; that does not matter.
        edge.clock.us = 0
        await edge.want(40, by="panel")
        await line_is_up(edge, cloud)
        seen.append(f"clock of 1970: {cloud.valve()} on both, {cloud.why()}")

        # A delete is a write like any other, and stays.
        await cloud.engine.set_desired(TANK, {}, unset=["valve"], by="app").stored()
        await line_is_up(edge, cloud)
        seen.append(f"deleted: {edge.valve()} on both")

        # The edge gets a backup back that is older than what it told the cloud.
        edge.store.copy_to(folder / "backup.db")
        await edge.want(50, by="panel")
        await line_is_up(edge, cloud)
        await edge.stop()
        edge.put_back(folder / "backup.db")
        await edge.start()
        seen.append(f"restored: edge {edge.valve()}, cloud {cloud.valve()}")
        await line_is_up(edge, cloud)
        seen.append(f"after the line is back: {edge.valve()} on both")
    return seen


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        print("\n".join(asyncio.run(main(Path(name)))))  # noqa: T201  what the reader came for
