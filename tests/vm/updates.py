"""A gateway in a virtual machine that is given releases: its disk, its slots, and what it says of them."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import subprocess
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from hardware import grubenv
from hardware.boards import board
from tests.vm.guest import Guest
from tests.vm.laboratory import Lab, Restarted, lab_disk, plant, words_for

BOARD = "qemu-x86-64"
EPOCH_S = 1_700_000_000
BOOT_S = 900.0
"""Of a busy machine without KVM; a quiet one takes 40 s."""
INSTALL_S = 900.0
STATUS = "/boot/esp/EFI/edgetwin/grubenv"
ENVIRONMENT = "EDGETWIN_STATE=/var/lib/edgetwin"
RECORD = "/var/lib/edgetwin-update/record.json"
ANSWER_S = 20.0
STARTS = 2.0
"""An update takes longer than so many starts of the machine."""
RELAYED = 2883
RULES = "/etc/nftables.d/lab.nft"
OPEN = f"echo 'add rule inet edgetwin_filter input tcp dport {RELAYED} accept' >{RULES}; nft -f /etc/nftables.conf"
DATA = "/var/lib/edgetwin/of-the-test"
MOUNT = "mkdir -p /run/b; mountpoint -q /run/b || mount -o ro /dev/disk/by-id/virtio-bundles /run/b"


@dataclass(frozen=True)
class Site:
    """What one image and its later releases are tried with."""

    image: Path
    disk: Path
    """With all bundles."""
    folder: Path

    def bundle(self, name: str) -> Path:
        """One of the bundles as a file of this host."""
        return self.folder / f"{name}.raucb"


class Gateway:
    """A machine with a disk of its own, that may lose its power and get it again."""

    def __init__(
        self, site: Site, folder: Path, ports: tuple[int, ...] = (), opened: Mapping[int, int] = MappingProxyType({})
    ) -> None:
        self.disk = folder / "disk.img"
        subprocess.run(["cp", "--sparse=always", site.image, self.disk], check=True, timeout=300)
        os.truncate(self.disk, self.disk.stat().st_size + 1024 * 2**20)  # room for data to grow into
        plant(self.disk, board(BOARD), folder)
        lab_disk(folder / "lab.img", folder)
        self._socket = folder / "lab.sock"
        drive = f"file={site.disk},format=raw,if=none,id=bundles,readonly=on"
        more = ("-drive", drive, "-device", "virtio-blk-pci,drive=bundles,serial=bundles")
        more = (*words_for(folder / "lab.img", self._socket), *more)
        self.guest = Guest(self.disk, folder, ports, more=more, opened=opened)

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
        await lab.until("sh", "-c", MOUNT, so=lambda done: done.rc == 0, timeout_s=BOOT_S)


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
    return await update(lab, state)


async def update(lab: Lab, state: str) -> dict[str, str]:
    """The leaf ``update`` of the gateway's twin, once it says this state."""
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


async def cut_once(gateway: Gateway, moment: random.Random) -> tuple[str, str]:
    """Begin an update and cut the power at a random moment of it; the release that ran, and the one that boots then.

    The moment is within two starts of this machine, as slow as it is just now: to lay a release out, to start it and
    to see that it is well takes longer.
    """
    async with gateway.on() as lab:
        start_s = time.monotonic() - gateway.guest.began_s
        before = await release(lab)
        updating = asyncio.create_task(install(lab, "good"))
        await asyncio.wait({updating}, timeout=moment.uniform(0.2, STARTS * start_s))
        gateway.guest.cut()
        assert not updating.done() or isinstance(updating.exception(), Restarted), "it was over before the power went"
        updating.cancel()
        await asyncio.gather(updating, return_exceptions=True)
    async with gateway.on() as lab:
        await healthy(lab)
        return before, await release(lab)
