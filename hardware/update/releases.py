"""Releases of the program alone, for systems whose image is not ours: folders, and links that say which is which.

    releases/1.1.0/bin/edgetwin    an environment of Python of its own
    current  -> releases/1.1.0     what the hub's service starts
    proven   -> releases/1.0.0     what was confirmed last; the updater itself runs from here
    previous -> ...                what was confirmed before that

While `current` and `proven` differ a trial is under way. A link is replaced in one step, so that at any moment
there is a release to start.
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from hardware.errors import BundleRefused, UpdateFailed
from hardware.update import wheel
from hardware.update.backend import Standing, Told
from hardware.update.bundle import Bundle, Trust, open_bundle
from hardware.update.manifest import APPLICATION, BundleManifest, Here, check_fits
from twin.private_file import sync_folder

BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")
SPARE_BYTES: Final = 32 * 2**20
"""Stays free beside what a release takes."""
TEST_S: Final = 60
COMMAND_S: Final = 120
COMPILE_S: Final = 900
_ARCH: Final = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "armhf"}
_STAMP: Final = "bundle.sha256"
_LAUNCHER: Final = """#!{python} -sP
from edgehub.cli import main

main()
"""


@dataclass(frozen=True, slots=True)
class Place:
    """Where releases lie, and how the hub is started. ``program``: the command of an installation without releases."""

    root: Path
    restart: Sequence[str]
    program: Path
    version: str
    """Of that installation, which is what this process runs from."""
    compiled: bool = True
    """Whether a release gets its bytecode when it is laid out: the hub's user may not write it later."""


class Releases:
    """The back end; see ``backend.Backend``."""

    name = "releases"

    def __init__(self, place: Place, trust: Callable[[], Trust]) -> None:
        self._place = place
        self._trust = trust
        self._folder = place.root / "releases"

    def check(self, bundle: Path, older: str = "") -> BundleManifest:
        with open_bundle(bundle, self._trust()) as opened:
            check_fits(opened.manifest, self._here(), older=older)
            for one in opened.manifest.files:
                if not wheel.fits(one.name):
                    message = f"{one.name} of the bundle is not for this machine"
                    raise BundleRefused(message, remedy="Make the bundle for this architecture and Python.")
            opened.check_files()
            return opened.manifest

    def standing(self) -> Standing:
        current, proven = self._linked("current"), self._linked("proven")
        version = current or self._place.version
        confirmed = not current or current == proven
        before = self._linked("previous") if confirmed else proven
        boot = BOOT_ID.read_text(encoding="ascii").strip()
        return Standing(version, version, confirmed, before if before != version else "", boot, confirmed, version)

    def install(self, bundle: Path, told: Told) -> None:
        try:
            with open_bundle(bundle, self._trust()) as opened:
                self._adopt()
                self._prune(opened.manifest.version)
                if self._stamp(opened.manifest.version) != _name_of(opened):
                    self._lay_out(opened, told)
        except OSError as error:
            message = f"the release cannot be laid out in {self._place.root}: {error.strerror or error}"
            raise UpdateFailed(message, remedy="Check free space and permissions.") from None

    def activate(self, version: str) -> None:
        if not (self._folder / version / "bin/edgetwin").exists():
            message = f"there is no release {version} in {self._folder}"
            raise UpdateFailed(message, remedy="Install it again.")
        self._link("current", version)

    def restart(self) -> None:
        done = _run(self._place.restart, COMMAND_S)
        if done is None or done.returncode != 0:
            said = _last_words(done) if done else f"longer than {COMMAND_S} s, or not to be run"
            message = f"the hub could not be started anew: {' '.join(self._place.restart)}: {said}"
            raise UpdateFailed(message, remedy="`updates.restart` of edgetwin.yaml says how it is started.")

    def again(self) -> None:
        self.restart()

    def confirm(self) -> None:
        current, proven = self._linked("current"), self._linked("proven")
        if current and current != proven:
            if proven:
                self._link("previous", proven)
            self._link("proven", current)
        self._prune()

    def _here(self) -> Here:
        arch = _ARCH.get(platform.machine(), platform.machine())
        python = f"{sys.version_info.major}.{sys.version_info.minor}"
        return Here(APPLICATION, arch, python, self.standing().version)

    def _adopt(self) -> None:
        """Make the program that is installed without releases the first of them: one can go back to it."""
        if current := self._linked("current"):
            if not self._linked("proven"):
                self._link("proven", current)
            return
        folder = self._folder / self._place.version / "bin"
        folder.mkdir(parents=True, exist_ok=True)
        launcher = folder / "edgetwin"
        launcher.write_text(f'#!/bin/sh\nexec "{self._place.program}" "$@"\n', encoding="utf-8")
        launcher.chmod(0o755)
        self._link("proven", self._place.version)
        self._link("current", self._place.version)

    def _lay_out(self, opened: Bundle, told: Told) -> None:
        manifest = opened.manifest
        self._check_room(manifest)
        making = self._folder / f".{manifest.version}.making"
        shutil.rmtree(making, ignore_errors=True)
        try:
            self._fill(making, opened, told)
            final = self._folder / manifest.version
            if manifest.version in (self._linked("current"), self._linked("proven")):
                message = f"{manifest.version} runs, and is not replaced by another of that name"
                raise UpdateFailed(message, remedy="Give the release a version of its own.")
            shutil.rmtree(final, ignore_errors=True)
            making.rename(final)
            sync_folder(self._folder)
        finally:
            shutil.rmtree(making, ignore_errors=True)

    def _fill(self, making: Path, opened: Bundle, told: Told) -> None:
        """An environment with all wheels, on disk when this returns, that has been started once."""
        _must([sys.executable, "-m", "venv", "--without-pip", str(making)], "the environment cannot be made", COMMAND_S)
        python = making / "bin/python"
        (site,) = making.glob("lib/python3*/site-packages")
        done, room = 0, opened.manifest.unpacked_bytes
        for one, content in opened.files():
            unpacking = making / "unpacking.whl"
            with unpacking.open("wb") as file:
                for piece in content:
                    file.write(piece)
            with unpacking.open("rb") as file:
                room -= wheel.lay_out(file, one.name, site, room)
            unpacking.unlink()
            done += one.size
            told(done, opened.manifest.files_bytes)
        launcher = making / "bin/edgetwin"
        final = self._folder / opened.manifest.version
        launcher.write_text(_LAUNCHER.format(python=final / "bin/python"), encoding="utf-8")
        launcher.chmod(0o755)
        if self._place.compiled:
            words = [str(python), "-m", "compileall", "-q", "-j0", str(site)]
            _run(words, COMPILE_S)  # a file that cannot be compiled is not one that is imported
        said = _must([str(python), "-sP", str(launcher), "--version"], "the release does not start", TEST_S)
        if opened.manifest.version not in said.split():
            message = f"the release says that it is {said.strip()!r}, its bundle {opened.manifest.version}"
            raise UpdateFailed(message, remedy="Make the bundle anew, with `edgetwin hardware bundle create`.")
        (making / _STAMP).write_text(_name_of(opened), encoding="ascii")
        os.sync()  # all of it, once, before the name says that it is there

    def _check_room(self, manifest: BundleManifest) -> None:
        free = shutil.disk_usage(self._folder).free
        wanted = 2 * manifest.unpacked_bytes + SPARE_BYTES  # with the bytecode
        if free < wanted:
            message = f"{self._folder} has {free >> 20} MiB free, the release needs {wanted >> 20} MiB"
            raise UpdateFailed(message, remedy="Make room.")

    def _stamp(self, version: str) -> str:
        """Which bundle a release was laid out from; empty: there is none, or it was not finished."""
        try:
            return (self._folder / version / _STAMP).read_text(encoding="ascii")
        except OSError:
            return ""

    def _linked(self, name: str) -> str:
        """The release that a link names; empty: none that is there."""
        try:
            target = (self._place.root / name).readlink()
        except OSError:
            return ""
        return target.name if (self._folder / target.name).is_dir() else ""

    def _link(self, name: str, version: str) -> None:
        path = self._place.root / name
        making = self._place.root / f".{name}.making"
        try:
            making.unlink(missing_ok=True)
            making.symlink_to(Path("releases", version))
            making.replace(path)
            sync_folder(self._place.root)
        except OSError as error:
            message = f"{path} cannot be set: {error.strerror}"
            raise UpdateFailed(message, remedy="Check free space, permissions and the disk's health.") from None

    def _prune(self, but: str = "") -> None:
        """Remove releases that no link names."""
        kept = {but, *(self._linked(name) for name in ("current", "proven", "previous"))}
        if self._folder.is_dir() and kept - {"", but}:
            for folder in self._folder.iterdir():
                if folder.name not in kept:
                    shutil.rmtree(folder, ignore_errors=True)


def _name_of(opened: Bundle) -> str:
    """Names the content of a bundle."""
    return "\n".join(f"{one.sha256} {one.name}" for one in opened.manifest.files)


def _must(words: Sequence[str], what: str, limit_s: float) -> str:
    done = _run(words, limit_s)
    if done is None or done.returncode != 0:
        message = f"{what}: {_last_words(done) if done else f'no end in {limit_s} s'}"
        raise UpdateFailed(message, remedy="Make the bundle anew, or look at what it says.")
    return done.stdout


def _run(words: Sequence[str], limit_s: float) -> subprocess.CompletedProcess[str] | None:
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "VIRTUAL_ENV"))}
    try:
        return subprocess.run(
            words, capture_output=True, text=True, errors="replace", timeout=limit_s, check=False, env=environment
        )
    except (OSError, subprocess.TimeoutExpired):
        return None


def _last_words(done: subprocess.CompletedProcess[str]) -> str:
    lines = [line for line in (done.stderr or done.stdout).splitlines() if any(c.isalnum() for c in line)]
    return lines[-1].strip()[:300] if lines else f"exit code {done.returncode}"
