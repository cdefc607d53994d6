"""The back end of images with RAUC itself, on a bus of its own and slots that are files; only a boot is played.

Installing needs device-mapper, which the machine of a test may lack: the virtual machines of tests/vm have it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from hardware import grubenv
from hardware.update.rauc import Machine, Rauc

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0 or not all(map(shutil.which, ("rauc", "dbus-daemon"))), reason="needs root, rauc and dbus-daemon"
)
CONF = """[system]
compatible=qemu-x86-64
bootloader=grub
grubenv={folder}/grubenv
mountprefix={folder}/mnt
statusfile={folder}/status
bundle-formats=verity
activate-installed=false

[keyring]
path={folder}/ca.pem

[slot.rootfs.0]
device={folder}/a.img
type=raw
bootname=A

[slot.rootfs.1]
device={folder}/b.img
type=raw
bootname=B
"""


class Board:
    """RAUC's service as it runs after a boot from a slot."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._running: list[subprocess.Popen[bytes]] = []
        (folder / "bin").mkdir()
        (folder / "bin/grub-editenv").write_text(grubenv.TOOL)
        (folder / "bin/grub-editenv").chmod(0o755)
        (folder / "grubenv").write_bytes(grubenv.rendered(grubenv.NEW))
        (folder / "system.conf").write_text(CONF.format(folder=folder))
        for name in ("a.img", "b.img", "ca.pem"):
            (folder / name).write_bytes(bytes(4096))
        (folder / "boot_id").write_text("1\n")
        self.environment = {
            **os.environ,
            "PATH": f"{folder}/bin:{os.environ['PATH']}",
            "DBUS_SYSTEM_BUS_ADDRESS": f"unix:path={folder}/bus",
        }

    def boot(self, slot: str, release: str) -> None:
        """Start from a slot, as GRUB does: a slot that is not sure loses a try."""
        self.stop()
        variables = grubenv.parsed((self.folder / "grubenv").read_bytes())
        if variables["SURE"] != slot:
            variables[f"{slot}_TRY"] = str(int(variables[f"{slot}_TRY"]) + 1)
        (self.folder / "grubenv").write_bytes(grubenv.rendered(variables))
        (self.folder / "release").write_text(f"BOARD=qemu-x86-64\nRELEASE={release}\n")
        self._start("dbus-daemon", "--session", "--nofork", f"--address=unix:path={self.folder}/bus")
        self._wait(lambda: (self.folder / "bus").exists())
        self._start("rauc", f"--conf={self.folder}/system.conf", "service", f"--override-boot-slot={slot}")
        self._wait(lambda: self._rauc("status").returncode == 0)

    def variables(self) -> dict[str, str]:
        return grubenv.parsed((self.folder / "grubenv").read_bytes())

    def backend(self) -> Rauc:
        words = (sys.executable, "-c", RUN, str(self.folder), "rauc", f"--conf={self.folder}/system.conf")
        return Rauc(Machine(words, ("/bin/true",), self.folder / "release", self.folder / "boot_id"))

    def stop(self) -> None:
        for one in reversed(self._running):
            one.terminate()
            one.wait(20)
        self._running.clear()
        (self.folder / "bus").unlink(missing_ok=True)

    def _rauc(self, *words: str) -> subprocess.CompletedProcess[bytes]:
        whole = ["rauc", f"--conf={self.folder}/system.conf", *words]
        return subprocess.run(whole, env=self.environment, capture_output=True, timeout=20, check=False)

    def _start(self, *words: str) -> None:
        with (self.folder / "log").open("ab") as log:
            self._running.append(subprocess.Popen(words, env=self.environment, stdout=log, stderr=log))

    def _wait(self, what) -> None:
        until = time.monotonic() + 30
        while not what():
            assert time.monotonic() < until, (self.folder / "log").read_text(errors="replace")
            time.sleep(0.05)


RUN = """import os, sys
folder = sys.argv[1]
os.environ["PATH"] = folder + "/bin:" + os.environ["PATH"]
os.environ["DBUS_SYSTEM_BUS_ADDRESS"] = "unix:path=" + folder + "/bus"
os.execvp(sys.argv[2], sys.argv[2:])
"""


@pytest.fixture
def board(tmp_path):
    board = Board(tmp_path)
    yield board
    board.stop()


def test_slots_are_activated_tried_confirmed_and_gone_back_to_by_rauc_itself(board):
    board.boot("A", "1.0.0")
    backend = board.backend()
    assert (backend.standing().version, backend.standing().slot, backend.standing().confirmed) == ("1.0.0", "A", False)
    backend.confirm()
    standing = backend.standing()
    assert (standing.confirmed, standing.before) == (True, "")
    assert board.variables()["SURE"] == "A"
    backend.activate("1.1.0")
    assert board.variables()["ORDER"] == "B A"
    board.boot("B", "1.1.0")
    standing = backend.standing()
    assert (standing.version, standing.slot, standing.confirmed) == ("1.1.0", "B", False)
    assert (standing.before, board.variables()["SURE"]) == ("slot A", "A")
    backend.activate("1.0.0")
    board.boot("A", "1.0.0")
    backend.confirm()
    assert (backend.standing().confirmed, board.variables()["ORDER"]) == (True, "A B")
    backend.activate("1.1.0")
    board.boot("B", "1.1.0")
    backend.confirm()
    assert (backend.standing().confirmed, board.variables()["SURE"], board.variables()["B_TRY"]) == (True, "B", "0")
