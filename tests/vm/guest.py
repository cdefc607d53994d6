"""A virtual machine that boots a disk image, with a line to this host's loopback and to nothing else."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

FIRMWARE = Path("/usr/share/OVMF")
HOST = "10.0.2.100"
"""Under which the guest sees what listens on the host's loopback, at the ports that were asked for."""


@dataclass(frozen=True, slots=True)
class Machine:
    """What qemu emulates. TCG always: KVM's node may open and its guests never speak, so it is not asked."""

    qemu: str
    words: tuple[str, ...]
    code: Path
    variables: Path

    def missing(self) -> str:
        """Why it cannot be started here; empty: it can."""
        if shutil.which(self.qemu) is None:
            return f"needs {self.qemu}"
        return "" if self.code.exists() else f"needs {self.code}"


X86_64 = Machine("qemu-system-x86_64", ("-M", "q35"), FIRMWARE / "OVMF_CODE_4M.fd", FIRMWARE / "OVMF_VARS_4M.fd")
# Without ACPI the kernel reads the device tree, and only there has this machine its GPIO chip.
ARM64 = Machine(
    "qemu-system-aarch64",
    ("-M", "virt,acpi=off", "-cpu", "cortex-a57"),
    Path("/usr/share/AAVMF/AAVMF_CODE.fd"),
    Path("/usr/share/AAVMF/AAVMF_VARS.fd"),
)


class Guest:
    """One qemu. ``more`` are words for its command line, such as devices that a test needs.

    ``ports`` of the host are reached from the guest. ``opened``: ports of the host's loopback, with the guest's port.
    """

    def __init__(
        self,
        disk: Path,
        folder: Path,
        ports: tuple[int, ...] = (),
        memory_mib: int = 768,
        machine: Machine = X86_64,
        more: Sequence[str] = (),
        opened: Mapping[int, int] = MappingProxyType({}),
    ) -> None:
        self.console = folder / "console.log"
        self._process: subprocess.Popen[bytes] | None = None
        self.began_s = 0.0
        variables = folder / "vars.fd"
        if not variables.exists():
            shutil.copy(machine.variables, variables)
        forwards = "".join(f",guestfwd=tcp:{HOST}:{one}-cmd:socat STDIO TCP4:127.0.0.1:{one}" for one in ports)
        forwards += "".join(f",hostfwd=tcp:127.0.0.1:{here}-:{there}" for here, there in opened.items())
        self._command = [
            *(machine.qemu, "-accel", "tcg,thread=multi", *machine.words, "-m", str(memory_mib), "-smp", "2"),
            *("-drive", f"if=pflash,format=raw,readonly=on,file={machine.code}"),
            *("-drive", f"if=pflash,format=raw,file={variables}"),
            *("-drive", f"file={disk},format=raw,if=virtio,cache=writethrough"),
            *("-netdev", "user,id=n,restrict=on" + forwards, "-device", "virtio-net-pci,netdev=n"),
            *("-display", "none", "-monitor", "none", "-serial", f"file:{self.console}", *more),
        ]

    def start(self) -> None:
        self.began_s = time.monotonic()
        self._process = subprocess.Popen(self._command, stdin=subprocess.DEVNULL, start_new_session=True)

    def cut(self) -> None:
        """The power goes."""
        if self._process is not None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait(10)
            self._process = None

    def said(self) -> str:
        return self.console.read_text(errors="replace") if self.console.exists() else ""


def put_on_boot(disk: Path, file: Path, name: str) -> None:
    """Drop a file on the boot partition, as somebody with a card reader does."""
    subprocess.run(["mcopy", "-o", "-i", f"{disk}@@1M", file, f"::/{name}"], check=True, timeout=30)
