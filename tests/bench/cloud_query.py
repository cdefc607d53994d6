"""Queries over 100 000 twins in the cloud's PostgreSQL, while a gateway reports; and whether each write is seen."""

from __future__ import annotations

import asyncio
import random
import time
from contextlib import suppress
from statistics import median
from typing import Final

from cloudsync.store import CloudStore
from cloudsync.store.opening import open_store
from tests.bench.figure import Figure, Scale
from tests.cloudsync.postgres_server import PostgresServer
from twin.clock import SystemClock
from twin.document import Slot
from twin.exchange import Row
from twin.model import Kind, PropertySpec, Section, Site, TwinKey, TwinSpec, ValueType
from twin.query.parse import parse

_TWINS: Final = 100_000
_GATEWAYS: Final = 100
_PROPERTIES: Final = 4
_AREAS: Final = 50
_ROUNDS: Final = 15
_WRITES: Final = 100
_QUERIES: Final = {
    "label": "SELECT name, reported.p0 FROM twins WHERE tags.area = 'hall-2' AND reported.p0 > 80 LIMIT 100",
    "values": "SELECT name, reported.p1 FROM twins WHERE reported.p1 > 99 AND reported.p2 > 80 LIMIT 100",
    "order": "SELECT name FROM twins WHERE reported.p1 > 98 AND reported.p2 > 80 ORDER BY reported.p1 LIMIT 100",
    "text": "SELECT name FROM twins WHERE reported.mode = 'fault' AND reported.p0 > 50 LIMIT 100",
    "count": "SELECT tags.area, COUNT(*) FROM twins WHERE reported.p3 > 50 AND kind = 'device' GROUP BY tags.area",
}
_REACH_MS: Final = 50
_PARTS: Final = (
    ("label", "a label and a number", _REACH_MS),
    ("values", "two numbers, one of them rare", _REACH_MS),
    ("order", "two numbers, ordered by one", _REACH_MS),
    ("text", "a text and a number: no index begins with either", _REACH_MS),
    ("count", "a number of every second twin, counted by label", 0),
)


async def queries(scale: Scale) -> list[Figure]:
    """Fill a store, ask each query some times while a gateway reports, then write and ask in turn."""
    scale.folder.chmod(0o755)  # PostgreSQL is another user
    with PostgresServer(durable=True, folder=scale.folder) as server:
        store = open_store(server.url(), SystemClock())
        await store.open()
        await _fill(store)
        server.sql("VACUUM ANALYZE")  # what a running server does by itself within minutes
        writer = asyncio.create_task(_report(store))
        took_ms = {name: await _asked_ms(store, text) for name, text in _QUERIES.items()}
        writer.cancel()
        with suppress(asyncio.CancelledError):
            await writer
        missed = await _missed(store)
        await store.close()
    return [
        *(
            Figure(f"cloud.query.{name}", median(took_ms[name]), "ms", f"{says}: {_QUERIES[name]}", reach, reach > 0)
            for name, says, reach in _PARTS
        ),
        Figure(
            "cloud.query.missed",
            missed,
            "count",
            f"acknowledged writes that the query right after did not see, of {_WRITES}",
            at_most=True,
        ),
        Figure(
            "cloud.query",
            max(median(took_ms["label"]), median(took_ms["values"])),
            "ms",
            f"the slower of .label and .values: text to 100 rows, {_TWINS} twins on PostgreSQL beside a gateway that"
            f" reports, median of {_ROUNDS}",
            _REACH_MS,
            at_most=True,
        ),
    ]


def _key(gateway: int, number: int) -> TwinKey:
    return TwinKey(Kind.DEVICE, f"site-{gateway}", f"d{number}")


async def _fill(store: CloudStore) -> None:
    draw = random.Random(7)
    properties = {f"p{n}": PropertySpec(f"p{n}", ValueType.DOUBLE) for n in range(_PROPERTIES)}
    properties["mode"] = PropertySpec("mode", ValueType.STRING)
    for gateway in range(_GATEWAYS):
        keys = [_key(gateway, number) for number in range(_TWINS // _GATEWAYS)]
        async with store.transaction(f"gw{gateway}") as tx:
            specs = []
            for number, key in enumerate(keys):
                labels = (("area", f"hall-{number % _AREAS}"), ("line", f"l{number % 7}"))
                specs.append(TwinSpec(key, f"u-{key}", "bench", f"gw{gateway}", labels=labels, properties=properties))
            await tx.define(*specs)
            rows = []
            for key in keys:
                values = {f"p{n}": round(draw.uniform(0, 100), 2) for n in range(_PROPERTIES)}
                values["mode"] = "fault" if draw.random() < 0.01 else "auto"
                rows += [_row(key, name, value, len(rows) + n) for n, (name, value) in enumerate(values.items(), 1)]
            await tx.join(rows)
            tx.state.cursor = len(rows)


def _row(key: TwinKey, name: str, value: float | str, tick: int) -> Row:
    return Row(key, f"u-{key}", Section.REPORTED, name, Site.EDGE, Slot(value, tick, 0, "mapper", 1_760_000_000_000))


async def _report(store: CloudStore) -> None:
    """A gateway's reports: 100 twins a second."""
    draw = random.Random(8)
    while True:
        async with store.transaction("gw0") as tx:
            rows = [
                _row(_key(0, draw.randrange(1000)), "p3", round(draw.uniform(0, 100), 2), tx.state.cursor + n)
                for n in range(1, 101)
            ]
            await tx.join(rows)
            tx.state.cursor += len(rows)
        await asyncio.sleep(1)


async def _asked_ms(store: CloudStore, text: str) -> list[float]:
    took_ms = []
    for _ in range(_ROUNDS):
        began_s = time.perf_counter()
        rows = (await store.answer(parse(text), rows=10_000)).rows
        took_ms.append((time.perf_counter() - began_s) * 1000)
        assert len(rows) in (50, 100)
    return took_ms


async def _missed(store: CloudStore) -> int:
    missed = 0
    for number in range(_WRITES):
        async with store.transaction("gw1") as tx:
            await tx.join([_row(_key(1, number), "p1", 1000 + number, tx.state.cursor + 1)])
            tx.state.cursor += 1
        text = f"SELECT name FROM twins WHERE name = 'd{number}' AND reported.p1 = {1000 + number}"
        missed += (await store.answer(parse(text), rows=10)).rows != [[f"d{number}"]]
    return missed
