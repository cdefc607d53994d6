"""A mirror stays true, whatever the API server does: cut watches, old versions, refusals, restarts, restores."""

import asyncio
import contextlib
import logging
import random

import pytest

from cloudsync.kube.client import connected
from cloudsync.kube.errors import Absent, Busy, Conflict, Denied, KubeError, OtherCluster, Rejected, Unreachable
from cloudsync.kube.following import Following
from cloudsync.kube.mirror import Mirror
from cloudsync.kube.objects import CONFIG_MAPS, DEVICES, PODS, Place
from tests.kube_server.server import KubeServer
from tests.kube_server.store import Store

APP = Place("default", "app")


class Quick(random.Random):
    """Jitter that waits next to nothing."""

    def uniform(self, a, b):
        return min(b, 0.02)


@pytest.fixture
def server():
    with KubeServer(bookmark_s=0.1) as made:
        yield made


@pytest.fixture
async def client(server, tmp_path):
    async with connected(str(server.kubeconfig(tmp_path / "kubeconfig")), "") as made:
        yield made


class Followed:
    """A mirror that is being followed, and what was told."""

    def __init__(self, client, resource=CONFIG_MAPS, **more):
        self.mirror = Mirror()
        self.told = []
        self.lists = 0
        self.other = False
        self.following = Following(
            client, resource, "default", self.mirror,
            on_change=lambda _, before, after: self.told.append((before, after)),
            on_listed=self._listed, check=self._check, rng=Quick(), **more,
        )  # fmt: skip

    def _listed(self):
        self.lists += 1

    async def _check(self):
        if self.other:
            raise OtherCluster("another")

    async def __aenter__(self):
        self.task = asyncio.create_task(self.following.run())
        return self

    async def __aexit__(self, *_):
        self.task.cancel()
        with contextlib.suppress(asyncio.CancelledError, OtherCluster):
            await self.task

    async def has(self, **wanted):
        """Wait until the mirror holds these config maps, by name and data."""
        await self.until(lambda: {one.place.name: one.raw.get("data", {}).get("x") for one in self.mirror} == wanted)

    async def until(self, holds):
        async with asyncio.timeout(10):
            while True:
                if holds():
                    return
                await asyncio.sleep(0.01)


def config(server, name, x):
    if server.get("configmaps", name) is None:
        server.create({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"x": x}})
    else:
        server.merge("configmaps", name, {"data": {"x": x}})


async def test_it_lists_follows_and_goes_on_from_where_a_watch_was_cut(server, client):
    config(server, "a", "1")
    async with Followed(client) as found:
        await found.has(a="1")
        config(server, "b", "1")
        server.delete("configmaps", "a")
        await found.has(b="1")
        server.call(server.faults.cut_watches)
        config(server, "b", "2")
        await found.has(b="2")
        server.call(server.faults.cut_next_lines)
        config(server, "b", "3")
        await found.has(b="3")
        assert found.lists == 1


async def test_a_restart_of_the_api_server_is_a_break_and_no_more(server, client):
    config(server, "a", "1")
    async with Followed(client) as found:
        await found.has(a="1")
        server.stop()
        await found.until(lambda: found.following.trouble is not None)
        server.start()
        config(server, "a", "2")
        await found.has(a="2")
        assert found.lists == 1


async def test_a_version_that_is_too_old_is_listed_again_and_only_what_changed_is_told(server, client):
    for name in ("a", "b", "c"):
        config(server, name, "1")
    async with Followed(client) as found:
        await found.has(a="1", b="1", c="1")
        server.stop()
        found.told.clear()
        server.start()
        server.call(server.faults.cut_watches)
        config(server, "b", "2")
        server.delete("configmaps", "c")
        server.compact()
        await found.has(a="1", b="2")
        changed = {(before or after).place.name for before, after in found.told}
        assert changed <= {"b", "c"}


async def test_marks_move_the_version_on_so_that_a_quiet_watch_does_not_grow_old(server, client):
    config(server, "a", "1")
    async with Followed(client) as found:
        await found.has(a="1")
        for number in range(5):
            server.create({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": f"s{number}"}})
        newest = server.call(lambda: server.cluster.store.revision)
        await found.until(lambda: int(found.mirror.version) >= newest)
        server.compact()
        server.call(server.faults.cut_watches)
        config(server, "a", "2")
        await found.has(a="2")
        assert found.lists == 1


async def test_a_cluster_from_a_backup_is_listed_again(server, client):
    config(server, "a", "1")
    async with Followed(client) as found:
        await found.has(a="1")
        backup = server.call(lambda: (server.cluster.store.revision, dict(server.cluster.store.objects)))
        for number in range(20):
            config(server, "a", str(number))
        await found.has(a="19")
        server.stop()
        store = server.cluster.store = Store()
        store.revision, store.objects = backup
        server.start()
        await found.has(a="1")
        assert found.lists == 2


async def test_another_cluster_ends_it(server, client):
    async with Followed(client) as found:
        await found.until(lambda: found.lists)
        found.other = True
        server.restart(lose_data=True)
        async with asyncio.timeout(10):
            with pytest.raises(OtherCluster):
                await found.task


@pytest.mark.parametrize("code", [429, 500, 503])
async def test_it_waits_as_long_as_the_api_server_asks(server, client, code):
    fault = server.faults.fail(code, 3, plural="configmaps", retry_after=0.01)
    config(server, "a", "1")
    async with Followed(client) as found:
        await found.has(a="1")
    assert fault.struck == 3


async def test_a_login_that_is_refused_is_an_alarm_and_heals(server, client, caplog):
    caplog.set_level(logging.DEBUG, "cloudsync.kube.following")
    fault = server.faults.fail(403, 4, plural="configmaps")
    config(server, "a", "1")
    async with Followed(client) as found:
        await found.has(a="1")
    assert fault.struck == 4
    told = [one for one in caplog.records if "not followed" in one.message]
    assert [one.levelno for one in told] == [logging.ERROR, *[logging.DEBUG] * 3]
    assert "docs/kubernetes.md" in told[0].message
    assert any("followed again" in one.message for one in caplog.records)


async def test_a_resource_that_nobody_made_yet_holds_nothing_up_and_is_found_when_it_is_there(server, client):
    async with Followed(client, DEVICES, optional=True) as found:
        await found.until(lambda: found.mirror.listed)
        assert len(found.mirror) == 0


async def test_requests_end_with_errors_that_say_what_happened(server, client):
    with pytest.raises(Absent):
        await client.get(CONFIG_MAPS, APP)
    made = await client.create(CONFIG_MAPS, "default", {"metadata": {"name": "app"}, "data": {"x": "1"}})
    with pytest.raises(Conflict):
        await client.create(CONFIG_MAPS, "default", {"metadata": {"name": "app"}})
    await client.merge(CONFIG_MAPS, APP, {"data": {"x": "2"}})
    with pytest.raises(Conflict):
        await client.merge(CONFIG_MAPS, APP, {"metadata": {"resourceVersion": made.version}, "data": {"x": "3"}})
    with pytest.raises(Conflict):
        await client.delete(CONFIG_MAPS, APP, uid="another")
    await client.delete(CONFIG_MAPS, APP, uid=made.uid)
    with pytest.raises(Rejected):
        await client.create(PODS, "default", {"metadata": {"name": "UPPER"}})
    server.faults.fail(429, 1, retry_after=7)
    with pytest.raises(Busy) as busy:
        await client.get(CONFIG_MAPS, APP)
    assert busy.value.retry_after_s == 7
    server.faults.fail(401, 1)
    with pytest.raises(Denied):
        await client.get(CONFIG_MAPS, APP)
    server.stop()
    with pytest.raises(Unreachable):
        await client.get(CONFIG_MAPS, APP)


async def test_long_lists_are_read_in_pages(server, client, monkeypatch):
    monkeypatch.setattr("cloudsync.kube.client.PAGE", 2)
    for number in range(5):
        config(server, f"c{number}", "1")
    assert len((await client.listed(CONFIG_MAPS)).objects) == 5
    assert [one[0] for one in server.requests].count("list") == 3


async def test_a_kubeconfig_that_leads_nowhere_is_refused_with_its_path(tmp_path):
    for text in ("", "{}", "clusters: 7", "current-context: x\nclusters: []\ncontexts: []\nusers: []\n"):
        (tmp_path / "kubeconfig").write_text(text)
        with pytest.raises(KubeError, match="kubeconfig"):
            async with connected(str(tmp_path / "kubeconfig"), ""):
                pass
    with pytest.raises(KubeError, match="nowhere"):
        async with connected(str(tmp_path / "nowhere"), ""):
            pass
