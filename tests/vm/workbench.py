"""A guest on the bench: its image is built, its disk flashed and provisioned, its agent and wires are there."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hardware.board import BoardProfile
from hardware.image.build import Workshop, build
from hardware.image.cli import TREE
from tests.vm import laboratory, wires
from tests.vm.guest import Guest, Machine, put_on_boot
from tests.vm.laboratory import Lab

EPOCH_S = 1_700_000_000
SLOW_S = 600.0
"""For what takes seconds on a board, and minutes in an emulator on a machine with other work."""


def image_of(board: BoardProfile, out: Path) -> Path:
    """The image of a board; packages come from the cache."""
    return build(board, "1.0.0", Workshop(TREE, TREE / ".cache/images", out, EPOCH_S), lambda *_: None).image


@dataclass(frozen=True, slots=True)
class Bench:
    """A running guest and what it is worked at with."""

    guest: Guest
    lab: Lab
    machinery: wires.Machinery
    folder: Path

    async def leaf(
        self, twin: str, name: str, so: Callable[[dict[str, Any]], bool], timeout_s: float = SLOW_S
    ) -> float:
        """Wait until the reported leaf of a twin is as wanted; returns how long it took, in seconds."""
        began_s = time.monotonic()

        def seen(done: laboratory.Done) -> bool:
            twins = done.json()["twins"] if done.rc == 0 and done.out else []
            return bool(twins) and so(twins[0].get("reported", {}).get(name, {}))

        await self.lab.until("edgetwin", "get", twin, "--json", so=seen, timeout_s=timeout_s)
        return time.monotonic() - began_s

    async def reads(self, twin: str, **wanted: object) -> float:
        """Wait until properties have these values and are good."""
        took_s = 0.0
        for name, value in wanted.items():
            took_s += await self.leaf(twin, name, lambda leaf, value=value: leaf.get("value") == value and good(leaf))
        return took_s

    async def sets(self, twin: str, **wanted: object) -> None:
        """Set desired values; the device must follow."""
        words = [f"{name}={json.dumps(value)}" for name, value in wanted.items()]
        await self.lab.run("edgetwin", "set", twin, *words, "--wait", "120", timeout_s=SLOW_S)

    async def doctor(self, board: str) -> tuple[dict[str, str], dict[str, Any]]:
        """What the doctor finds: levels by code; and what it says the machine has."""
        done = await self.lab.run(
            "edgetwin", "hardware", "doctor", "--json", "--board", board, timeout_s=SLOW_S, check=False
        )
        said = done.json()
        return {one["code"]: one["level"] for one in said["findings"]}, said["inventory"]

    async def doctor_lines(self) -> list[str]:
        """The lines that the doctor prints for documents, without their remarks."""
        done = await self.lab.run("edgetwin", "hardware", "doctor", timeout_s=SLOW_S, check=False)
        return [
            line.partition("  #")[0].strip()
            for line in done.out.splitlines()
            if ": /dev/" in line or "adapter:" in line
        ]


def good(leaf: dict[str, Any]) -> bool:
    """Whether a leaf has a value that may be believed; that it is good is not said."""
    return "value" in leaf and leaf.get("quality", "good") == "good"


@contextlib.asynccontextmanager
async def bench(
    board: BoardProfile,
    image: Path,
    folder: Path,
    machine: Machine,
    documents: str,
    *,
    more: Sequence[str] = (),
    pins: bool = False,
    programs: Sequence[Path] = (),
    network: Sequence[dict[str, Any]] = (),
) -> AsyncIterator[Bench]:
    """Flash, provision, boot; the hub runs when this is entered. The guest ends with it."""
    disk = folder / "disk.img"
    await asyncio.to_thread(subprocess.run, ["cp", "--sparse=always", image, disk], check=True, timeout=300)
    os.truncate(disk, disk.stat().st_size + 512 * 2**20)
    await asyncio.to_thread(laboratory.plant, disk, board, folder)
    await asyncio.to_thread(laboratory.lab_disk, folder / "lab.img", folder, programs)
    provisioning = folder / "provisioning.yaml"
    said = {"version": 1, "gateway": {"name": "bench"}, "network": network, "devices": documents}
    provisioning.write_text(json.dumps(said))
    await asyncio.to_thread(put_on_boot, disk, provisioning, "edgetwin-provision.yaml")
    words = (
        *laboratory.words_for(folder / "lab.img", folder / "line.sock"),
        *wires.words_for(folder, pins=pins),
        *more,
    )
    guest = Guest(disk, folder, machine=machine, more=words)
    guest.start()
    try:
        async with Lab(folder / "line.sock") as lab, wires.Machinery(folder / wires.QMP) as machinery:
            async with asyncio.timeout(SLOW_S):
                await lab.up.wait()
            made = Bench(guest, lab, machinery, folder)
            await hub_is_up(made)
            yield made
    except BaseException:
        print(guest.said()[-3000:])  # noqa: T201 - why it did not come up
        raise
    finally:
        guest.cut()


async def hub_is_up(made: Bench) -> None:
    """Wait until the hub answers."""
    await made.lab.until("edgetwin", "status", "--json", so=lambda done: done.rc == 0, timeout_s=SLOW_S)
