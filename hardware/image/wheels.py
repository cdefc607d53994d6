"""Our own distribution and what it needs, as wheels of the board's architecture, laid out to be run from a folder."""

from __future__ import annotations

import compileall
import hashlib
import os
import re
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Final

from hardware.errors import BuildFailed
from hardware.image.tools import Tools
from hardware.image.trim import LEXERS, LIBRARIES, spared

PYTHON: Final = "3.11"
"""Of Debian 12."""
RUNS_AT: Final = "/opt/edgetwin/lib"
LOCK: Final = "requirements/gateway.lock"
_PLATFORMS: Final = {"amd64": "x86_64", "arm64": "aarch64"}
_MANYLINUX: Final = (
    "manylinux_2_34",
    "manylinux_2_31",
    "manylinux_2_28",
    "manylinux_2_27",
    "manylinux_2_24",
    "manylinux_2_17",
    "manylinux2014",
)


def fetch(tools: Tools, tree: Path, arch: str, wheelhouse: Path) -> str:
    """Fill the wheelhouse from the lock file and our own tree; returns the hash of all wheels. Raises BuildFailed."""
    lock = tree / LOCK
    if not lock.exists():
        message = f"{lock} is not there"
        raise BuildFailed(message, remedy="Build from a checkout of edgetwin, not from an installed package.")
    wheelhouse.mkdir(parents=True, exist_ok=True)
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input")
    wanted = hashlib.sha256(lock.read_bytes() + arch.encode()).hexdigest()
    stamp = wheelhouse / "lock"
    if not stamp.exists() or stamp.read_text() != wanted:
        shutil.rmtree(wheelhouse)
        wheelhouse.mkdir()
        tools.run(*pip, "download", "--dest", wheelhouse, *_for(arch), "--no-deps", "--require-hashes", "-r", lock)
        stamp.write_text(wanted)
    own = wheelhouse / "own"
    shutil.rmtree(own, ignore_errors=True)
    tools.run(*pip, "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", own, tree)
    return hash_of(wheelhouse)


def hash_of(wheelhouse: Path) -> str:
    """Names what a wheelhouse holds."""
    digest = hashlib.sha256()
    for wheel in wheels_of(wheelhouse):
        digest.update(wheel.name.encode() + hashlib.sha256(wheel.read_bytes()).digest())
    return digest.hexdigest()


def wheels_of(wheelhouse: Path) -> list[Path]:
    """All wheels, in a fixed order."""
    return sorted(wheelhouse.rglob("*.whl"), key=lambda one: one.name)


def lay_out(tools: Tools, wheelhouse: Path, arch: str, place: Path, runs_at: str = RUNS_AT) -> None:
    """Unpack all wheels into a folder, with bytecode that does not depend on times. Needs no network.

    ``runs_at`` is where the folder will be on the gateway.
    """
    _unpack(tools, wheels_of(wheelhouse), arch, place)
    _compile(place, runs_at)


def lay_out_sparingly(tools: Tools, wheelhouse: Path, arch: str, place: Path, cache: Path) -> None:
    """The same for an image, without what no image uses. What is not our own is made once, and kept in ``cache``."""
    own = wheels_of(wheelhouse / "own")
    others = [one for one in wheels_of(wheelhouse) if one not in own]
    kept = cache / f"lib-{arch}-{_key(others)}"
    if not kept.exists():
        making = cache / f".{kept.name}.{os.getpid()}.making"
        shutil.rmtree(making, ignore_errors=True)
        _unpack(tools, others, arch, making)
        spared(making)
        _compile(making, RUNS_AT)
        making.rename(kept)
    place.parent.mkdir(parents=True, exist_ok=True)
    tools.run("cp", "-a", "--reflink=auto", kept, place)
    with tempfile.TemporaryDirectory(dir=place.parent) as folder:
        ours = Path(folder, "lib")
        _unpack(tools, own, arch, ours)
        _compile(ours, RUNS_AT)
        for one in ours.iterdir():
            one.rename(place / one.name)


def _key(wheels: list[Path]) -> str:
    """Names what is laid out of these wheels."""
    told = hashlib.sha256(repr((LIBRARIES, sorted(LEXERS), sys.version_info[:3], RUNS_AT)).encode())
    for wheel in wheels:
        told.update(wheel.name.encode() + hashlib.sha256(wheel.read_bytes()).digest())
    return told.hexdigest()[:16]


def _unpack(tools: Tools, wheels: list[Path], arch: str, place: Path) -> None:
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input")
    tools.run(*pip, "install", "--no-index", "--no-deps", "--no-compile", "--target", place, *_for(arch), *wheels)
    shutil.rmtree(place / "bin", ignore_errors=True)
    for record in place.glob("*.dist-info/RECORD"):
        # It would list the bytecode, and names the folder that it was installed to.
        record.unlink()
    for direct in place.glob("*.dist-info/direct_url.json"):
        direct.unlink()


def _compile(place: Path, runs_at: str) -> None:
    if f"{sys.version_info.major}.{sys.version_info.minor}" != PYTHON:
        return
    mode = compileall.py_compile.PycInvalidationMode.UNCHECKED_HASH  # type: ignore[attr-defined]  # a re-export
    workers = os.cpu_count() or 1
    compileall.compile_dir(
        place, quiet=2, stripdir=str(place), prependdir=runs_at, invalidation_mode=mode, workers=workers
    )


def name_release(place: Path, release: str) -> None:
    """Have the program laid out there say that it is this release: the name of an image is that of what runs in it."""
    (found,) = place.glob("edgetwin-*.dist-info")
    metadata = found / "METADATA"
    text = re.sub(r"^Version: .*$", f"Version: {release}", metadata.read_text(), count=1, flags=re.MULTILINE)
    metadata.write_text(text)
    found.rename(place / f"edgetwin-{release}.dist-info")


def _for(arch: str) -> list[str]:
    machine = _PLATFORMS.get(arch)
    if machine is None:
        message = f"there are no wheels for {arch}"
        raise BuildFailed(message, remedy="Boards with amd64 or arm64 can be built.")
    words = [
        "--only-binary=:all:",
        "--implementation",
        "cp",
        "--python-version",
        PYTHON,
        "--abi",
        "cp311",
        "--abi",
        "abi3",
        "--abi",
        "none",
    ]
    for name in _MANYLINUX:
        words += ["--platform", f"{name}_{machine}"]
    return words
