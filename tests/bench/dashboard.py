"""What an open dashboard costs the hub, and whether the page keeps up, while 1 000 twins change ten times a second."""

from __future__ import annotations

import asyncio
import json
from contextlib import AsyncExitStack
from dataclasses import asdict
from statistics import median
from typing import Any, Final

from tests.bench import plant
from tests.bench.figure import Figure, Scale
from tests.bench.load import Order
from tests.bench.open_page import CHROMIUM, Dashboard
from tests.bench.rig import broker, child, cpu_s, hub, module
from twin.client import TwinClient
from twin.wire import topics
from twin.wire.api import DocumentSource

_TWINS: Final = 1000
_HZ: Final = 10
_ROUNDS: Final = 3
_MEASURE_S: Final = 5.0
_SETTLE_S: Final = 2.0
_PORTION: Final = 100
_AT_LEAST: Final = 0.9


async def load(scale: Scale) -> list[Figure]:
    """The hub's processor time with the page open and without it, in turns."""
    async with AsyncExitStack() as stack:
        on = await stack.enter_async_context(broker(scale.folder))
        running = await stack.enter_async_context(hub(scale.folder / "hub", on))
        await _define(running.client)
        dashboard = await Dashboard.of(running)
        await dashboard.login()
        playwright = await stack.enter_async_context(_playwright()) if CHROMIUM is not None else None
        seconds = (_ROUNDS + 1) * 2 * (_MEASURE_S + 3 * _SETTLE_S)
        order = Order(
            topic=f"{topics.ROOT}/report/load/device/{plant.NAMESPACE}/",
            acks=topics.ack("load"),
            window=2000,
            devices=_TWINS,
            warm_s=1.0,
            measure_s=seconds,
            rate=_TWINS * _HZ,
            values=1,
        )
        argv = module("tests.bench.load", *on.login, json.dumps(asdict(order)))
        stack.enter_context(child(argv, log=scale.folder / "load.log"))
        await asyncio.sleep(2 * _SETTLE_S)
        without: list[float] = []
        with_it: list[float] = []
        longest_ms: list[float] = []
        rates: list[float] = []
        for _ in range(_ROUNDS):
            without.append(await _cpu_percent(running.pid))
            async with dashboard.read() as read:
                page = None
                async with AsyncExitStack() as shown:
                    if playwright is not None:
                        page = await shown.enter_async_context(dashboard.shown(playwright))
                    await asyncio.sleep(_SETTLE_S)
                    before = (await running.client.status()).updates
                    with_it.append(await _cpu_percent(running.pid))
                    rates.append(((await running.client.status()).updates - before) / _MEASURE_S)
                    if page is not None:
                        longest_ms.append(await page.evaluate("window.longest"))
            assert read.events > _MEASURE_S / 2, f"a page was told {read.events} times only"
    wanted = _TWINS * _HZ
    assert median(rates) > _AT_LEAST * wanted, f"only {median(rates):.0f} of {wanted} changes/s flowed"
    cost = median(after - before for after, before in zip(with_it, without, strict=True))
    says = (
        f"of a core: processor time of the hub with pages open less the same without, {_TWINS} twins that change {_HZ}"
        f" times a second each, {_MEASURE_S:g} s each, median of {_ROUNDS} interleaved rounds"
    )
    figures = [
        Figure("dashboard.load.without", median(without), "%", "of a core: the hub without a page, same run"),
        Figure("dashboard.load.rate", median(rates), "changes/s", "that flowed meanwhile"),
    ]
    if longest_ms:
        longest = max(longest_ms)
        text = "longest task of the page in Chromium, 0 if none took 50 ms; 24 twins shown"
        figures.append(Figure("dashboard.load.longtask", longest, "ms", text, reach=100, at_most=True))
    return [*figures, Figure("dashboard.load", cost, "%", says, reach=10, at_most=True)]


async def _define(client: TwinClient) -> None:
    documents = plant.documents(_TWINS).split("\n---\n")
    for at in range(0, len(documents), _PORTION):
        await client.apply([DocumentSource(name="plant.yaml", text="\n---\n".join(documents[at : at + _PORTION]))])


async def _cpu_percent(pid: int) -> float:
    loop = asyncio.get_running_loop()
    began_s, before_s = loop.time(), cpu_s(pid)
    await asyncio.sleep(_MEASURE_S)
    return 100 * (cpu_s(pid) - before_s) / (loop.time() - began_s)


def _playwright() -> Any:
    from playwright.async_api import async_playwright  # only where there is a browser

    return async_playwright()
