"""Releases as images in two slots, laid out by RAUC (1.8 or newer), tried and left by the boot loader.

RAUC's ``mark-active`` says which slot the boot loader takes first, and sets its tries to none. The boot loader counts
each start until ``mark-good``, and after the third takes the other slot: one whose start is not confirmed is "bad"
to RAUC. The image's system.conf says `activate-installed=false`: a slot is activated in a step of its own.
"""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from hardware.errors import BundleRefused, UpdateFailed
from hardware.update.backend import Standing, Told
from hardware.update.manifest import BundleManifest, Here, check_fits, read_manifest
from hardware.update.unit import UNIT

SYSTEM_CONF: Final = Path("/etc/rauc/system.conf")
RELEASE_FILE: Final = Path("/etc/edgetwin-release")
COMMAND_S: Final = 60
INSTALL_S: Final = 1800
BOOT_S: Final = 180
"""A machine that has not gone down by then will not."""


class _Bundled(BaseModel):
    model_config = ConfigDict(extra="ignore")
    version: str | None = None


class _SlotStatus(BaseModel):
    model_config = ConfigDict(extra="ignore")
    bundle: _Bundled = _Bundled()


class Slot(BaseModel):
    """One slot, of RAUC's status."""

    model_config = ConfigDict(extra="ignore")

    bootname: str | None = None
    state: str = ""
    boot_status: Literal["good", "bad"] | None = None
    slot_status: _SlotStatus = _SlotStatus()


class Status(BaseModel):
    """What `rauc status --detailed --output-format=json` says."""

    model_config = ConfigDict(extra="ignore")

    compatible: str
    booted: str
    """The boot name of the slot that runs."""
    boot_primary: str | None = None
    """The slot that the boot loader takes next."""
    slots: Annotated[list[dict[str, Slot]], Field(max_length=32)]

    def running(self) -> tuple[str, Slot]:
        """The slot that runs. Raises UpdateFailed if there is none."""
        for one in self.slots:
            for name, slot in one.items():
                if slot.bootname == self.booted:
                    return name, slot
        message = f"RAUC knows no slot {self.booted!r}, from which this machine was started"
        raise UpdateFailed(message, remedy="`rauc status` shows what it knows.")

    def other(self) -> tuple[str, Slot]:
        """The slot beside it. Raises UpdateFailed."""
        running, _ = self.running()
        for one in self.slots:
            for name, slot in one.items():
                if name != running and slot.bootname:
                    return name, slot
        message = "RAUC knows one slot only"
        raise UpdateFailed(message, remedy="`rauc status` shows what it knows.")


@dataclass(frozen=True, slots=True)
class Machine:
    """What the back end needs of the machine; commands are the first words of what is run."""

    rauc: Sequence[str] = ("rauc",)
    reboot: Sequence[str] = ("systemctl", "reboot")
    release_file: Path = RELEASE_FILE
    boot_id: Path = Path("/proc/sys/kernel/random/boot_id")
    boot_s: float = BOOT_S
    hub: Sequence[str] = ("systemctl", "restart", UNIT)


class Rauc:
    """The back end; see ``backend.Backend``."""

    name = "rauc"

    def __init__(self, machine: Machine) -> None:
        self._machine = machine

    def check(self, bundle: Path, older: str = "") -> BundleManifest:
        shown = self._json("info", "--output-format=json", str(bundle), refused=True)
        try:
            content = {"version": shown["version"], "compatible": shown["compatible"]}
        except (KeyError, TypeError):
            message = f"{bundle} has neither version nor compatible"
            raise BundleRefused(message, remedy="Make it with `edgetwin hardware bundle create`.") from None
        manifest = read_manifest(json.dumps(content).encode())
        here = Here(self._status().compatible, "", "", self._release())
        check_fits(manifest, here, older=older)
        return manifest

    def standing(self) -> Standing:
        status = self._status()
        name, slot = status.running()
        version = self._release()
        proven = slot.boot_status == "good"
        try:
            _, other = status.other()
        except UpdateFailed:
            other = Slot()
        before = other.slot_status.bundle.version or (f"slot {other.bootname}" if other.boot_status == "good" else "")
        boot = self._machine.boot_id.read_text(encoding="ascii").strip()
        confirmed = proven and status.boot_primary == name
        return Standing(version, slot.bootname or name, confirmed, before, boot, proven)

    def install(self, bundle: Path, told: Told) -> None:
        told(0, 1)
        self._run("install", str(bundle), limit_s=INSTALL_S)
        told(1, 1)

    def activate(self, version: str) -> None:
        which = "booted" if version == self._release() else "other"
        self._run("status", "mark-active", which)

    def restart(self) -> None:
        try:
            done = subprocess.run(self._machine.reboot, capture_output=True, text=True, timeout=COMMAND_S, check=False)
            why = done.stderr.strip() if done.returncode else "it does not go down"
        except (OSError, subprocess.TimeoutExpired) as error:
            why = str(error)
        else:
            if not done.returncode:
                time.sleep(self._machine.boot_s)
        message = f"the machine could not be started anew: {why}"
        raise UpdateFailed(message, remedy="Start it anew yourself.")

    def again(self) -> None:
        try:
            done = subprocess.run(self._machine.hub, capture_output=True, text=True, timeout=COMMAND_S, check=False)
            why = done.stderr.strip()[:300] if done.returncode else ""
        except (OSError, subprocess.TimeoutExpired) as error:
            why = str(error)
        if why:
            message = f"the hub could not be started anew: {why}"
            raise UpdateFailed(message, remedy=f"`systemctl status {self._machine.hub[-1]}` shows why.")

    def confirm(self) -> None:
        self._run("status", "mark-active", "booted")
        self._run("status", "mark-good", "booted")

    def _release(self) -> str:
        """The release that runs, by the image itself: it is right even where RAUC has installed nothing yet."""
        try:
            lines = self._machine.release_file.read_text(encoding="utf-8").splitlines()
        except OSError as error:
            message = f"{self._machine.release_file} cannot be read: {error.strerror}"
            raise UpdateFailed(message, remedy="Is this an image of edgetwin's?") from None
        return next((line.partition("=")[2] for line in lines if line.startswith("RELEASE=")), "")

    def _status(self) -> Status:
        try:
            return Status.model_validate(self._json("status", "--detailed", "--output-format=json"))
        except ValidationError as error:
            message = f"RAUC's status cannot be read: {error.errors()[0]['loc']}: {error.errors()[0]['msg']}"
            raise UpdateFailed(message, remedy="RAUC must be 1.8 or newer.") from None

    def _json(self, *words: str, refused: bool = False) -> Any:
        said = self._run(*words, refused=refused)
        try:
            return json.loads(said)
        except ValueError:
            message = f"rauc {words[0]} answers in no JSON: {said[:100]!r}"
            raise UpdateFailed(message, remedy="RAUC must be 1.8 or newer.") from None

    def _run(self, *words: str, limit_s: float = COMMAND_S, refused: bool = False) -> str:
        return _ran([*self._machine.rauc, *words], limit_s, refused=refused)


def _ran(words: Sequence[str], limit_s: float, *, refused: bool = False) -> str:
    """Run RAUC. Raises UpdateFailed with its last words; BundleRefused if it is about a bundle."""
    try:
        done = subprocess.run(words, capture_output=True, text=True, errors="replace", timeout=limit_s, check=False)
    except FileNotFoundError:
        message = f"there is no {words[0]} here"
        raise UpdateFailed(message, remedy="Install it: apt-get install rauc") from None
    except (OSError, subprocess.TimeoutExpired) as error:
        message = f"rauc failed: {error}"
        raise UpdateFailed(message, remedy="`rauc status` shows how it is.") from None
    if done.returncode == 0:
        return done.stdout
    lines = [line for line in (done.stderr or done.stdout).strip().splitlines() if line]
    said = lines[-1][:300] if lines else f"exit code {done.returncode}"
    if refused:
        message = f"the bundle is not taken: {said}"
        raise BundleRefused(message, remedy="Get it again from whoever made it; its CA must be known here.")
    message = f"rauc failed: {said}"
    raise UpdateFailed(message, remedy="`rauc status` shows how it is.")
