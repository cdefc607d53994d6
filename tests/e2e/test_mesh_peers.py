"""Three gateways on one network and no cloud: each uses what the others offer, and two drop the third when it dies."""

import asyncio
import contextlib
import json
import os
import signal
import time
from pathlib import Path

import dns.exception
import pytest

from edgehub.state import StateFolder
from tests.cloudsync.process import free_ports
from tests.e2e.mesh_site import answers, becomes, get, lookup, mesh_environment, service, web
from tests.e2e.rig import Hub
from tests.e2e.test_pods import apply
from tests.edgehub.mesh.lan import authority, join

NAMES = ("gw-a", "gw-b", "gw-c")


def make(folder: Path, name: str, cloud, ports, *, joined: bool = True) -> Hub:
    """A gateway that once joined a cloud which is not there any more, or has not yet."""
    others = [{"name": other, "host": "127.0.0.1", "port": ports[other]} for other in NAMES if other != name]
    broker, dns = free_ports(2)
    environment = {
        **{key: value for key, value in os.environ.items() if not key.startswith("EDGETWIN_")},
        "EDGETWIN_STATE": str(folder / name / "state"),
        "EDGETWIN_BROKER_PORT": str(broker),
        "EDGETWIN_GATEWAY_NAME": name,
        "EDGETWIN_MESH_PEER_LISTEN": f"127.0.0.1:{ports[name]}",
        "EDGETWIN_MESH_PEERS": json.dumps(others),
        "EDGETWIN_CLOUD_ENABLED": "false",
        "PATH": os.environ["PATH"] + ":/usr/sbin",
        **mesh_environment(dns),
    }
    state = StateFolder(folder / name / "state")
    state.make()
    if joined:
        join(state.keys, name, cloud)
    return Hub(state, environment, log=folder / name / "hub.log")


def cut_power(hub: Hub) -> None:
    """Kill everything of a gateway at once: its hub, its broker, its mesh and its pods."""
    mark = str(hub.folder.path.parent).encode()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            with contextlib.suppress(OSError):
                if mark in (entry / "cmdline").read_bytes() or mark in (entry / "environ").read_bytes():
                    os.kill(int(entry.name), signal.SIGKILL)
    hub.kill()


@pytest.fixture
async def lan(tmp_path):
    cloud, ports = authority(), dict(zip(NAMES, free_ports(3), strict=True))
    hubs = {name: make(tmp_path, name, cloud, ports) for name in NAMES}
    try:
        for hub in hubs.values():
            hub.start()
            await hub.ready()
        yield hubs
    finally:
        for hub in hubs.values():
            if hub.running:
                hub.stop()
        for hub in hubs.values():
            with contextlib.suppress(ProcessLookupError):
                cut_power(hub)


HEADLESS = service("all").replace("spec:\n", "spec:\n  clusterIP: None\n").replace("app: all", "app: web")
"""The same pods, each by name: what DNS says of it is what the mesh holds for alive."""


def alive(hub: Hub) -> int:
    """How many endpoints of the headless service the mesh would use; -1 while it starts."""
    try:
        return len(lookup(hub, "_http._tcp.all.plant.svc.cluster.local", "SRV")[1])
    except dns.exception.Timeout:
        return -1


def health(hub: Hub) -> dict[str, str]:
    """How the endpoints of the service are by gateway, as people see it."""
    done = hub.run("mesh", "routes", "--json")
    found = json.loads(done.stdout)["routes"] if done.returncode in (0, 1) else []
    return {one["node"]: one.get("health", "ready") for each in found for one in each["endpoints"] if one["port"] == 80}


async def alarms(hub: Hub) -> str:
    done = await asyncio.to_thread(hub.run, "status", "--json")
    return "\n".join(json.loads(done.stdout)["alarms"])


async def test_gateways_without_a_cloud_use_each_other_drop_a_dead_one_and_take_it_back(lan):
    a, b, c = (lan[name] for name in NAMES)
    ports = free_ports(2)
    for hub, name, port in ((b, "gw-b", ports[0]), (c, "gw-c", ports[1])):
        await apply(hub, service(), HEADLESS, web(hub, name, port))
    await answers(b, {"gw-b"})  # the nearest
    told = await answers(a, {"gw-b", "gw-c"}, within_s=40)  # it has no document of it
    await apply(a, service(), HEADLESS)  # nor a pod of its own
    address = await answers(a, {"gw-b", "gw-c"}, within_s=40)
    assert address == told
    for hub in (a, b, c):
        await becomes(lambda one=hub: alive(one), 2, hub)

    cut_power(c)
    died_s = time.monotonic()
    for _ in range(30):
        assert (await asyncio.to_thread(get, address))[0] == 200
    await answers(a, {"gw-b"}, within_s=15)
    for hub in (a, b):  # b has never tried to reach it
        await becomes(lambda one=hub: alive(one), 1, hub)
    assert time.monotonic() - died_s < 15
    await becomes(lambda: health(b), {"gw-b": "ready", "gw-c": "not-ready"}, b)
    assert "gateway gw-c on this network is not reached" in await alarms(a)

    c.start()
    await c.ready()
    await answers(a, {"gw-b", "gw-c"}, within_s=40)
    for hub in (a, b, c):
        await becomes(lambda one=hub: alive(one), 2, hub)
    ends_s = asyncio.get_running_loop().time() + 30
    while "gw-c" in await alarms(a):  # its service is there at once, its broker is asked again by and by
        assert asyncio.get_running_loop().time() < ends_s


async def test_gateways_that_join_while_their_hubs_run_find_each_other(tmp_path):
    cloud, ports = authority(), dict(zip(NAMES, free_ports(3), strict=True))
    a, b = (make(tmp_path, name, cloud, ports, joined=False) for name in NAMES[:2])
    try:
        for hub in (a, b):
            hub.start()
            await hub.ready()
            await apply(hub, service())
        await apply(b, web(b, "gw-b", free_ports(1)[0]))
        await answers(b, {"gw-b"})
        assert "this one has none" in await alarms(a)
        for hub, name in ((a, "gw-a"), (b, "gw-b")):
            join(hub.folder.keys, name, cloud)
        await answers(a, {"gw-b"}, within_s=60)
        assert "this one has none" not in await alarms(a)
    finally:
        for hub in (a, b):
            if hub.running:
                hub.stop()
            with contextlib.suppress(ProcessLookupError):
                cut_power(hub)
