"""Reports over MQTT into durable twins: throughput as a ratio to the bare loop, and latency."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import asdict, dataclass
from statistics import median
from typing import Final

from tests.bench import bare, plant
from tests.bench.figure import Figure, Scale
from tests.bench.load import Order, Outcome
from tests.bench.rig import Child, Hub, RunningBroker, broker, child, hub, module
from twin.wire.api import DocumentSource

_ROUNDS: Final = 3
_WARM_S: Final = 2.0
_MEASURE_S: Final = 6.0  # 3 rounds of both sides stay under a minute; the long run measures 10 s
_LONG_MEASURE_S: Final = 10.0
_DEVICES: Final = 100
_BUSY_REPORTS: Final = 500  # a second, of 10 updates each


@dataclass(frozen=True, slots=True)
class Loader:
    """Starts load processes on one broker."""

    scale: Scale
    on: RunningBroker

    async def hub(self, reporter: str = "load", **order: float) -> Outcome:
        """Load the hub and wait for the outcome."""
        with self.start(_hub_order(reporter, **order)) as process:
            return await outcome_of(process)

    async def bare(self, **order: float) -> Outcome:
        """Load the bare loop and wait for the outcome."""
        with self.start(_order(bare.TOPIC, bare.RESULTS, **order)) as process:
            return await outcome_of(process)

    @contextmanager
    def start(self, order: Order) -> Iterator[Child]:
        """Start one load process."""
        argv = module("tests.bench.load", *self.on.login, json.dumps(asdict(order)))
        with child(argv, log=self.scale.folder / "load.log") as process:
            yield process


@dataclass(frozen=True, slots=True)
class Rates:
    """Durable updates a second: medians, the median of the ratios, and how they were measured."""

    hub: float
    bare: float
    ratio: float
    measured_s: float
    says: str


async def throughput(scale: Scale) -> list[Figure]:
    """Durable updates a second, hub and bare loop in turns."""
    async with plant_on(scale) as (loader, _):
        rates = await in_turns(scale, loader)
    says = (
        "durable updates/s of the hub over those of the bare loop (tests/bench/bare.py): load process -> mosquitto as"
        f" generated -> `edgetwin run` -> ack after the commit; {_DEVICES} devices, 10 properties a message, every"
        f" value changes, int, float, bool and string mixed, model, delta and report policy on; {rates.says}"
    )
    return [
        Figure("twin.mqtt.bare", rates.bare, "updates/s", "the bare loop of twin.mqtt, same run"),
        Figure("twin.mqtt.rate", rates.hub, "updates/s", "the hub of twin.mqtt, same run"),
        Figure("twin.mqtt", rates.ratio, "x", says, reach=0.70),
    ]


async def in_turns(scale: Scale, loader: Loader) -> Rates:
    """Load the hub and a bare loop on the same broker in turns."""
    measure_s = _LONG_MEASURE_S if scale.long else _MEASURE_S
    hubs: list[float] = []
    bares: list[float] = []
    bare_argv = module("tests.bench.bare", *loader.on.login, str(scale.folder))
    with child(bare_argv, log=scale.folder / "bare.log") as floor:
        await floor.line()
        for _round in range(_ROUNDS):
            hubs.append(rate_of(await loader.hub(window=256, warm_s=_WARM_S, measure_s=measure_s)))
            bares.append(rate_of(await loader.bare(window=256, warm_s=_WARM_S, measure_s=measure_s)))
    ratio = median(one / floor_ for one, floor_ in zip(hubs, bares, strict=True))
    says = f"256 in flight, {_WARM_S:g} s warm-up, {measure_s:g} s measured, median of {_ROUNDS} interleaved rounds"
    return Rates(median(hubs), median(bares), ratio, _ROUNDS * measure_s, says)


async def latency(scale: Scale) -> list[Figure]:
    """From publish to ack with one report in flight, alone and beside other traffic."""
    async with plant_on(scale) as (loader, _):
        alone = await loader.hub(window=1, warm_s=1.0, measure_s=8.0)
        others = _hub_order("others", window=256, warm_s=1.0, measure_s=12.0, rate=_BUSY_REPORTS)
        with loader.start(others) as process:
            busy = await loader.hub("probe", window=1, warm_s=2.0, measure_s=6.0)
            beside = rate_of(await outcome_of(process))
    assert beside > 0.98 * 10 * _BUSY_REPORTS, f"only {beside:.0f} other updates/s flowed"
    says = "p50 from publish to the ack after the commit, one report of 10 properties in flight"
    return [
        Figure(
            "twin.latency.busy",
            busy.p50_ms,
            "ms",
            f"as twin.latency, while {10 * _BUSY_REPORTS} other updates/s flow",
            reach=10,
            at_most=True,
        ),
        Figure("twin.latency", alone.p50_ms, "ms", says, reach=1.5, at_most=True),
    ]


async def outcome_of(process: Child) -> Outcome:
    """Wait for the line of a load process."""
    outcome = Outcome(**json.loads(await process.line(60.0)))
    assert outcome.refused == 0, f"{outcome.refused} reports were refused"
    return outcome


def rate_of(outcome: Outcome) -> float:
    """Updates a second."""
    return outcome.updates / outcome.seconds


@asynccontextmanager
async def plant_on(scale: Scale, *, history: bool = False) -> AsyncIterator[tuple[Loader, Hub]]:
    """A broker, a hub on it, and the documents of the plant applied."""
    async with broker(scale.folder) as on, hub(scale.folder / "hub", on) as running:
        await running.client.apply([DocumentSource(name="plant.yaml", text=plant.documents(_DEVICES, history=history))])
        twin = await running.client.get(f"device/{plant.NAMESPACE}/{plant.name(0)}")
        assert twin.delta == {"count": plant.NEVER_MET}, twin
        yield Loader(scale, on), running


def _hub_order(reporter: str, **order: float) -> Order:
    return _order(f"et/1/report/{reporter}/device/{plant.NAMESPACE}/", f"et/1/ack/{reporter}", **order)


def _order(topic: str, acks: str, *, window: float, warm_s: float, measure_s: float, rate: float = 0) -> Order:
    return Order(topic, acks, int(window), _DEVICES, warm_s, measure_s, rate)
