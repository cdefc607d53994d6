"""The whole promise: the line is cut, all changes on both sides, the hub is killed; soon after, all is one again."""

import asyncio
import os
import signal
import time

import pytest

from tests.cloudsync.process import free_ports
from tests.e2e.mesh_site import answers, get, mesh_environment, service, web
from tests.e2e.sync_site import SyncSite, all_twins, devices, equal
from tests.e2e.test_mesh import ROUTE, cmdline, processes
from tests.e2e.test_pods import shims_of

WITHIN_S = 5.0
WEB = "route/plant/web.gw-1"
SPLIT = "route/plant/split.httproute.gw-1"


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    made = SyncSite(tmp_path_factory.mktemp("promise"))
    made.hub.environment |= mesh_environment(free_ports(1)[0])
    with made:
        ports = free_ports(3)
        pods = [web(made.hub, name, port, node="gw-1") for name, port in zip(("one", "two"), ports, strict=False)]
        spare = web(made.hub, "three", ports[2], "two", node="gw-1")
        made.apply("\n---\n".join((devices("t1"), service(), *pods, service("two"), spare)))
        yield made


def server_of(hub, name):
    """The process of a pod that answers with its name, not its shim."""
    mark, end = str(hub.folder.path.parent).encode(), b"\0" + name.encode() + b"\0"
    (pid,) = {pid for pid in processes() if mark in cmdline(pid) and cmdline(pid).endswith(end)} - set(shims_of(hub))
    return pid


async def test_twins_pods_and_routes_are_equal_soon_after_an_outage_in_which_everything_changed(site):
    address = await answers(site.hub, {"one", "two"})
    site.live()
    async with site.users() as (edge, cloud):
        await equal(edge, cloud)
        assert WEB in await all_twins(cloud)
        site.line.cut()
        # Both sides change a desired value.
        await edge.set("plant/t1", {"valve": 100, "mode": 1})
        await cloud.set("plant/t1", {"valve": 200})
        # A pod crashes, an endpoint is killed for good, a route is applied.
        os.kill(server_of(site.hub, "one"), signal.SIGKILL)
        site.apply(ROUTE)
        done = site.hub.run("delete", "-f", "-", stdin=web(site.hub, "two", 1, node="gw-1").encode())
        assert done.returncode == 0, done.stderr
    site.hub.kill()
    site.hub.start()
    # It serves without the cloud: the crashed pod is back, the route is in force.
    assert await answers(site.hub, {"one"}) == address
    assert (await asyncio.to_thread(get, address, 80, "/two"))[1] == "three"
    restored_s = time.monotonic()
    site.line.restore()
    async with site.users() as (edge, cloud):
        took_s = await equal(edge, cloud, within_s=WITHIN_S + 3)
        took_s = max(took_s, time.monotonic() - restored_s)
        twins = await all_twins(cloud)
        assert {WEB, SPLIT, "pod/plant/one"} <= twins.keys()
        assert "pod/plant/two" not in twins
        shown = (await cloud.get(WEB)).reported
        assert {one["place"].rpartition(":")[0] for one in shown["endpoints"].value} != set()
        assert len(shown["endpoints"].value) == 2  # of one pod, for two ports
        assert (await cloud.get(SPLIT)).reported["conditions"].value["Programmed"]["holds"]
        assert (await edge.get("plant/t1")).desired["valve"].value == 200
        assert (await cloud.get("plant/t1")).desired["mode"].value == 1
    assert took_s < WITHIN_S
