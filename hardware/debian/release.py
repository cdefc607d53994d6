"""One release of the program as a folder: a virtual environment that is laid out, not run, of any architecture."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from hardware.image import wheels
from hardware.image.tools import Tools

HOME: Final = "/opt/edgetwin"
RELEASES: Final = f"{HOME}/releases"
CURRENT: Final = f"{HOME}/current"
PROVEN: Final = f"{HOME}/proven"
"""The release to which an update goes back; while it is another than the current one, that is on trial."""
PYTHON_OF_DEBIAN: Final = f"/usr/bin/python{wheels.PYTHON}"
LIBRARIES: Final = f"lib/python{wheels.PYTHON}/site-packages"


@dataclass(frozen=True, slots=True)
class ReleaseFile:
    """A file of a release, its path from the release's folder on; ``target``: it is a link to there."""

    path: str
    text: str = ""
    mode: int = 0o644
    target: str = ""


def folder_of(release: str) -> str:
    """Where a release lies on the gateway."""
    return f"{RELEASES}/{release}"


def release_files(release: str) -> Iterator[ReleaseFile]:
    """What makes a folder of libraries an environment (PEP 405), and its program. Pure."""
    yield ReleaseFile(
        "pyvenv.cfg", f"home = /usr/bin\ninclude-system-site-packages = false\nversion = {wheels.PYTHON}\n"
    )
    yield ReleaseFile("bin/python3", target=PYTHON_OF_DEBIAN)
    program = f"#!{folder_of(release)}/bin/python3 -sP\nfrom edgehub.cli import main\n\nmain()\n"
    yield ReleaseFile("bin/edgetwin", program, 0o755)


def lay_out(tools: Tools, house: Path, arch: str, release: str, place: Path) -> None:
    """Make the folder of a release from a wheelhouse; nothing of the board's is run. Raises BuildFailed."""
    for file in release_files(release):
        path = place / file.path
        path.parent.mkdir(parents=True, exist_ok=True)
        if file.target:
            path.symlink_to(file.target)
        else:
            path.write_text(file.text, encoding="utf-8")
            path.chmod(file.mode)
    wheels.lay_out(tools, house, arch, place / LIBRARIES, runs_at=f"{folder_of(release)}/{LIBRARIES}")
