"""Simulated gateways that take documents: ``python -m tests.bench.storm_nodes``, told which on standard input.

Each has a connection and a session of its own, joins what comes by the gateways' own rule and exchanges digests by the
gateways' own code. What is left out is a gateway's own work: registry, twins, mesh. For each version of the label ``v``
it prints when all documents with that label had it, and how many bytes had come by then.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import sys
import time
from collections.abc import Iterable, Sequence
from typing import Final

from cloudsync.collector import relax
from edgehub.agreeing import Agreement, Books
from edgehub.sync.documents import DocumentExchange
from twin.exchange import (
    Ack,
    Alive,
    DocumentRef,
    DocumentRow,
    Documents,
    DocumentState,
    Frame,
    Hello,
    Place,
    Run,
    Standing,
    SyncMessage,
    Welcome,
)
from twin.link import Message
from twin.link.mqtt import MqttLink, MqttOptions
from twin.manifest.agreement import joined, unknown
from twin.model import Kind, Site, TwinKey
from twin.wire import topics
from twin.wire.sync import decode, encode

ALIVE_S: Final = 2.0


class Node:
    """One of them."""

    def __init__(self, name: str, port: int, account: str, password: str, services: int) -> None:
        self.name = name
        self._services = services
        self._states: dict[DocumentRef, DocumentState] = {}
        self._versions: dict[DocumentRef, str] = {}
        self._reached: set[str] = set()
        self._bytes = 0
        self._run = Run(secrets.token_hex(8), 1)
        self._nonce = secrets.token_hex(8)
        self._session = ""
        self._key = TwinKey(Kind.GATEWAY, "default", name)
        self._exchange = DocumentExchange(self, self._say)
        self._inbox: asyncio.Queue[Documents] = asyncio.Queue()
        self._link = MqttLink(MqttOptions("127.0.0.1", port, name, account, password))

    async def run(self) -> None:
        """Come, and take what comes, until cancelled."""
        async with self._link:
            await self._link.subscribe(topics.sync_down(self.name), self._hear)
            self._link.on_state(lambda state: self._greet() if state == "up" else None)
            loop = asyncio.get_running_loop()
            said_s = loop.time()
            while True:
                due_s = max(0.0, min(self._exchange.due_at_s - loop.time(), ALIVE_S))
                try:
                    async with asyncio.timeout(due_s or 0.01):
                        message = await self._inbox.get()
                    await self._exchange.take(message, loop.time())
                except TimeoutError:
                    pass
                if self._session and loop.time() >= self._exchange.due_at_s:
                    self._exchange.compare(loop.time())
                if self._session and loop.time() - said_s >= ALIVE_S:
                    said_s = loop.time()
                    self._say(Alive(self._session))

    # -- what the exchange of documents needs ---------------------------------------------------------------------

    def states(self) -> Sequence[DocumentState]:
        """Of every document."""
        return list(self._states.values())

    def rows(self, refs: Iterable[DocumentRef]) -> list[DocumentRow]:
        """It has none of its own."""
        return [DocumentRow(self._states[ref], None) for ref in refs if ref in self._states]

    def own_twins(self) -> tuple[Place, ...]:
        """Itself."""
        return ((self._key, ""),)

    async def agree(self, rows: Sequence[DocumentRow]) -> Agreement:
        """Join rows of the cloud."""
        for row in rows:
            ref = row.state.ref
            self._states[ref] = joined(self._states.get(ref) or unknown(ref), row.state, site=Site.EDGE).state
            metadata = row.raw.get("metadata") if row.raw is not None else None
            labels = metadata.get("labels") if isinstance(metadata, dict) else None
            if isinstance(labels, dict) and "v" in labels:
                self._versions[ref] = str(labels["v"])
        versions = set(self._versions.values())
        if len(self._versions) == self._services and len(versions) == 1 and not versions <= self._reached:
            self._reached |= versions
            (version,) = versions
            said = {"node": self.name, "version": version, "at_s": time.monotonic(), "bytes": self._bytes}
            sys.stdout.write(json.dumps(said) + "\n")
            sys.stdout.flush()
            self._bytes = 0
        return Agreement(Books(), frozenset(), (), ())

    # -- the line --------------------------------------------------------------------------------------------------

    def _hear(self, message: Message) -> None:
        said = decode(message.payload, what="down")
        match said:
            case Welcome(nonce=self._nonce) if not self._session:
                self._session = said.session
                self._exchange.begin(said.session, asyncio.get_running_loop().time())
            case Documents():
                self._bytes += len(message.payload)
                self._inbox.put_nowait(said)
            case Frame():
                self._say(Ack(said.session, said.upto))
            case _:
                pass

    def _greet(self) -> None:
        self._link.publish(topics.sync_state(self.name), b'{"online":true}', qos=1, retain=True)
        self._say(Hello(self._nonce, Standing((self._run,), frozenset(), 0, 0)))

    def _say(self, message: SyncMessage) -> None:
        self._link.publish(topics.sync_up(self.name), encode(message), qos=1)


async def main() -> None:
    """Run as many as are asked for, until standard input ends."""
    asked = json.loads(sys.stdin.readline())
    relax()  # each has a fortieth of this heap to look through
    nodes = [
        Node(name, asked["port"], asked["account"], asked["password"], asked["services"]) for name in asked["names"]
    ]
    tasks = [asyncio.create_task(one.run()) for one in nodes]
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


if __name__ == "__main__":
    asyncio.run(main())
