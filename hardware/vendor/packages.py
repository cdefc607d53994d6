"""Debian's packages that a vendor's image lacks, fetched for its architecture; nothing is unpacked or run here."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from hardware.errors import BuildFailed
from hardware.image.tools import Tools
from hardware.image.wheels import PYTHON

_FETCHED: Final = "fetched"


def installed(status: str) -> dict[str, str]:
    """Versions of the packages that dpkg's status file calls installed, by name. Pure."""
    found = {}
    for block in status.split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.splitlines() if ": " in line and not line.startswith(" "))
        if fields.get("Status", "").endswith(" installed") and "Package" in fields:
            found[fields["Package"]] = fields.get("Version", "")
    return found


def check_python(packages: dict[str, str]) -> None:
    """Raise BuildFailed unless the image has the Python that the wheels are of."""
    there = packages.get("python3-minimal") or packages.get("python3") or "none"
    if not there.startswith(f"{PYTHON}."):
        message = f"the image has Python {there}, our libraries are of {PYTHON}"
        raise BuildFailed(message, remedy="Take the vendor's image that is made of Debian 12 (bookworm).")


def fetch_missing(
    tools: Tools, status: str, arch: str, wanted: Iterable[str], sources: Iterable[Path], cache: Path
) -> list[Path]:
    """The packages, with all they need, that an image with this status file lacks; [] if nothing. Raises BuildFailed.

    What was fetched for the same image before is taken again.
    """
    lacking = sorted(set(wanted) - set(installed(status)))
    if not lacking:
        return []
    key = hashlib.sha256(json.dumps([status, arch, lacking]).encode("utf-8", "surrogateescape")).hexdigest()[:16]
    place = cache / f"debs-{arch}-{key}"
    debs = place / "cache/archives"
    if not (place / _FETCHED).exists():
        shutil.rmtree(place, ignore_errors=True)
        for folder in ("lists/partial", "cache/archives/partial", "parts"):
            (place / folder).mkdir(parents=True)
        for one in sources:
            shutil.copy(one, place / "parts")
        (place / "status").write_text(status, encoding="utf-8", errors="surrogateescape")
        words = _words(place, arch)
        tools.run("apt-get", *words, "update")
        get = ("--download-only", "--no-install-recommends", "--yes", "install")
        tools.run("apt-get", *words, *get, *(f"{name}:{arch}" for name in lacking))
        (place / _FETCHED).touch()
    return sorted(debs.glob("*.deb"))


def _words(place: Path, arch: str) -> list[str]:
    """Have apt work in a folder, without this machine's own state and without root."""
    options = {
        "APT::Architecture": arch,
        "APT::Architectures": arch,
        "Dir::State": place,
        "Dir::State::status": place / "status",
        "Dir::State::lists": place / "lists",
        "Dir::Cache": place / "cache",
        "Dir::Cache::archives": place / "cache/archives",
        "Dir::Etc::sourcelist": "/dev/null",
        "Dir::Etc::sourceparts": place / "parts",
        "Dir::Etc::main": "/dev/null",
        "Dir::Etc::parts": "/dev/null",
        "Debug::NoLocking": "1",
        "Acquire::Languages": "none",
        "APT::Sandbox::User": "root",
    }
    return [word for key, value in options.items() for word in ("-o", f"{key}={value}")]
