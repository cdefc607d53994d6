"""A gateway and its cloud over a line that is cut, slow or dead: nothing is lost, and both hold the same soon after."""

import asyncio
import contextlib
import os
import signal
import time

import pytest

from edgehub.registry import Registry
from tests.e2e.sync_site import SyncSite, all_twins, devices, equal, in_cloud
from twin.exchange import DocumentRef

POD = DocumentRef("Pod", "plant", "web")
JOB = DocumentRef("Job", "plant", "nightly")
ROUTE = DocumentRef("Route", "plant", "shop")


WEB = """
apiVersion: v1
kind: Secret
metadata: {namespace: plant, name: word}
stringData: {word: open sesame}
---
apiVersion: v1
kind: Pod
metadata: {namespace: plant, name: web}
spec:
  nodeName: gw-1
  containers: [{name: main, image: host, command: [sleep, "300"]}]
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    with SyncSite(tmp_path_factory.mktemp("sync")) as made:
        made.apply(devices("t1", "t2"))
        made.live()
        yield made


async def test_changes_of_either_side_are_on_the_other_at_once(site):
    async with site.users() as (edge, cloud):
        await edge.set("plant/t1", {"valve": 11})
        await cloud.set("plant/t2", {"valve": 22})
        assert await equal(edge, cloud) < 2
        assert (await edge.get("plant/t2")).desired["valve"].by == "admin"
        assert (await edge.get("plant/t2")).delta == {"valve": 22}


async def test_a_device_made_in_the_cloud_is_served_at_the_gateway_and_its_desired_values_come_once(site):
    text = devices("t3").replace("gateway: gw-1}", "gateway: gw-1, properties: [{name: valve, desired: {value: 5}}]}")
    site.apply_in_cloud(text)
    async with site.users() as (edge, cloud):
        async with asyncio.timeout(10):
            while "device/plant/t3" not in await all_twins(edge):  # noqa: ASYNC110  another process makes it
                await asyncio.sleep(0.1)
        await equal(edge, cloud)
        answer = await edge.explain("plant/t3", "valve")
        assert [slot.site for slot in answer.slots] == ["cloud"]


async def test_a_command_runs_once_and_a_late_one_not_at_all(site):
    site.live()
    async with site.users() as (edge, cloud):
        done = site.cloud.run("cloud", "set", "plant/t1", "mode=3", "--expires", "20s")
        assert done.returncode == 0
        await equal(edge, cloud)
        assert (await edge.get("plant/t1")).desired["mode"].value == 3


async def test_both_sides_change_twins_and_documents_in_an_outage_and_the_hub_is_killed(site):
    site.live()
    pod = "pod/plant/web"
    async with site.users() as (edge, cloud):
        assert await equal(edge, cloud) < 5
        site.line.cut()
        await edge.set("plant/t1", {"valve": 100, "mode": 1})
        await cloud.set("plant/t1", {"valve": 200})
        await cloud.set("plant/t2", {"mode": 2})
        site.apply(WEB)
        site.apply(devices("t2").replace("name: t2", "name: t2, labels: {by: edge}"))
        site.apply_in_cloud(devices("t4"))
    site.hub.kill()
    with Registry(site.hub.folder.registry) as registry:  # what later parts keep there
        registry.carry(JOB, {"kind": "Job", "metadata": {"namespace": "plant", "name": "nightly"}, "spec": {"a": 1}})
        registry.carry(ROUTE, {"kind": "Route", "metadata": {"namespace": "plant", "name": "shop"}, "spec": {}})
    site.hub.start()
    await site.hub.ready()
    offline = site.sync()
    assert offline["state"] in ("offline", "connecting")
    assert offline["unsent"] > 0
    site.line.restore()
    began_s = time.monotonic()
    async with site.users() as (edge, cloud):
        await equal(edge, cloud, within_s=8)
        valve = (await edge.get("plant/t1")).desired["valve"]
        assert valve.value == 200  # the later of two that knew nothing of each other
        assert "device/plant/t4" in await all_twins(edge)
        assert (await cloud.get("plant/t2")).labels == {"by": "edge"}
        assert (await cloud.get(pod)).reported["phase"].value in ("Pending", "Running")
    async with in_cloud(site) as tx:
        documents = await tx.documents()
    assert documents[POD].raw["spec"]["containers"][0]["image"] == "host"
    assert documents[JOB].raw["spec"] == {"a": 1}
    assert not [ref for ref in documents if ref.kind == "Secret"]  # it stays where it is
    assert documents[ROUTE].raw["kind"] == "Route"
    assert time.monotonic() - began_s < 10
    site.live()


async def test_connections_that_break_in_the_middle_of_packets_lose_nothing(site):
    site.live()
    async with site.users() as (edge, cloud):
        for number in range(120):
            if number % 20 == 0:
                site.line.cut_after(700 + 37 * number)
            await edge.set("plant/t1", {"valve": number})
            await cloud.set("plant/t2", {"mode": number})
        site.line.restore()
        await equal(edge, cloud, within_s=15)
        assert (await cloud.get("plant/t1")).desired["valve"].value == 119
        assert (await edge.get("plant/t2")).desired["mode"].value == 119


async def test_a_killed_worker_is_replaced_and_nothing_is_lost(site):
    site.live()
    async with site.users() as (edge, cloud):
        pid = next(pid for name, pid in site.cloud.children().items() if name.startswith("worker"))
        await edge.set("plant/t1", {"valve": 1})
        os.kill(pid, signal.SIGKILL)
        for number in range(50):
            await edge.set("plant/t1", {"valve": 1000 + number})
        await equal(edge, cloud, within_s=30)


@pytest.mark.torture
@pytest.mark.timeout(300)
async def test_a_half_open_line_is_noticed_and_dialled_anew(site):
    site.live()
    async with site.users() as (edge, cloud):
        site.line.freeze()
        await edge.set("plant/t1", {"valve": 4242})
        await asyncio.sleep(40)
        assert site.sync()["state"] in ("offline", "connecting")
        site.line.restore()
        await equal(edge, cloud, within_s=30)


@pytest.mark.torture
@pytest.mark.timeout(600)
async def test_the_broker_is_killed_fifty_times_under_load(site):
    site.live()
    async with site.users() as (edge, _):
        for number in range(50):
            broker = next(pid for name, pid in site.cloud.children().items() if "gateways" in name)
            for turn in range(10):
                await edge.set("plant/t1", {"valve": number * 10 + turn})
            with contextlib.suppress(ProcessLookupError):
                os.kill(broker, signal.SIGKILL)
            await asyncio.sleep(0.3)
    site.live(60)
    async with site.users() as (edge, cloud):
        await equal(edge, cloud, within_s=30)
        assert (await cloud.get("plant/t1")).desired["valve"].value == 499


@pytest.mark.torture
@pytest.mark.timeout(1200)
async def test_a_partition_of_ten_minutes_with_a_thousand_devices_changing(site):
    names = [f"d{number}" for number in range(1000)]
    site.apply(devices(*names))
    site.live(120)
    site.line.cut()
    async with site.hub.client() as edge:
        ends_s = time.monotonic() + 600
        number = 0
        while time.monotonic() < ends_s:
            number += 1
            await edge.set(f"plant/{names[number % 1000]}", {"valve": number})
    site.line.restore()
    site.live(60)
    async with site.users() as (edge, cloud):
        await equal(edge, cloud, within_s=30)


@pytest.mark.torture
@pytest.mark.timeout(300)
async def test_a_slow_line_keeps_the_session(site):
    site.live()
    site.line.delay_s, site.line.bytes_per_s = 0.3, 20_000
    async with site.users() as (edge, cloud):
        for number in range(30):
            await edge.set("plant/t1", {"valve": number})
        await equal(edge, cloud, within_s=60)
    site.line.restore()
