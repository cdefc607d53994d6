"""All Services of a cloud are relabelled at once, and every gateway uses all of them: until the last one has it."""

from __future__ import annotations

import asyncio
import json
import random
import secrets
import time
from pathlib import Path
from statistics import median
from typing import Final

from cloudsync.applying import Applying
from cloudsync.collector import relax
from cloudsync.duty import on_duty
from cloudsync.hub import Hub
from cloudsync.scheduler.keeper import scheduler
from cloudsync.serving import WorkerOptions, serving
from cloudsync.store import CloudStore
from cloudsync.store.opening import open_store
from edgehub.mesh.translate import translate
from edgehub.registry import Registry
from edgehub.sync.down import Down
from mesh.compile import change, compile_table
from mesh.difference import table_difference
from tests.bench.figure import Figure, Scale
from tests.bench.rig import Child, RunningBroker, broker, child, module
from twin.clock import SystemClock
from twin.exchange import DocumentRef, DocumentRow, Documents, DocumentState
from twin.link import Message
from twin.link.mqtt import MqttLink
from twin.manifest.catalog import content_hash
from twin.model import Value
from twin.sealing import Sealer
from twin.wire.api import ApplyRequest, DocumentSource
from twin.wire.sync import encode

SERVICES: Final = 2_000
NODES: Final = 40
_ROUNDS: Final = 3
_PART: Final = 200
_SESSION: Final = "s" * 33


async def figures(scale: Scale) -> list[Figure]:
    """The last of all gateways, what one of them has to do then, and what went over the line."""
    node_s = median(_node(scale.folder / f"registry-{number}.json") for number in range(_ROUNDS))
    async with broker(scale.folder) as running:
        rounds = await _storms(scale.folder, running)
    applied_s, last_s, first_s, sent = (median(values) for values in zip(*rounds, strict=True))
    says = (
        f"{SERVICES} Services relabelled in a cloud, {NODES} simulated gateways that use all of them, over Mosquitto"
        f" and SQLite, median of {_ROUNDS}"
    )
    return [
        Figure("mesh.storm.applied", applied_s, "s", f"one request with all of them, to the cloud's disk: {says}"),
        Figure("mesh.storm.first", first_s, "s", f"from there until the first gateway has all of them: {says}"),
        Figure("mesh.storm.sent", last_s, "s", f"from there until the last one has them: {says}"),
        Figure(
            "mesh.storm.node",
            node_s,
            "s",
            f"what a real gateway does then: {SERVICES} Services read, checked, on its disk, translated and compiled",
        ),
        Figure(
            "mesh.storm.bytes",
            sent / sum(len(encode(one)) for one in _messages(1)),
            "x",
            f"bytes to one gateway against each changed document once: {says}",
            2,
            at_most=True,
        ),
        Figure(
            "mesh.storm",
            last_s + node_s,
            "s",
            f"from the cloud's disk until the last gateway is programmed, .sent and .node: {says}",
            4,
            at_most=True,
        ),
    ]


# -- the cloud ---------------------------------------------------------------------------------------------------------


async def _storms(folder: Path, running: RunningBroker) -> list[tuple[float, float, float, float]]:
    store = open_store(f"sqlite:///{folder / 'cloud.db'}", SystemClock())
    sealer = Sealer(folder / "secrets.key")
    link = MqttLink(running.options("cloud-w1"), rng=random.Random(1))
    options = WorkerOptions("w1", "c1", hello_rate_hz=1000.0, hello_burst=1000)
    async with link:
        await link.connected(20.0)
        async with (
            serving(
                *(link, store, options),
                known=_known,
                clock=SystemClock(),
                nonce=lambda: secrets.token_hex(8),
                rng=random.Random(2),
            ) as hub,
            on_duty(scheduler(hub, store, sealer, "w1", known=_known, clock=SystemClock())),
        ):
            with child(module("tests.bench.storm_nodes"), log=folder / "nodes.log") as nodes:
                names = [f"gw-{number:02}" for number in range(NODES)]
                asked = {"names": names, "services": SERVICES, "port": running.port}
                login = {"account": running.account.name, "password": running.account.password}
                nodes.tell(json.dumps(asked | login))
                cloud = _Cloud(hub, store, sealer)
                relax()  # as a worker does
                await cloud.storm(nodes, 0)  # until all are there and have them
                return [await cloud.storm(nodes, version) for version in range(1, _ROUNDS + 1)]


async def _known(_: str) -> bool:
    return True


class _Cloud:
    """What people do to it."""

    def __init__(self, hub: Hub, store: CloudStore, sealer: Sealer) -> None:
        self._applying = Applying(hub, store, known=_known, new_uid=lambda: secrets.token_hex(8), sealer=sealer)

    async def storm(self, nodes: Child, version: int) -> tuple[float, float, float, float]:
        """Relabel all; seconds of the request, until the last and the first gateway have it, bytes to one."""
        text = json.dumps([_service(number, version) for number in range(SERVICES)])
        began_s = time.monotonic()
        await self._applying.apply(ApplyRequest(sources=[DocumentSource(name="all.json", text=text)]), by="ann")
        applied_s = time.monotonic()
        told = []
        while len(told) < NODES:
            said = json.loads(await nodes.line(120.0))
            if said["version"] == str(version):
                told.append(said)
        at_s = [one["at_s"] for one in told]
        await asyncio.sleep(3.0)  # until all have agreed, and nothing is left to be done
        return applied_s - began_s, max(at_s) - applied_s, min(at_s) - applied_s, median(one["bytes"] for one in told)


# -- one gateway -------------------------------------------------------------------------------------------------------


def _node(path: Path) -> float:
    """What one real gateway does with the documents once they have come."""
    with Registry(path) as registry:
        registry.agree(_rows(0))
        before = translate(registry.view, node="gw-00", address_of=_address)
        compiled = compile_table(before.table)
        first, *rest = [Message("down", encode(one)) for one in _messages(1)]
        down = Down(lambda: None)
        began_s = time.perf_counter()
        for come in ([first], rest):  # the others come while the first is taken
            for message in come:
                down.on_message(message)
            while down:
                taken = down.take()
                assert isinstance(taken, Documents)
                registry.agree(taken.rows)
        after = translate(registry.view, node="gw-00", address_of=_address)
        change(compiled, table_difference(before.table, after.table))
        return time.perf_counter() - began_s


def _address(key: object, _: str) -> str:
    number = int(str(key).rpartition("-")[2])
    return f"10.96.{number // 250 + 1}.{number % 250 + 1}"


def _rows(version: int) -> list[DocumentRow]:
    found = []
    for number in range(SERVICES):
        raw = _service(number, version)
        ref = DocumentRef("Service", "plant", f"shop-{number}")
        state = DocumentState(ref, f"carried-{number:016x}", version + 1, content_hash(raw), frozenset())
        found.append(DocumentRow(state, raw))
    return found


def _messages(version: int) -> list[Documents]:
    rows = _rows(version)
    return [Documents(_SESSION, tuple(rows[start : start + _PART])) for start in range(0, len(rows), _PART)]


def _service(number: int, version: int) -> dict[str, Value]:
    name = f"shop-{number}"
    labels: Value = {"app": name, "tier": "front", "v": str(version)}
    annotations: Value = {"edgetwin.dev/gateways": "*"}
    port: Value = {"name": "http", "port": 80, "targetPort": 8080}
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"namespace": "plant", "name": name, "labels": labels, "annotations": annotations},
        "spec": {"selector": {"app": name}, "ports": [port]},
    }
