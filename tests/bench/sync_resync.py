"""After an outage in which every twin has changed: how long until both sites hold the same, and in how many bytes."""

from __future__ import annotations

import asyncio
import json
from statistics import median
from typing import Final

from cloudsync.store.opening import open_store
from edgehub.sync.states import SyncState
from tests.bench.figure import Figure, Scale
from tests.bench.sync_gateway import NAME, BenchGateway, joined_gateway
from tests.cloudsync.postgres_server import PostgresServer
from tests.cloudsync.process import CloudProcess
from twin.clock import SystemClock
from twin.exchange import Row
from twin.model import Kind, TwinKey

_TWINS: Final = 10_000
_LEAVES: Final = 4
_ROUNDS: Final = 3
_MODEL: Final = """
apiVersion: edgetwin.dev/v1
kind: DeviceModel
metadata: {namespace: plant, name: tank}
spec:
  properties:
    - {name: level, type: FLOAT}
    - {name: inflow, type: FLOAT}
    - {name: pump, type: BOOLEAN}
    - {name: mode, type: INT}
"""
_DEVICE: Final = """---
apiVersion: edgetwin.dev/v1
kind: Device
metadata: {namespace: plant, name: tank-NUMBER}
spec: {deviceModelRef: {name: tank}}
"""


async def resync(scale: Scale) -> list[Figure]:
    """10 000 documented twins, each with four leaves that change while the line is cut; the long run on SQLite too."""
    sqlite = await _measured(scale, "sqlite", {}) if scale.long else None
    scale.folder.chmod(0o755)  # PostgreSQL is another user
    with PostgresServer(durable=True, folder=scale.folder) as server:
        postgres = await _measured(scale, "cloud-pg", {"EDGETWIN_CLOUD_STORE_URL": server.url()})
    says = (
        f"{_TWINS} twins with {_LEAVES} changed leaves each, TLS over loopback, a real Mosquitto and one worker:"
        f" connected again -> both sites found equal by their digests, median of {_ROUNDS}"
    )
    found = []
    if sqlite is not None:
        found.append(Figure("sync.resync.sqlite", sqlite[0], "s", f"{says}; the cloud on SQLite", 5, at_most=True))
    return [
        *found,
        Figure(
            "sync.resync.bytes",
            postgres[1],
            "ratio",
            "all MQTT payloads of the resync, both ways, before compression / sum of the rows as compact JSON",
            1.2,
            at_most=True,
        ),
        Figure("sync.resync.compressed", postgres[2], "ratio", "the same as it goes over the line", 1.2, at_most=True),
        Figure("sync.resync", postgres[0], "s", f"{says}; the cloud on PostgreSQL", 5, at_most=True),
    ]


async def _measured(scale: Scale, name: str, settings: dict[str, str]) -> tuple[float, float, float]:
    cloud = CloudProcess(scale.folder / name, **settings)
    await asyncio.to_thread(cloud.run, "cloud", "init")
    await asyncio.to_thread(cloud.start)
    try:
        text = _MODEL + "".join(_DEVICE.replace("NUMBER", str(number)) for number in range(_TWINS))
        async with joined_gateway(scale.folder / f"gateway-{name}", cloud, text) as gateway:
            await _change(gateway, 0)
            await gateway.reaches(SyncState.LIVE, 300)
            found = [await _round(gateway, number) for number in range(1, _ROUNDS + 1)]
            await _check(gateway, settings.get("EDGETWIN_CLOUD_STORE_URL") or f"sqlite:///{cloud.folder}/cloud.db")
    finally:
        await asyncio.to_thread(cloud.stop)
    return median(one[0] for one in found), median(one[1] for one in found), median(one[2] for one in found)


async def _round(gateway: BenchGateway, number: int) -> tuple[float, float, float]:
    """One outage: seconds, and bytes against the rows one by one."""
    session = gateway.session
    gateway.line.cut()
    await gateway.reaches(SyncState.OFFLINE)
    await _change(gateway, number)
    acked = session.dialogue.progress.acked
    rows = await gateway.engine.replica.changes(acked, _TWINS * _LEAVES + 1)
    alone = sum(len(_row(row)) for row in rows)
    assert len(rows) == _TWINS * _LEAVES, len(rows)
    before = (
        session.dialogue.up.bytes + session.dialogue.down.bytes,
        session.dialogue.up.payload_bytes + session.dialogue.down.payload_bytes,
    )
    gateway.line.restore()
    began_s = await gateway.reaches(SyncState.CONNECTING)
    ended_s = await gateway.reaches(SyncState.LIVE)
    plain = session.dialogue.up.bytes + session.dialogue.down.bytes - before[0]
    packed = session.dialogue.up.payload_bytes + session.dialogue.down.payload_bytes - before[1]
    return ended_s - began_s, plain / alone, packed / alone


async def _change(gateway: BenchGateway, number: int) -> None:
    now_ms = SystemClock().now_us() // 1000
    for twin in range(_TWINS):
        values = {"level": 20 + number + twin / 256, "inflow": 2.25 + number, "pump": number % 2 == 0, "mode": number}
        gateway.engine.report(TwinKey(Kind.DEVICE, "plant", f"tank-{twin}"), values, {}, at=now_ms, by="mapper")
        if twin % 500 == 0:
            await gateway.engine.settled()
    await gateway.engine.settled()


def _row(row: Row) -> str:
    slot = row.slot
    fields = [str(row.key), row.property, slot.value, slot.tick, slot.seen, slot.by, slot.at, slot.quality]
    return json.dumps(fields, separators=(",", ":"))


async def _check(gateway: BenchGateway, url: str) -> None:
    """Look into the cloud's store: every twin has the same values."""
    store = open_store(url, SystemClock())
    await store.open()
    try:
        after, seen = None, 0
        while page := await store.twins(kind="device", gateway=NAME, after=after, limit=1000):
            for twin in page:
                assert dict(twin.reported) == dict(gateway.engine.document(twin.spec.key).reported), str(twin.spec.key)
            after, seen = page[-1].spec.key, seen + len(page)
        assert seen == _TWINS, seen
    finally:
        await store.close()
