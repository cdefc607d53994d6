"""Figures of whole gateways in a virtual machine without KVM: minutes, as root, with all that make test-vm needs."""

from __future__ import annotations

import asyncio
import random
import time
from pathlib import Path

from hardware.boards import board
from hardware.image.build import Built, Workshop, build
from hardware.image.cli import TREE
from tests.bench.figure import Figure, Scale
from tests.vm.releases import HUB, bundle_of, disk_of, signer
from tests.vm.test_power_on import powered_on
from tests.vm.updates import BOARD, EPOCH_S, Gateway, Site, cut_once, healthy, is_tried, release, tried

CUTS = 10


async def power_on(scale: Scale) -> list[Figure]:
    """From power on, with a provisioning file on the boot partition, to the device in the cloud's twin."""
    if not scale.long:
        return []
    image = (await asyncio.to_thread(_image, scale.folder, "")).image
    took_s = await powered_on(image, scale.folder / "disk.img", scale.folder)
    says = "power on to the device in the cloud's twin, TCG"
    return [Figure("hardware.power_on", took_s, "s", says, reach=90, at_most=True)]


async def power_cut(scale: Scale) -> list[Figure]:
    """Power cuts at random moments of an update, after which a system boots and its hub answers."""
    if not scale.long:
        return []
    site = await asyncio.to_thread(_site, scale.folder)
    moment, well = random.Random(), 0
    for number in range(CUTS):
        folder = scale.folder / f"cut-{number}"
        folder.mkdir()
        _, after = await cut_once(Gateway(site, folder), moment)
        well += after in ("1.0.0", "2.0.0")
        (folder / "disk.img").unlink()
    return [Figure("hardware.power_cut", well, "", f"of {CUTS} power cuts in an update, still boots", reach=CUTS)]


async def rollback(scale: Scale) -> list[Figure]:
    """From the start into a broken release, over its three tries, to the old one that says so in its twin."""
    if not scale.long:
        return []
    site = await asyncio.to_thread(_site, scale.folder)
    gateway = Gateway(site, scale.folder)
    async with gateway.on() as lab:
        await healthy(lab)
        await lab.run("sh", "-c", "echo 'updates: {trial: 60s}' >/etc/edgetwin/edgetwin.yaml")
        given_s = time.monotonic()
        trying = asyncio.create_task(is_tried(lab))
        said = await tried(gateway, lab, "broken", "rolled_back")
        ended_s = time.monotonic()
        assert said["version"] == await release(lab) == "1.0.0"
        async with asyncio.timeout(1):  # it was seen long ago
            began_s = await trying
    whole = "a broken release given to the updater: laid out, tried three times, left, to the old one's twin, TCG"
    says = "the same from the restart into the broken release on"
    return [
        Figure("hardware.rollback.whole", ended_s - given_s, "s", whole, reach=180, at_most=True),
        Figure("hardware.rollback", ended_s - began_s, "s", says, reach=60, at_most=True),
    ]


def _site(folder: Path) -> Site:
    who = signer(folder)
    image = _image(folder, who.certificate.read_text()).image
    good = bundle_of(image, "2.0.0", who, folder / "good.raucb")
    broken = bundle_of(image, "3.0.0", who, folder / "broken.raucb", broken=HUB)
    return Site(image, disk_of([good, broken], folder / "bundles.img"), folder)


def _image(folder: Path, keyring: str) -> Built:
    shop = Workshop(TREE, TREE / ".cache/images", folder, EPOCH_S)
    return build(board(BOARD), "1.0.0", shop, lambda *_: None, keyring)
