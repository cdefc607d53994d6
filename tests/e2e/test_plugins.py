"""Mappers of others in processes of their own: one that misbehaves is seen, and harms nobody else."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from edgehub.limits import CGROUPS
from tests.e2e.moody import Plugin
from tests.e2e.rig import Hub
from twin.client import TwinClient
from twin.errors import EdgetwinError
from twin.wire.api import ChildStatus, DocumentSource

WAIT_S = 30.0


@dataclass
class Site:
    """A gateway with two plugins: one that a test makes moody, and a steady neighbour."""

    hub: Hub
    client: TwinClient
    moody: Plugin
    steady: Plugin

    async def apply(self, *texts: str) -> None:
        await self.client.apply([DocumentSource(name="site.yaml", text="---\n".join(texts))])

    async def child(self, plugin: Plugin) -> ChildStatus | None:
        children = (await self.client.status()).children
        return next((one for one in children if one.name == plugin.account), None)

    async def until_child(self, plugin: Plugin, wanted) -> ChildStatus:
        """The plugin's process as ``status`` has it, as soon as it is as wanted."""
        seen = None
        async with asyncio.timeout(WAIT_S):
            while (seen := await self.child(plugin)) is None or not wanted(seen):  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        return seen

    async def leaf(self, twin: str, name: str, wanted):
        """A property as soon as it is as wanted."""
        kind = twin.partition("/")[0]
        async with asyncio.timeout(WAIT_S), self.client.watch(kind=kind) as events:
            async for event in events:
                found = event.body.reported.get(name) if event.twin == twin and event.body is not None else None
                if found is not None and wanted(found):
                    return found
        raise AssertionError("the watch ended")

    async def neighbour_is_well(self, pid: int) -> None:
        """The steady one runs on in its process, and its values go on."""
        child = await self.child(self.steady)
        assert child is not None
        assert (child.pid, child.restarts, child.problem) == (pid, 0, "")
        before = (await self.leaf(self.steady.twin, "count", lambda one: one.quality == "good")).value
        await self.leaf(self.steady.twin, "count", lambda one: one.value > before)

    async def running(self) -> tuple[ChildStatus, ChildStatus]:
        await self.apply(self.moody.documents, self.steady.documents)
        for plugin in (self.moody, self.steady):
            await self.leaf(plugin.twin, "count", lambda one: one.quality == "good" and one.value > 1)
        return await self.until_child(self.moody, bool), await self.until_child(self.steady, bool)


@pytest.fixture
async def site(stopped_hub: Hub, tmp_path: Path) -> AsyncIterator[Site]:
    moody, steady = (Plugin(name, tmp_path / "plugins") for name in ("moody", "steady"))
    own = [str(plugin.folder) for plugin in (moody, steady)]
    stopped_hub.environment["PYTHONPATH"] = os.pathsep.join((*own, str(Path(__file__).parents[2])))
    stopped_hub.start()
    await stopped_hub.ready()
    async with stopped_hub.client() as client:
        yield Site(stopped_hub, client, moody, steady)


async def test_each_plugin_has_a_process_an_account_and_limits_and_comes_and_goes_with_its_documents(site) -> None:
    moody, steady = await site.running()
    assert moody.pid != steady.pid
    assert (moody.mapper, steady.mapper) == ("moody", "steady")
    if os.geteuid() == 0 and (CGROUPS / "memory").is_dir():
        assert moody.limits == "cgroup v1: memory 96 MiB, cpu 1"
        assert f"/{site.moody.account}\n" in Path(f"/proc/{moody.pid}/cgroup").read_text()
    assert "memory 96 MiB" in moody.limits or "data 96 MiB" in moody.limits
    shown = site.hub.run("status").stdout
    assert f"mapper.moody process {moody.pid}, {moody.limits}" in shown
    acl = (site.hub.folder.run / "acl").read_text()
    rules = acl.partition("user mapper.moody\n")[2].partition("\n\nuser ")[0].split("\n")
    assert sorted(rules) == [
        "topic read et/1/ack/mapper.moody",
        "topic read et/1/ack/mapper.moody.simulated",
        "topic read et/1/delta/device/default/moody-1",
        "topic read et/1/mapper/mapper.moody/config",
        "topic write et/1/mapper/mapper.moody/state",
        "topic write et/1/report/mapper.moody.simulated/device/default/moody-1",
        "topic write et/1/report/mapper.moody.simulated/mapper/default/moody",
        "topic write et/1/report/mapper.moody/device/default/moody-1",
        "topic write et/1/report/mapper.moody/mapper/default/moody",
    ]
    await site.client.set(site.moody.twin, {"wish": 41})
    await site.leaf(site.moody.twin, "wish", lambda one: one.value == 41)
    os.kill(moody.pid, signal.SIGKILL)
    await site.leaf(site.moody.twin, "count", lambda one: one.reason == "mapper_down")
    back = await site.until_child(site.moody, lambda one: one.running and one.pid != moody.pid)
    assert back.last_end == "ended (SIGKILL)"
    await site.leaf(site.moody.twin, "count", lambda one: one.quality == "good")
    mapper = site.moody.documents.rpartition("---\n")[2]
    await site.apply(mapper.replace("memory: 96Mi", "enabled: false"))
    await site.leaf(site.moody.twin, "count", lambda one: one.reason == "mapper_down")
    assert await site.child(site.moody) is None
    assert (await site.client.status()).mappers_disabled == ["moody"]
    await site.apply(mapper.replace("96Mi", "128Mi"))
    child = await site.until_child(site.moody, lambda one: "128 MiB" in one.limits)
    assert child.restarts == 0
    await site.leaf(site.moody.twin, "count", lambda one: one.quality == "good")
    await site.neighbour_is_well(steady.pid)
    site.hub.stop()
    left = [path for name in ("memory", "cpu") for path in (CGROUPS / name).glob(f"**/edgetwin-{site.hub.process.pid}")]
    assert left == []


async def test_one_that_cannot_be_imported_any_more_says_file_and_line_and_keeps_nothing_else_from_being_applied(
    site,
) -> None:
    moody, steady = await site.running()
    site.moody.mood("import")
    os.kill(moody.pid, signal.SIGKILL)
    error = await site.leaf("mapper/default/moody", "last_error", lambda one: "planets" in str(one.value))
    assert (
        "mapper 'moody' (moody_module:MAPPER) cannot be imported: ValueError: the planets are not right" in error.value
    )
    assert "(moody_module.py, line 13)" in error.value
    await site.leaf(site.moody.twin, "count", lambda one: one.reason == "config_error")
    assert "cannot be imported" in site.hub.run("status").stdout
    await site.apply(site.steady.documents.replace("metadata: {name: steady-1}", "metadata: {name: steady-2}"))
    changed = site.moody.documents.replace("port: 7", "port: 8")
    with pytest.raises(EdgetwinError, match=r"(?s)site\.yaml:.*spec\.mapper.*cannot be imported: ValueError"):
        await site.apply(changed)
    await site.neighbour_is_well(steady.pid)


async def test_one_that_ends_itself_again_and_again_is_started_with_growing_waits(site) -> None:
    _, steady = await site.running()
    site.moody.mood("exit")
    child = await site.until_child(site.moody, lambda one: one.restarts >= 2)
    assert child.last_end.startswith("ended (exit code 3)")
    await site.neighbour_is_well(steady.pid)


async def test_one_that_eats_memory_is_stopped_at_its_limit(site) -> None:
    moody, steady = await site.running()
    site.moody.mood("eat")
    if moody.limits.startswith("cgroup"):
        child = await site.until_child(site.moody, lambda one: bool(one.last_end))
        assert child.last_end == "went over its memory of 96 MiB and was ended by the kernel"
    else:
        await site.leaf("mapper/default/moody", "last_error", lambda one: "MemoryError" in str(one.value))
    await site.neighbour_is_well(steady.pid)


async def test_one_that_hangs_is_killed_by_the_watchdog(site) -> None:
    moody, steady = await site.running()
    site.moody.mood("hang")
    child = await site.until_child(site.moody, lambda one: bool(one.last_end))
    assert child.last_end == "gave no sign of life for 2 s and was killed"
    assert not Path(f"/proc/{moody.pid}").exists()
    await site.neighbour_is_well(steady.pid)
    site.moody.mood("well")
    await site.leaf(site.moody.twin, "count", lambda one: one.quality == "good")


async def test_one_that_reports_devices_of_others_is_refused_and_named(site) -> None:
    moody, steady = await site.running()
    topic = "et/1/report/mapper.moody/device/default/steady-1"
    report = '{"id":1,"at":1,"values":{"wish":666}}'
    site.moody.mood(f"publish {topic} {report}")
    child = await site.until_child(site.moody, lambda one: bool(one.problem))
    assert child.problem == f"mapper account mapper.moody may not publish on {topic}"
    done = site.hub.run("status")
    assert f"PROBLEM: mapper account mapper.moody may not publish on {topic}" in done.stdout
    assert done.returncode == 1
    site.moody.mood(f"sneak {topic} {report}")
    async with asyncio.timeout(WAIT_S):
        while "sneaked" not in (site.moody.folder / "moody_module.mood").read_text():  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    await site.neighbour_is_well(steady.pid)
    assert (await site.client.get(site.steady.twin)).reported["wish"].value != 666
    assert (await site.child(site.moody)).pid == moody.pid


async def test_mistakes_in_settings_of_a_plugin_are_told_as_those_of_ours_are(site) -> None:
    with pytest.raises(EdgetwinError, match=r"(?s)site\.yaml:\d+: spec\.config\.port: .*a whole number"):
        await site.apply(site.moody.documents.replace("port: 7", "port: seven"))
    with pytest.raises(EdgetwinError, match=r"spec\.memory: '1Mi' is too little"):
        await site.apply(site.moody.documents.replace("96Mi", "1Mi"))
    shared = site.moody.documents.rpartition("---\n")[2].replace("name: moody", "name: modbus")
    with pytest.raises(EdgetwinError, match=r"spec\.memory: modbus shares a process with the other mappers"):
        await site.apply(shared)
    inline = site.moody.documents.replace("connection: moody", "protocol: {protocolName: Moody-Bus, configData: {}}")
    await site.apply(inline)
    await site.leaf(site.moody.twin, "count", lambda one: one.quality == "good")
