"""What the status of many devices costs a cluster: requests that write, and whether all devices have a turn."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import yaml

from cloudsync.kube.client import connected
from cloudsync.settings import KubeSettings
from cloudsync.store.opening import open_store
from tests.bench.figure import Figure, Scale
from tests.cloudsync.kube.rig import Edge, Rig, until
from tests.kube_server.server import KubeServer
from twin.clock import SystemClock
from twin.errors import UnknownTwin
from twin.model import Kind, TwinKey

_GATEWAYS: Final = 10
_DEVICES: Final = 100
"""Of each gateway."""
_SECONDS: Final = 30.0
_WAIT_S: Final = 60.0
_CRDS: Final = Path("cloudsync/kube/crds")
_GROUP: Final = "devices.kubeedge.io/v1beta1"
_STATUS: Final = ("patch", "devicestatuses")
_VERBS: Final = ("create", "update", "patch", "delete")


async def writes(scale: Scale) -> list[Figure]:
    """All devices report once a second; what reaches the API server meanwhile."""
    with KubeServer() as server:
        _fill(server)
        rig = Rig(scale.folder, open_store(f"sqlite:///{scale.folder / 'cloud.db'}", SystemClock()), SystemClock())
        kubeconfig = server.kubeconfig(scale.folder / "kubeconfig")
        async with connected(str(kubeconfig), "") as client, rig.opened():
            edges = [rig.edge(f"gw-{number}") for number in range(_GATEWAYS)]
            for edge in edges:
                await edge.sync()
            async with rig.bridge(client), _reporting(edges):
                await until(lambda: len(server.all("nodes")) == _GATEWAYS, _WAIT_S)
                await _served(edges, rig)
                server.requests.clear()
                began_s = time.perf_counter()
                if scale.long:
                    await until(lambda: len(_told(server)) == len(edges) * _DEVICES, 4 * _WAIT_S)
                else:
                    await asyncio.sleep(_SECONDS)
                took_s = time.perf_counter() - began_s
                asked = [one for one in list(server.requests) if one[0] in _VERBS]
                told = _told(server)
    rate = KubeSettings().writes_per_second
    figures = [
        Figure(
            "kube.writes.repeats",
            sum(told.values()) - len(told) if len(told) < len(edges) * _DEVICES else 0,
            "writes",
            "devices that were written again while others had not had a turn yet",
            reach=0,
            at_most=True,
        ),
        Figure(
            "kube.writes",
            len(asked) / took_s,
            "1/s",
            f"requests that write, leases and nodes included, while {len(edges) * _DEVICES} devices at {_GATEWAYS}"
            f" gateways report once a second (kube.writes_per_second: {rate:g}); an API server of the tests, SQLite",
            reach=10,
            at_most=True,
        ),
    ]
    if scale.long:
        says = f"until each of {len(edges) * _DEVICES} devices was written at least once"
        figures.insert(0, Figure("kube.writes.all", took_s, "s", says, reach=150, at_most=True))
    return figures


def _fill(server: KubeServer) -> None:
    for path in sorted(_CRDS.glob("*.yaml")):
        server.create(yaml.safe_load(path.read_text()))
    properties = [{"name": "level", "type": "FLOAT", "accessMode": "ReadOnly"}]
    model = {"apiVersion": _GROUP, "kind": "DeviceModel", "metadata": {"name": "tank"}}
    server.create({**model, "spec": {"properties": properties}})
    for gateway in range(_GATEWAYS):
        for number in range(_DEVICES):
            spec = {"deviceModelRef": {"name": "tank"}, "nodeName": f"gw-{gateway}", "properties": [{"name": "level"}]}
            about = {"name": _name(f"gw-{gateway}", number)}
            server.create({"apiVersion": _GROUP, "kind": "Device", "metadata": about, "spec": spec})
            server.create({"apiVersion": _GROUP, "kind": "DeviceStatus", "metadata": about})


def _name(gateway: str, number: int) -> str:
    return f"{gateway}-tank-{number}"


def _told(server: KubeServer) -> Counter[str]:
    """How often each device was written since the requests were cleared."""
    return Counter(name for verb, resource, _, name in list(server.requests) if (verb, resource) == _STATUS)


async def _served(edges: list[Edge], rig: Rig) -> None:
    """Wait until every device has a twin, so that each waits for its turn, and has a status to be written over."""
    for edge in edges:
        last = TwinKey(Kind.DEVICE, "default", _name(edge.name, _DEVICES - 1))
        async with asyncio.timeout(_WAIT_S):
            while True:
                try:
                    if (await rig.store.twin(last)).reported:
                        break
                except UnknownTwin:
                    pass
                await asyncio.sleep(0.05)


@asynccontextmanager
async def _reporting(edges: list[Edge]) -> AsyncIterator[None]:
    """Each gateway reports all its devices once a second, as its sync would."""

    async def report(edge: Edge) -> None:
        value = 0.0
        while True:
            began_s = time.perf_counter()
            await edge.sync()
            value += 0.5
            keys = [TwinKey(Kind.DEVICE, "default", _name(edge.name, number)) for number in range(_DEVICES)]
            await edge.report_all(keys, {"level": value})
            await asyncio.sleep(max(0.0, 1.0 - (time.perf_counter() - began_s)))

    tasks = [asyncio.create_task(report(edge)) for edge in edges]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
