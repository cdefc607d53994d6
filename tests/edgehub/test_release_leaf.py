"""The leaf ``release`` of a running gateway: what is desired reaches the updater, what it reports reaches the twin."""

from __future__ import annotations

import asyncio
import os
import random
import signal
from pathlib import Path

import pytest

from edgehub.app import Gateway
from edgehub.commands.session import hub_client
from edgehub.notify import told_to_systemd
from edgehub.release import wanted_release
from edgehub.settings import Settings
from edgehub.state import StateFolder
from tests.edgehub.listening import Listening
from twin.clock import SystemClock
from twin.errors import EdgetwinError
from twin.release import Release, ReleaseReport, ReleaseState, Running, Told, written

WANTED = Release(version="1.1.0", url="https://cloud.example/x", sha256="a" * 64, size=5, order="r-1")
OWN = "gateway/default/hall-7"


@pytest.fixture
async def gateway(tmp_path, free_port, monkeypatch):
    monkeypatch.setenv("EDGETWIN_STATE", str(tmp_path / "state"))
    settings = Settings.model_validate(
        {"gateway": {"name": "hall-7"}, "broker": {"port": free_port()}, "web": {"listen": ""}}
    )
    folder = StateFolder(tmp_path / "state")
    async with Gateway.running(settings, folder, clock=SystemClock(), rng=random.Random(1)) as running:
        yield running, folder


async def until(condition) -> None:
    async with asyncio.timeout(30):
        while not await condition():  # noqa: ASYNC110  # it is in files and in another process's store
            await asyncio.sleep(0.05)


async def test_what_is_desired_and_reported_is_carried_and_garbage_is_not(gateway):
    _, folder = gateway
    report = ReleaseReport(version="1.0.0", slot="A", state=ReleaseState.ROLLED_BACK, wanted="1.1.0", tries=3)
    old = Running(version="1.0.0")
    folder.update.mkdir()
    async with hub_client() as client:

        async def reported(name="update"):
            leaf = (await client.get(OWN)).reported.get(name)
            return leaf is not None and leaf.value

        async def wanted():
            return wanted_release(folder) == WANTED

        assert wanted_release(folder) is None
        await client.set(OWN, {"release": written(WANTED)})
        await until(wanted)
        folder.update_report.write_text(Told(release=old, update=report).model_dump_json())
        await until(reported)
        assert (await reported(), await reported("release")) == (written(report), written(old))
        assert (await client.get(OWN)).delta == {"release": written(WANTED)}
        runs = Running.model_validate(WANTED.model_dump())
        folder.update_report.write_text(Told(release=runs, update=report).model_dump_json())

        async def settled():
            return not (await client.get(OWN)).delta

        await until(settled)
        folder.update_report.write_text("{")
        await client.set(OWN, {}, unset=["release"])

        async def gone():
            return wanted_release(folder) is None

        await until(gone)
        assert await reported() == written(report)
    folder.wanted_release.write_text("no")
    with pytest.raises(EdgetwinError, match="cannot be read"):
        wanted_release(folder)


async def test_a_hub_whose_broker_stands_still_tells_systemd_nothing(gateway, tmp_path):
    running, folder = gateway
    (broker,) = broker_pids(folder)
    async with Listening(tmp_path / "notify") as systemd:
        environment = {"NOTIFY_SOCKET": str(systemd.path), "WATCHDOG_USEC": "400000"}
        async with told_to_systemd(environment, running.answers):
            assert [await systemd.next() for _ in range(2)] == ["READY=1", "WATCHDOG=1"]
            os.kill(broker, signal.SIGSTOP)
            try:
                assert not await running.answers()
                systemd.heard()
                assert not await running.answers()
                assert systemd.heard() == []
            finally:
                os.kill(broker, signal.SIGCONT)
            assert await systemd.next() == "WATCHDOG=1"


def broker_pids(folder: StateFolder) -> list[int]:
    conf = str(folder.run / "mosquitto.conf")
    found = []
    for one in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = one.read_bytes().decode(errors="replace").split("\0")
        except OSError:
            continue
        if conf in words:
            found.append(int(one.parent.name))
    return found
