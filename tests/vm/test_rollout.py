"""Tier 2, opt-in (make test-vm): a cloud rolls releases out to a virtual machine, and stops at a broken one."""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest

from tests.cloudsync.process import CloudProcess
from tests.vm.guest import HOST, X86_64, put_on_boot
from tests.vm.record import proved, seconds
from tests.vm.updates import BOARD, BOOT_S, INSTALL_S, Gateway, Site, healthy, is_tried, release, update

pytestmark = [
    pytest.mark.vm,
    pytest.mark.timeout(7200),
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root: an image is built by it"),
    pytest.mark.skipif(bool(X86_64.missing()), reason=X86_64.missing()),
]
T = TypeVar("T")
PROVISIONING = "edgetwin-provision.yaml"
SETTINGS = {"cloud": {"first_delay": "0s"}, "updates": {"trial": "60s"}}


@pytest.fixture
def cloud(tmp_path: Path) -> Iterator[CloudProcess]:
    made = CloudProcess(tmp_path / "cloud", EDGETWIN_CLOUD_PUBLIC_HOST=HOST)
    made.run("cloud", "init")
    made.start()
    yield made
    made.stop()


async def eventually(look: Callable[[], T | None], timeout_s: float) -> T:
    """What a command on this host says, once it says it."""
    async with asyncio.timeout(timeout_s):
        while (found := await asyncio.to_thread(look)) is None:  # noqa: ASYNC110  # processes, and a machine far away
            await asyncio.sleep(1)
    return found


async def brought(cloud: CloudProcess, version: str) -> dict[str, Any]:
    """Roll a version out; how the rollout ended."""

    def began() -> str | None:
        done = cloud.run("cloud", "rollout", "start", version, "--soak", "0s", "--json", check=False)
        return json.loads(done.stdout)["id"] if done.returncode == 0 else None

    def ended() -> dict[str, Any] | None:
        done = cloud.run("cloud", "rollout", "status", number, "--json", check=False)
        told: dict[str, Any] = json.loads(done.stdout)
        return told if told["phase"] in ("done", "stopped") else None

    number = await eventually(began, BOOT_S)  # the cloud does not know the gateway at once
    return await eventually(ended, INSTALL_S + 4 * BOOT_S)


async def test_a_rollout_brings_a_release_stops_at_a_broken_one_and_a_slot_switched_by_hand_is_tried(
    site: Site, cloud: CloudProcess, tmp_path: Path
) -> None:
    folder = tmp_path / "gateway"
    folder.mkdir()
    gateway = Gateway(site, folder, (cloud.gateways_port, cloud.web_port))
    token = cloud.json("cloud", "token", "create", "--gateway", "gw-1")["token"]
    said = {"version": 1, "gateway": {"name": "gw-1"}, "settings": SETTINGS, "cloud": {"token": token}}
    (folder / "provisioning.yaml").write_text(json.dumps(said))
    put_on_boot(gateway.disk, folder / "provisioning.yaml", PROVISIONING)
    for name, version in (("good", "2.0.0"), ("broken", "3.0.0")):
        cloud.run("cloud", "bundle", "add", str(site.bundle(name)), "--version", version)
    async with gateway.on() as lab:
        await healthy(lab)
        began_s = time.monotonic()
        told = await brought(cloud, "2.0.0")
        assert [(one["gateway"], one["outcome"]) for one in told["gateways"]] == [("gw-1", "healthy")]
        assert told["phase"] == "done"
        assert await release(lab) == "2.0.0"
        proved(BOARD, "a rollout of the cloud: fetched over mutual TLS, tried, healthy", seconds(began_s))

        began_s = time.monotonic()
        told = await brought(cloud, "3.0.0")
        (lost,) = told["gateways"]
        assert (told["phase"], lost["outcome"]) == ("stopped", "lost")
        assert "its hub ended" in lost["reason"]
        assert await release(lab) == "2.0.0"
        proved(BOARD, f"a rollout of a broken release stops: {lost['reason']}", seconds(began_s))

        await healthy(lab)
        began_s = time.monotonic()
        trying = asyncio.create_task(is_tried(lab))
        await lab.run("rauc", "status", "mark-active", "other")
        await lab.run("systemd-run", "--on-active=1", "systemctl", "reboot")
        async with asyncio.timeout(BOOT_S):
            await trying
        left = await update(lab, "rolled_back")
        assert (left["version"], left["wanted"]) == ("2.0.0", "3.0.0")
        await gateway.up(lab)
        assert await release(lab) == "2.0.0"
        proved(BOARD, "a slot that was switched to by rauc itself is tried, and left", seconds(began_s))
