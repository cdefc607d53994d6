"""A fleet that comes back at once: 1 000 gateways in virtual time, 200 with real clients over a real Mosquitto."""

from __future__ import annotations

import asyncio
import random
import resource
import tempfile
from collections.abc import Iterable
from itertools import count
from pathlib import Path
from typing import Final

from cloudsync.hub import Hub
from cloudsync.pacing import Pacing
from cloudsync.serving import WorkerOptions
from edgehub.settings import CloudSettings
from edgehub.sync.states import SyncState, Timing
from tests.bench.figure import Figure, Scale
from tests.bench.rig import child, free_port
from tests.cloudsync.sync.real import RealWorld
from tests.sim.gateway import Gateway
from tests.sim.virtual import SimClock, VirtualLoop
from tests.sim.watched import SqlCloudStore
from twin.exchange import Ack, Frame, Hello, Refusal, Run, Standing, SyncMessage, Welcome
from twin.link.backoff import Backoff
from twin.mosquitto import CANDIDATES, find_mosquitto
from twin.setting_types import seconds

GATEWAYS: Final = 1000
REAL: Final = 200
OUTAGES_S: Final = (5.0, 120.0)
RETRY_CAP_S: Final = seconds(CloudSettings().retry_cap)
RETRY_BASE_S: Final = RETRY_CAP_S
"""As a gateway has them that nobody has set otherwise."""
_WORKERS: Final = 2


async def herd(scale: Scale) -> list[Figure]:
    """Peak over mean of those who come back in one second, and how long it takes, over the cap of the backoff."""
    runs = [await asyncio.to_thread(_virtual, outage_s) for outage_s in OUTAGES_S]
    ratio = max(max(_peak(times) for times in run) for run in runs)
    back = max(max(max(times) for times in run) for run in runs) / RETRY_CAP_S
    real = await _real(scale.folder)
    outages = " and ".join(f"{one:g} s" for one in OUTAGES_S)
    says = (
        f"{GATEWAYS} gateways after a restart of broker and workers that took {outages}, virtual time, each wait drawn"
        f" from 0 to {RETRY_CAP_S:g} s, two workers with the default pacing, the worst of connects and"
        " sessions begun"
    )
    says_real = f"{REAL} gateways with real clients over a real Mosquitto, killed for 3 s"
    return [
        Figure(
            "sync.herd.back", back, "x", f"time until all are back over the cap of the backoff: {says}", 2, at_most=True
        ),
        Figure("sync.herd.real", _peak(real), "x", f"the same for sessions begun: {says_real}", 3, at_most=True),
        Figure("sync.herd.real_back", max(real) / RETRY_CAP_S, "x", f"all back: {says_real}", 2, at_most=True),
        Figure(
            "sync.herd", ratio, "x", f"most in one second over the mean until all are back: {says}", 3, at_most=True
        ),
    ]


def _peak(times: Iterable[float]) -> float:
    """The most events in any second over the mean until the last; times are seconds since all could come back."""
    ordered = sorted(times)
    most = max(sum(1 for later in ordered[at:] if later < one + 1.0) for at, one in enumerate(ordered))
    return most / (len(ordered) / max(1.0, ordered[-1]))


# -- virtual time ------------------------------------------------------------------------------------------------


class _Fleet:
    """The line of all gateways, and what they do as a herd: connect with backoff, say Hello, wait as told."""

    def __init__(self, loop: VirtualLoop, folder: Path) -> None:
        self.loop = loop
        self.rng = random.Random(14)
        self.up = asyncio.Event()
        self.store = SqlCloudStore(folder / "cloud.db")
        self.connected: list[float] = []
        self.begun: list[float] = []
        self._answers: dict[str, asyncio.Queue[SyncMessage]] = {}
        self._names = count(1)
        self._hubs: list[Hub] = []

    async def run(self, outage_s: float) -> None:
        await self.store.open()
        await self.store.begin_run("c1")
        pacing = WorkerOptions("", "")
        for _ in range(_WORKERS):
            hub = Hub(
                self.store,
                send=self._deliver,
                hint=lambda _: None,
                known=self._known,
                clock=SimClock(self.loop),
                nonce=lambda: f"s{next(self._names)}",
                pacing=Pacing(
                    rate_hz=pacing.hello_rate_hz, burst=pacing.hello_burst, max_wait_s=pacing.max_retry_after_s
                ),
            )
            self._hubs.append(hub)
        tasks = [self.loop.create_task(self._gateway(f"g{number}")) for number in range(GATEWAYS)]
        await asyncio.sleep(outage_s)
        self.began_s = self.loop.time()
        self.up.set()
        await asyncio.gather(*tasks)
        for hub in self._hubs:
            await hub.close()
        await self.store.close()

    async def _gateway(self, name: str) -> None:
        """As a link and a session do it: the first try a moment after the loss, then with full jitter."""
        answers = self._answers[name] = asyncio.Queue()
        rng = random.Random(self.rng.random())
        backoff = Backoff(RETRY_BASE_S, RETRY_CAP_S, rng)
        while True:
            await asyncio.sleep(backoff.next_s())
            if self.up.is_set():
                break
        self.connected.append(self.loop.time() - self.began_s)
        while True:
            self._say(name, Hello(f"n{next(self._names)}", Standing((Run(f"r-{name}", 1),), frozenset(), 0, 0)))
            answer = await answers.get()
            if isinstance(answer, Welcome):
                self.begun.append(self.loop.time() - self.began_s)
                return
            if isinstance(answer, Refusal):
                wait_s = answer.retry_after_s
                await asyncio.sleep(wait_s + rng.uniform(0.0, min(1.0, wait_s)))

    def _say(self, name: str, message: SyncMessage) -> None:
        hub = self.rng.choice(self._hubs)
        self.loop.call_later(self.rng.uniform(0.001, 0.03), lambda: hub.receive(name, message))

    def _deliver(self, name: str, message: SyncMessage) -> None:
        if isinstance(message, Frame):
            self._say(name, Ack(message.session, message.upto))
        elif isinstance(message, Welcome | Refusal):
            self.loop.call_later(self.rng.uniform(0.001, 0.03), lambda: self._answers[name].put_nowait(message))

    async def _known(self, _gateway: str) -> bool:
        return True


def _virtual(outage_s: float) -> tuple[list[float], list[float]]:
    with (
        tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as folder,
        asyncio.Runner(loop_factory=VirtualLoop) as runner,
    ):
        loop = runner.get_loop()
        assert isinstance(loop, VirtualLoop)
        fleet = runner.run(_fleet(loop, Path(folder), outage_s))
    return fleet.connected, fleet.begun


async def _fleet(loop: VirtualLoop, folder: Path, outage_s: float) -> _Fleet:
    fleet = _Fleet(loop, folder)
    await fleet.run(outage_s)
    return fleet


# -- real clients ------------------------------------------------------------------------------------------------


class _RealFleet(RealWorld):
    """Gateways with the links and the timing that nobody has set otherwise."""

    def options(self, client_id, **more):
        return super().options(client_id, **{"retry_base_s": RETRY_BASE_S, "retry_cap_s": RETRY_CAP_S, **more})


async def _real(folder: Path) -> list[float]:
    """When each gateway had a session again, in seconds after the broker was there."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, 16_384)), hard))
    binary = (await find_mosquitto(CANDIDATES)).path
    port = free_port()
    config = folder / "herd.conf"
    config.write_text(f"listener {port} 127.0.0.1\nallow_anonymous true\nset_tcp_nodelay true\n", encoding="utf-8")
    argv = [str(binary), "-c", str(config)]
    back: dict[str, float] = {}
    loop = asyncio.get_running_loop()
    async with _RealFleet("127.0.0.1", port, "", "", folder) as world:
        with child(argv, log=folder / "broker.log"):
            await _listening(port)  # a link that came too early would wait as long as a whole fleet does
            await world.serve()
            await world.start_worker()
            gateways = [await _quick(world, f"g{number}") for number in range(REAL)]
            await _until(lambda: all(one.session.state is SyncState.LIVE for one in gateways))
            for one in gateways:
                one.session.stand._on_state = _noting(one, back, loop)  # the gateway tells its own twin there
        await asyncio.sleep(3.0)
        back.clear()
        with child(argv, log=folder / "broker.log"):
            began_s = loop.time()
            await _until(lambda: len(back) == REAL)
            return [at - began_s for at in back.values()]


async def _quick(world: _RealFleet, name: str) -> Gateway:
    gateway = await world.add_gateway(name, apply=False)
    gateway.session._timing = Timing()
    return gateway


def _noting(gateway, back, loop):
    def note():
        if gateway.session.state is SyncState.RESYNC:
            back.setdefault(gateway.name, loop.time())

    return note


async def _listening(port: int) -> None:
    async with asyncio.timeout(10):
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except ConnectionRefusedError:
                await asyncio.sleep(0.02)
            else:
                writer.close()
                return


async def _until(ready) -> None:
    async with asyncio.timeout(90):
        while not ready():  # noqa: ASYNC110  what it measures has no other sign
            await asyncio.sleep(0.02)
