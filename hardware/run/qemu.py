"""Boots an image in qemu, with KVM where it works, and stops it whatever happens."""

from __future__ import annotations

import asyncio
import os
import platform
import shutil
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from hardware.board import BoardProfile
from hardware.errors import BootFailed

KVM_S: Final = 10.0
"""KVM's node may open and its guests never speak; firmware says something in a second."""
_POLL_S: Final = 0.1
_STOP_S: Final = 10.0
_LAST_LINES: Final = 5
GUEST_SEES_HOST: Final = "10.0.2.2"
"""How the guest reaches what listens on this machine's loopback."""


@dataclass(frozen=True, slots=True)
class Machine:
    """What qemu emulates: its program, its words, its firmware and where that keeps its variables."""

    program: str
    words: tuple[str, ...]
    code: Path
    variables: Path
    package: str


MACHINES: Final = {
    "amd64": Machine(
        "qemu-system-x86_64",
        ("-M", "q35"),
        Path("/usr/share/OVMF/OVMF_CODE_4M.fd"),
        Path("/usr/share/OVMF/OVMF_VARS_4M.fd"),
        "qemu-system-x86 ovmf",
    ),
    "arm64": Machine(
        "qemu-system-aarch64",
        ("-M", "virt,acpi=off"),  # without ACPI the kernel sees its GPIO chip
        Path("/usr/share/AAVMF/AAVMF_CODE.fd"),
        Path("/usr/share/AAVMF/AAVMF_VARS.fd"),
        "qemu-system-arm qemu-efi-aarch64",
    ),
}
_HOSTS: Final = {"x86_64": "amd64", "aarch64": "arm64"}
_CPUS: Final = {"amd64": "qemu64", "arm64": "cortex-a57"}


@dataclass(frozen=True, slots=True)
class Guest:
    """A virtual machine that runs. ``console`` is a file with all that it says."""

    process: asyncio.subprocess.Process
    console: Path
    accelerated: bool

    async def ended(self) -> None:
        """Return when the machine has ended by itself."""
        await self.process.wait()

    def last_words(self) -> str:
        """The end of what it said."""
        return " / ".join(_said(self.console).decode("utf-8", "replace").split("\n")[-_LAST_LINES:])


def machine_of(board: BoardProfile) -> Machine:
    """What a board is in qemu. Raises BootFailed if it is none that qemu can be, or qemu is not here."""
    machine = MACHINES.get(board.arch)
    if board.storage.kind != "virtual" or machine is None:
        message = f"{board.name} is no board that qemu can be"
        raise BootFailed(message, remedy="Add --to and the disk for it.")
    if shutil.which(machine.program) is None or not machine.code.exists():
        message = f"{machine.program} or its firmware {machine.code} is not here"
        raise BootFailed(message, remedy=f"As root: apt-get install {machine.package}")
    return machine


@asynccontextmanager
async def booted(
    board: BoardProfile, disk: Path, folder: Path, told: Callable[[str], None], kvm: Path = Path("/dev/kvm")
) -> AsyncIterator[Guest]:
    """Boot a disk; at the end of the block the machine is stopped. Raises BootFailed."""
    machine = machine_of(board)
    console, variables = folder / f"{board.name}.console.log", folder / f"{board.name}.vars.fd"
    shutil.copyfile(machine.variables, variables)
    if _HOSTS.get(platform.machine()) == board.arch and os.access(kvm, os.R_OK | os.W_OK):
        guest = await _started(machine, _words(machine, disk, variables, "kvm", "host"), console, accelerated=True)
        try:
            if await _speaks(guest):
                yield guest
                return
        finally:
            await _stopped(guest.process)
        told(f"KVM's guest said nothing in {KVM_S:.0f} s; without it, then, which is slower")
    words = _words(machine, disk, variables, "tcg,thread=multi", _CPUS[board.arch])
    guest = await _started(machine, words, console, accelerated=False)
    try:
        yield guest
    finally:
        await _stopped(guest.process)


def _words(machine: Machine, disk: Path, variables: Path, accelerator: str, cpu: str) -> list[str]:
    return [
        *("-accel", accelerator, *machine.words, "-cpu", cpu, "-m", "1024", "-smp", "2"),
        *("-drive", f"if=pflash,format=raw,readonly=on,file={machine.code}"),
        *("-drive", f"if=pflash,format=raw,file={variables}"),
        *("-drive", f"file={disk},format=raw,if=virtio"),
        *("-netdev", "user,id=n", "-device", "virtio-net-pci,netdev=n"),
        *("-display", "none", "-monitor", "none"),
    ]


async def _started(machine: Machine, words: list[str], console: Path, *, accelerated: bool) -> Guest:
    try:
        with _emptied(console).open("wb") as complaints:
            process = await asyncio.create_subprocess_exec(
                machine.program,
                *words,
                *("-serial", f"file:{console}"),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.DEVNULL,
                stderr=complaints,
                start_new_session=True,  # Ctrl-C is ours: the machine is stopped when we say so
            )
    except OSError as error:
        message = f"{machine.program} cannot be started: {error.strerror or error}"
        raise BootFailed(message, remedy=f"As root: apt-get install {machine.package}") from None
    return Guest(process, console, accelerated)


def _emptied(console: Path) -> Path:
    """Where qemu itself complains, beside an empty console."""
    console.write_bytes(b"")
    return console.with_suffix(".qemu")


async def _speaks(guest: Guest) -> bool:
    with suppress(TimeoutError):
        async with asyncio.timeout(KVM_S):
            while guest.process.returncode is None:
                if _said(guest.console):
                    return True
                await asyncio.sleep(_POLL_S)
    return False


def _said(console: Path) -> bytes:
    try:
        return console.read_bytes()
    except OSError:
        return b""


async def _stopped(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        try:
            async with asyncio.timeout(_STOP_S):
                await process.wait()
        except TimeoutError:
            os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
