"""Tier 2, opt-in (make test-vm): updates of a whole image in a virtual machine, good, damaged, broken and cut off."""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from edgehub.state import CliAccess
from tests.vm.guest import X86_64
from tests.vm.record import proved, seconds
from tests.vm.releases import SHORT_S
from tests.vm.updates import (
    BOARD,
    BOOT_S,
    DATA,
    OPEN,
    RELAYED,
    STATUS,
    Gateway,
    Site,
    cut_once,
    healthy,
    install,
    release,
    slots,
    tried,
)
from twin.client import TwinClient
from twin.link.mqtt import MqttLink
from twin.link.options import MqttOptions

pytestmark = [
    pytest.mark.vm,
    pytest.mark.timeout(3600),
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root: an image is built by it"),
    pytest.mark.skipif(bool(X86_64.missing()), reason=X86_64.missing()),
]


async def test_updates_are_tried_and_kept_refused_or_left_again(site: Site, tmp_path: Path) -> None:
    gateway = Gateway(site, tmp_path)
    async with gateway.on() as lab:
        await healthy(lab)
        proved(BOARD, "power on to the hub's answer", seconds(gateway.guest.began_s))
        await lab.until("cat", STATUS, so=lambda done: "SURE=A" in done.out)
        await lab.run("sh", "-c", f"echo kept >{DATA}; echo 'updates: {{trial: 60s}}' >/etc/edgetwin/edgetwin.yaml")

        assert await install(lab, "foreign") != 0
        assert (await slots(lab))["B_OK"] == "0"
        assert await install(lab, "damaged") != 0
        state = await slots(lab)
        assert (state["ORDER"], state["A_OK"], state["B_OK"], state["SURE"]) == ("A B", "1", "0", "A")
        proved(BOARD, "a bundle that is damaged or foreign is refused, the slot that runs stays the next")

        began_s = time.monotonic()
        said = await tried(gateway, lab, "good", "healthy")
        assert said["version"] == await release(lab) == "2.0.0"
        assert (await lab.run("cat", DATA)).out == "kept\n"
        state = await slots(lab)
        assert (state["ORDER"], state["SURE"]) == ("B A", "B")
        proved(BOARD, "a signed update, installed, tried and healthy; data is kept", seconds(began_s))

        began_s = time.monotonic()
        said = await tried(gateway, lab, "broken", "rolled_back")
        assert (said["version"], said["wanted"]) == ("2.0.0", "3.0.0")
        assert said["reason"]
        assert await release(lab) == "2.0.0"
        await healthy(lab)
        proved(BOARD, f"a broken release is left after its tries: {said['reason']}", seconds(began_s))


async def test_a_release_whose_updater_is_dead_is_left_by_the_dead_mans_switch(site: Site, tmp_path: Path) -> None:
    """Its hub works, and there is nobody to judge that."""
    gateway = Gateway(site, tmp_path)
    async with gateway.on() as lab:
        await healthy(lab)
        await lab.until("cat", STATUS, so=lambda done: "SURE=A" in done.out)
        began_s = time.monotonic()
        said = await tried(gateway, lab, "mute", "rolled_back")
        assert (said["version"], said["wanted"]) == ("1.0.0", "4.0.0")
        assert await release(lab) == "1.0.0"
        await healthy(lab)
        state = await slots(lab)
        assert (state["SURE"], state["B_TRY"]) == ("A", "3"), "the other slot boots again"
        proved(
            BOARD, f"a release whose updater is dead is left, by {SHORT_S} s of silence three times", seconds(began_s)
        )


async def test_twins_are_queried_from_without_over_mqtt(
    site: Site, tmp_path: Path, free_port: Callable[[], int]
) -> None:
    here = free_port()
    gateway = Gateway(site, tmp_path, opened={here: RELAYED})
    async with gateway.on() as lab:
        await healthy(lab)
        await lab.run("sh", "-c", OPEN)
        access = CliAccess.model_validate_json((await lab.run("cat", "/var/lib/edgetwin/cli.json")).out)
        words = f"setsid python3 /run/lab/relay.py {RELAYED} {access.port} >/dev/null 2>&1 </dev/null &"
        await lab.run("sh", "-c", words)
        options = MqttOptions("127.0.0.1", here, "from-without", access.account, access.password)
        began_s = time.monotonic()
        async with asyncio.timeout(BOOT_S), MqttLink(options, rng=random.Random()) as link:
            await link.connected(BOOT_S)
            async with TwinClient(link, account=access.account, client="from-without", timeout_s=60) as client:
                found = await client.query("SELECT name FROM twins WHERE kind = 'gateway'")
                assert found.rows == [["edgetwin"]]
                proved(BOARD, "a query by MQTT from without is answered by the gateway's hub", seconds(began_s))


async def test_a_power_cut_in_the_midst_of_an_update_leaves_a_gateway_that_boots(site: Site, tmp_path: Path) -> None:
    gateway = Gateway(site, tmp_path)
    before, after = await cut_once(gateway, random.Random())
    assert before == "1.0.0"
    assert after in ("1.0.0", "2.0.0")
    proved(BOARD, f"the power is cut in an update, {after} boots and its hub answers")
