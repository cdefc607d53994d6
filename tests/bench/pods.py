"""Pods on a whole gateway: how fast they start, come back and are found again, and what they cost at rest."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from statistics import median
from typing import Final

from edgehub.pods.records import StartRecord, read
from tests.bench.figure import Figure, Scale
from tests.bench.rig import EDGETWIN, Hub, api, child, cpu_s, free_port, hub_environment, pss_mb, until
from twin.client import TwinClient
from twin.wire.api import ApplyMode, DocumentSource, WatchEvent

_PODS: Final = 50
_TRIES: Final = 20
_WAIT_S: Final = 60.0
_REST_S: Final = 20.0
_POD: Final = """apiVersion: v1
kind: Pod
metadata: {{name: {name}}}
spec:
  terminationGracePeriodSeconds: 2
  containers:
  - {{name: app, image: host, command: [sleep, "1000000"]{probe}}}
"""


async def figures(scale: Scale) -> list[Figure]:
    """Start, crash, a restart of the hub, and rest, all on one gateway with 50 pods."""
    state = scale.folder / "hub"
    env = hub_environment(state, port=free_port())
    with ExitStack() as children:
        process = children.enter_context(child([*EDGETWIN, "run"], env=env, log=state.with_suffix(".log")))
        async with api(state, process) as client:
            running = Hub(process.pid, client, state)
            # The code that runs pods is there before the first figure; its memory is that of the first pod.
            await _start(running, "first")
            starts_ms = [await _start(running, f"pod-{number}") for number in range(_TRIES)]
            crashes_ms = [await _crash(running, f"pod-{number}") for number in range(_TRIES)]
        async with _listener() as port:
            lean_mb = pss_mb(process.pid)
            async with api(state, process) as client:
                await _fill(client, port)
            a_pod_kb = (pss_mb(process.pid) - lean_mb) * 1000 / (_PODS - _TRIES - 1)
            before = _starts(state)
            os.kill(process.pid, signal.SIGKILL)
            process.process.wait(_WAIT_S)
            began_s = time.perf_counter()
            process = children.enter_context(child([*EDGETWIN, "run"], env=env, log=state.with_suffix(".again.log")))
            async with api(state, process) as again:
                await _start(Hub(process.pid, again, state), "last")
                back_s = time.perf_counter() - began_s
                after = _starts(state)
                disturbed = sum(after.get(place) != one or not _lives(one) for place, one in before.items())
                await asyncio.sleep(_REST_S / 2)
                used_s = cpu_s(process.pid)
                await asyncio.sleep(_REST_S)
                idle = (cpu_s(process.pid) - used_s) / _REST_S * 100
                shim_mb = median(pss_mb(one.shim) for one in after.values())
                await _delete_all(again, state)
    return [
        Figure("pods.start", median(starts_ms), "ms", _START_SAYS, reach=100, at_most=True),
        Figure("pods.crash", median(crashes_ms), "ms", _CRASH_SAYS, reach=200, at_most=True),
        Figure("pods.restart.disturbed", disturbed, "pods", _DISTURBED_SAYS, reach=0, at_most=True),
        Figure("pods.restart", back_s, "s", _RESTART_SAYS, reach=2, at_most=True),
        Figure("pods.idle.shim", shim_mb, "MB", "median PSS of the shim beside each container", reach=8, at_most=True),
        Figure("pods.idle.memory", max(a_pod_kb, 0.0), "KB", _MEMORY_SAYS, reach=100, at_most=True),
        Figure("pods.idle", idle, "%", _IDLE_SAYS, reach=2, at_most=True),
    ]


_START_SAYS: Final = (
    f"median of {_TRIES}, one after the other: apply of a pod sent -> a watcher hears that it runs and is ready"
)
_CRASH_SAYS: Final = (
    f"median of {_TRIES}: SIGKILL of a container -> a watcher hears that its next run is ready (first end of each)"
)
_DISTURBED_SAYS: Final = f"of {_PODS} pods, those that are another process, or none, after a SIGKILL of the hub"
_RESTART_SAYS: Final = f"{_PODS} pods: new hub started -> it has served an apply of one more pod, which runs"
_MEMORY_SAYS: Final = f"PSS of the hub with {_PODS} pods, all with a probe, over that with {_TRIES + 1}, a pod"
_IDLE_SAYS: Final = f"CPU of the hub in % of a core, {_PODS} pods with a TCP probe every 10 s, over {_REST_S:g} s"


async def start_ms(client: TwinClient, name: str, document: str) -> float:
    """Milliseconds until a new pod is ready."""
    async with client.watch(kind="pod") as events:
        await _ready(events)
        began_s = time.perf_counter()
        await _apply(client, document)
        await _heard(events, name, restarts=0)
        return (time.perf_counter() - began_s) * 1000


async def _start(running: Hub, name: str) -> float:
    return await start_ms(running.client, name, _POD.format(name=name, probe=""))


async def _crash(running: Hub, name: str) -> float:
    """Milliseconds until a pod whose container is killed is ready again."""
    body = await running.client.get(f"pod/default/{name}")
    record = read(StartRecord, running.state / "pods" / body.uid / "c/app/started.json")
    assert record is not None
    async with running.client.watch(kind="pod") as events:
        await _ready(events)
        began_s = time.perf_counter()
        os.kill(record.pid, signal.SIGKILL)
        await _heard(events, name, restarts=1)
        return (time.perf_counter() - began_s) * 1000


async def _fill(client: TwinClient, port: int) -> None:
    """All pods, with their probes, ready."""
    probe = f", readinessProbe: {{tcpSocket: {{port: {port}}}, periodSeconds: 10}}"
    names = [f"full-{number}" for number in range(_PODS - _TRIES - 1)]
    names += ["first", *(f"pod-{number}" for number in range(_TRIES))]
    await _apply(client, "---\n".join(_POD.format(name=name, probe=probe) for name in names))
    async with asyncio.timeout(_WAIT_S):
        while True:
            ready = [one async for one in client.list(kind="pod") if "ready" in one.reported]
            if sum(one.reported["ready"].value is True for one in ready) == _PODS:
                return
            await asyncio.sleep(0.1)


async def _delete_all(client: TwinClient, state: Path) -> None:
    names = [one.twin.rpartition("/")[2] async for one in client.list(kind="pod")]
    text = "---\n".join(_POD.format(name=name, probe="") for name in names)
    await client.apply([DocumentSource(name="pods.yaml", text=text)], mode=ApplyMode.DELETE)
    await until(lambda: not _starts(state), timeout_s=_WAIT_S)


async def _apply(client: TwinClient, text: str) -> None:
    await client.apply([DocumentSource(name="pods.yaml", text=text)])


async def _ready(events: AsyncIterator[WatchEvent]) -> None:
    async with asyncio.timeout(_WAIT_S):
        async for event in events:
            if event.ready:
                return


async def _heard(events: AsyncIterator[WatchEvent], name: str, *, restarts: int) -> None:
    async with asyncio.timeout(_WAIT_S):
        async for event in events:
            if event.twin == f"pod/default/{name}" and event.body is not None:
                said = {key: leaf.value for key, leaf in event.body.reported.items()}
                if said.get("ready") is True and said.get("restarts") == restarts:
                    return


def _starts(state: Path) -> dict[str, StartRecord]:
    found = {str(path): read(StartRecord, path) for path in (state / "pods").glob("*/c/app/started.json")}
    return {path: record for path, record in found.items() if record is not None}


def _lives(record: StartRecord) -> bool:
    return Path(f"/proc/{record.pid}").exists()


@asynccontextmanager
async def _listener() -> AsyncIterator[int]:
    """Something that probes reach."""
    async with await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0) as server:
        yield server.sockets[0].getsockname()[1]
