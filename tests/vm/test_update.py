"""Tier 2, opt-in (make test-vm): updates of a whole image in a virtual machine, good, damaged, broken and cut off."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest

from edgehub.state import CliAccess
from hardware import grubenv
from hardware.boards import board
from hardware.image.build import Workshop, build
from hardware.image.cli import TREE
from tests.vm.guest import X86_64, Guest
from tests.vm.laboratory import Lab, Restarted, lab_disk, plant, words_for
from tests.vm.record import proved, seconds
from tests.vm.releases import bundle_of, damaged, disk_of, signer
from twin.client import TwinClient
from twin.link.mqtt import MqttLink
from twin.link.options import MqttOptions

pytestmark = [
    pytest.mark.vm,
    pytest.mark.timeout(3600),
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root: an image is built by it"),
    pytest.mark.skipif(bool(X86_64.missing()), reason=X86_64.missing()),
]
BOARD = "qemu-x86-64"
EPOCH_S = 1_700_000_000
BOOT_S = 900.0
"""Of a busy machine without KVM; a quiet one takes 40 s."""
INSTALL_S = 900.0
STATUS = "/boot/esp/EFI/edgetwin/grubenv"
ENVIRONMENT = "EDGETWIN_STATE=/var/lib/edgetwin"
RECORD = "/var/lib/edgetwin-update/record.json"
ANSWER_S = 20.0
RELAYED = 2883
RULES = "/etc/nftables.d/lab.nft"
OPEN = f"echo 'add rule inet edgetwin_filter input tcp dport {RELAYED} accept' >{RULES}; nft -f /etc/nftables.conf"
DATA = "/var/lib/edgetwin/of-the-test"


@dataclass(frozen=True)
class Site:
    """What one image and its later releases are tried with."""

    image: Path
    bundles: Path


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    folder = tmp_path_factory.mktemp("update")
    who = signer(folder)
    shop = Workshop(TREE, TREE / ".cache/images", folder, EPOCH_S)
    image = build(board(BOARD), "1.0.0", shop, lambda *_: None, who.certificate.read_text()).image
    good = bundle_of(image, "2.0.0", who, folder / "good.raucb")
    foreign = bundle_of(image, "2.1.0", signer(folder, "somebody"), folder / "foreign.raucb")
    broken = bundle_of(image, "3.0.0", who, folder / "broken.raucb", broken=True)
    bad = damaged(good, folder / "damaged.raucb")
    return Site(image, disk_of([good, foreign, broken, bad], folder / "bundles.img"))


class Gateway:
    """A machine with a disk of its own, that may lose its power and get it again."""

    def __init__(self, site: Site, folder: Path, opened: Mapping[int, int] = MappingProxyType({})) -> None:
        self.disk = folder / "disk.img"
        subprocess.run(["cp", "--sparse=always", site.image, self.disk], check=True, timeout=300)
        os.truncate(self.disk, self.disk.stat().st_size + 1024 * 2**20)  # room for data to grow into
        plant(self.disk, board(BOARD), folder)
        lab_disk(folder / "lab.img", folder)
        self._socket = folder / "lab.sock"
        drive = f"file={site.bundles},format=raw,if=none,id=bundles,readonly=on"
        more = ("-drive", drive, "-device", "virtio-blk-pci,drive=bundles,serial=bundles")
        self.guest = Guest(self.disk, folder, more=(*words_for(folder / "lab.img", self._socket), *more), opened=opened)

    @asynccontextmanager
    async def on(self) -> AsyncIterator[Lab]:
        """With power, until the block is left: then it goes."""
        self._socket.unlink(missing_ok=True)
        self.guest.start()
        try:
            async with Lab(self._socket) as lab:
                await self.up(lab)
                yield lab
        finally:
            self.guest.cut()

    async def up(self, lab: Lab) -> None:
        """Wait until the system is there, and the boot partition with the state of the slots."""
        async with asyncio.timeout(BOOT_S):
            await lab.up.wait()
        await lab.until("test", "-s", STATUS, so=lambda done: done.rc == 0, timeout_s=BOOT_S)
        await lab.run("sh", "-c", "mkdir -p /run/b; mount -o ro /dev/disk/by-id/virtio-bundles /run/b", check=False)


async def release(lab: Lab) -> str:
    text = (await lab.run("cat", "/etc/edgetwin-release")).out
    return text.partition("RELEASE=")[2].strip()


async def slots(lab: Lab) -> dict[str, str]:
    return grubenv.parsed((await lab.run("cat", STATUS)).out.encode())


async def healthy(lab: Lab) -> None:
    """The hub answers over its broker."""
    ask = ("env", ENVIRONMENT, "edgetwin", "status", "--json")
    await lab.until(*ask, so=lambda done: done.rc == 0 and '"version"' in done.out, timeout_s=BOOT_S)


async def install(lab: Lab, bundle: str) -> int:
    """Give a bundle to the updater; what it says, unless the machine goes down to try it."""
    words = ("edgetwin", "hardware", "update", "install", f"/run/b/{bundle}.raucb")
    return (await lab.run("env", ENVIRONMENT, *words, timeout_s=INSTALL_S, check=False)).rc


async def tried(gateway: Gateway, lab: Lab, bundle: str, state: str) -> dict[str, str]:
    """Install a bundle and wait for the end of its trial, over all restarts; the leaf of the gateway's twin."""
    lab.up.clear()
    asked = asyncio.create_task(install(lab, bundle))
    came = asyncio.create_task(lab.up.wait())
    async with asyncio.timeout(INSTALL_S + BOOT_S):
        await asyncio.wait({asked, came}, return_when=asyncio.FIRST_COMPLETED)
        assert lab.up.is_set(), f"it was not begun: {asked.result()}"
        await came
    asked.cancel()
    await asyncio.gather(asked, return_exceptions=True)
    await gateway.up(lab)
    done = await lab.until(
        *("env", ENVIRONMENT, "edgetwin", "get", "--kind", "gateway", "--json"),
        so=lambda done: f'"state": "{state}"' in done.out or f'"state":"{state}"' in done.out,
        timeout_s=4 * BOOT_S,
    )
    found: dict[str, str] = leaf_of(done.json())
    return found


async def is_tried(lab: Lab) -> float:
    """Wait until the updater has laid out a release and is about to start it; when that was, in monotonic seconds."""
    while True:
        with contextlib.suppress(TimeoutError, Restarted):  # the machine may go down before it answers
            async with asyncio.timeout(ANSWER_S):
                if '"trying"' in (await lab.run("cat", RECORD, check=False)).out:
                    return time.monotonic()
        await asyncio.sleep(0.5)


def leaf_of(shown: object) -> Any:
    """The first leaf called update, wherever it lies."""
    if isinstance(shown, dict):
        if isinstance(release_ := shown.get("update"), dict) and "value" in release_:
            return release_["value"]
        return next((one for part in shown.values() if (one := leaf_of(part))), None)
    if isinstance(shown, list):
        return next((one for part in shown if (one := leaf_of(part))), None)
    return None


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


async def test_twins_are_queried_from_without_over_mqtt(
    site: Site, tmp_path: Path, free_port: Callable[[], int]
) -> None:
    here = free_port()
    gateway = Gateway(site, tmp_path, {here: RELAYED})
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


async def cut_once(gateway: Gateway, moment: random.Random, longest_s: float) -> tuple[str, str]:
    """Begin an update and cut the power at a random moment of it; the release that boots then, and the slots' state."""
    async with gateway.on() as lab:
        before = await release(lab)
        updating = asyncio.create_task(install(lab, "good"))
        await asyncio.wait({updating}, timeout=moment.uniform(0.2, longest_s))
        gateway.guest.cut()
        updating.cancel()
        await asyncio.gather(updating, return_exceptions=True)
    async with gateway.on() as lab:
        await healthy(lab)
        return before, await release(lab)


async def test_a_power_cut_in_the_midst_of_an_update_leaves_a_gateway_that_boots(site: Site, tmp_path: Path) -> None:
    gateway = Gateway(site, tmp_path)
    before, after = await cut_once(gateway, random.Random(), longest_s=60)
    assert before == "1.0.0"
    assert after in ("1.0.0", "2.0.0")
    proved(BOARD, f"the power is cut in an update, {after} boots and its hub answers")
