"""Tier 3, opt-in (make test-vm-io): an arm64 guest whose GPIO chip drives the mapper, and is driven by it."""

from __future__ import annotations

import asyncio
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from hardware.boards import board
from tests.vm import foreign, wires
from tests.vm.guest import ARM64
from tests.vm.record import proved, seconds
from tests.vm.workbench import bench, image_of

BOARD = board("qemu-arm64")
CHIP = BOARD.gpio[0].chip
pytestmark = [
    pytest.mark.vm_io,
    pytest.mark.timeout(7200),
    pytest.mark.skipif(os.geteuid() != 0, reason="an image is built by root"),
    pytest.mark.skipif(bool(ARM64.missing()), reason=ARM64.missing()),
    pytest.mark.skipif(bool(foreign.missing()), reason=foreign.missing()),
]
DOCUMENTS = """
apiVersion: edgetwin.dev/v1
kind: DeviceModel
metadata: {name: cabinet}
spec:
  properties:
    - {name: door, type: BOOLEAN}
    - {name: mains, type: BOOLEAN}
    - {name: presses, type: INT}
    - {name: lamp, type: BOOLEAN, accessMode: ReadWrite}
---
apiVersion: edgetwin.dev/v1
kind: Connection
metadata: {name: chip}
spec: {mapper: serialgpio, config: {backend: gpiochip, chip: /dev/gpiochip0}}
---
apiVersion: edgetwin.dev/v1
kind: Device
metadata: {name: cabinet}
spec:
  deviceModelRef: {name: cabinet}
  connection: chip
  properties:
    - {name: door, collectCycle: 1s, visitors: {configData: {line: 0}}}
    - {name: mains, collectCycle: 1s, visitors: {configData: {line: 2, activeLow: true}}}
    - {name: presses, collectCycle: 1s, visitors: {configData: {line: 3, edge: rising}}}
    - {name: lamp, collectCycle: 1s, visitors: {configData: {line: 1, direction: output}}}
"""


@pytest.fixture(scope="module")
def image(tmp_path_factory) -> Iterator[Path]:
    with foreign.arm64():
        began_s = time.monotonic()
        made = image_of(BOARD, tmp_path_factory.mktemp("image"))
        proved(BOARD.name, "the image is built, packages from the cache", seconds(began_s))
        yield made


def test_equal_inputs_give_equal_bytes_of_another_architecture_too(image: Path, tmp_path: Path) -> None:
    again = image_of(BOARD, tmp_path)
    subprocess.run(["cmp", image, again], check=True, timeout=300)
    proved(BOARD.name, "two builds of the image are equal in every byte")


async def test_lines_of_a_gpio_chip_drive_the_twin_and_are_driven_by_it(image: Path, tmp_path: Path) -> None:
    async with bench(BOARD, image, tmp_path, ARM64, DOCUMENTS, pins=True) as made:
        proved(BOARD.name, "power on to the hub's first answer", seconds(made.guest.began_s))
        devices = await made.machinery.ask("qom-list", path="/machine/unattached")
        (chip,) = (f"/machine/unattached/{one['name']}" for one in devices if one["type"] == "child<pl061>")
        async with wires.Pins(tmp_path / wires.QTEST, chip) as pins:
            await pins.watch_outputs()
            await made.reads("cabinet", door=False, mains=True, presses=0)

            began_s = time.monotonic()
            await pins.drive(0, True)
            await made.reads("cabinet", door=True)
            proved(BOARD.name, "an input of the chip that is driven is in the twin", seconds(began_s))
            await pins.drive(2, True)
            await made.reads("cabinet", mains=False)

            await made.machinery.ask("system_powerdown")  # the machine's button: a pulse of 0.1 s on line 3
            await made.reads("cabinet", presses=1)
            for _ in range(20):
                await pins.drive(3, True)
                await asyncio.sleep(0.02)  # a pin has a width of its pulses, not a condition to wait for
                await pins.drive(3, False)
                await asyncio.sleep(0.02)
            await made.reads("cabinet", presses=21)
            proved(BOARD.name, "a press of the machine's button and 20 pulses of 20 ms are counted", "21 of 21")

            for level in (True, False):
                began_s = time.monotonic()
                await made.sets("cabinet", lamp=level)
                await pins.driven(1, level, 60)
                await made.reads("cabinet", lamp=level)
                took = seconds(began_s)
            proved(BOARD.name, "a desired value switches an output, is seen at the pin, and is read back", took)

        levels, inventory = await made.doctor(BOARD.name)
        assert "error" not in levels.values(), levels
        assert {"device": "/dev/gpiochip0", "label": CHIP, "lines": 8} in inventory["gpio"]
        assert "chip: /dev/gpiochip0" in await made.doctor_lines()  # the line that stands in the documents above
        proved(BOARD.name, "the doctor has the chip, its label and its lines, and no error")
