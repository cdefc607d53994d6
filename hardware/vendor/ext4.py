"""The root file system in a file of its own: read and added to by debugfs, which needs neither root nor a mount.

What is not named stays as it is, with its modes, owners and attributes. All times are those of the build.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from hardware.errors import BuildFailed, InvalidImage
from hardware.image.tools import Tools

_QUIET: Final = re.compile(r"debugfs( \d|: )|Allocated inode: \d+$|$")
_KIND: Final = {"regular": 0o100000, "directory": 0o040000, "symlink": 0o120000}
_STAT: Final = re.compile(r"Type: (\w+)\s+Mode:\s+(\d+).*?User:\s+(\d+)\s+Group:\s+(\d+).*?Size: (\d+)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Placed:
    """Something of the root file system; of ``source`` (a file here) or ``target`` (of a link), else a folder.

    ``path`` begins with a slash.
    """

    path: str
    mode: int = 0o755
    source: Path | None = None
    target: str = ""
    uid: int = 0
    gid: int = 0


@dataclass(frozen=True, slots=True)
class Stat:
    """What is there."""

    kind: str
    mode: int
    uid: int
    gid: int
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Room:
    """What a file system has, in bytes and files."""

    bytes: int
    free_bytes: int
    free_files: int


class RootFs:
    """An ext4 file system in a file."""

    def __init__(self, tools: Tools, path: Path) -> None:
        self._tools = tools
        self._path = path

    def check(self) -> None:
        """Raise InvalidImage if it is damaged; nothing is mended."""
        try:
            self._tools.run("e2fsck", "-fn", self._path)
        except BuildFailed as error:
            message = "the root file system of the image is damaged, or none that is known"
            raise InvalidImage(message, remedy=f"Fetch the image again. {error.remedy}") from None

    def read(self, path: str) -> str | None:
        """The text of a file; None: it is not there."""
        found = self.stat(path)
        if found is None or found.kind != "regular":
            return None
        with tempfile.TemporaryDirectory() as folder:
            out = Path(folder, "out")
            self._ask(f'dump "{_checked(path)}" {out}')
            return out.read_bytes().decode("utf-8", "surrogateescape")

    def stat(self, path: str) -> Stat | None:
        """What is at a path, links on the way followed; None: nothing."""
        return self.stats([path])[path]

    def stats(self, paths: Iterable[str]) -> dict[str, Stat | None]:
        """The same of many."""
        paths = list(paths)
        said = self._ask("".join(f'stat "{_checked(one)}"\n' for one in paths))
        answers = re.split(r"^debugfs: +stat .*$", said, flags=re.MULTILINE)[1:]
        found = (_STAT.search(one) for one in answers)
        stats = [Stat(m[1], int(m[2], 8), int(m[3]), int(m[4]), int(m[5])) if m else None for m in found]
        return dict(zip(paths, stats, strict=True))

    def room(self) -> Room:
        """What it has."""
        said = self._tools.run("dumpe2fs", "-h", self._path).decode()
        fields = dict(line.split(":", 1) for line in said.splitlines() if ":" in line)
        block = int(fields["Block size"])
        free = int(fields["Free blocks"]) - int(fields["Reserved block count"])
        return Room(int(fields["Block count"]) * block, max(0, free) * block, int(fields["Free inodes"]))

    def enlarge(self, size_bytes: int) -> None:
        """Make the file and the file system in it larger. Raises BuildFailed."""
        with self._path.open("r+b") as file:
            file.truncate(size_bytes)
        self._tools.run("resize2fs", "-f", self._path)

    def place(self, wanted: Iterable[Placed]) -> None:
        """Put files, folders and links in; a file or link of the name is replaced. Raises BuildFailed.

        Folders that are there keep their owners and modes.
        """
        wanted = list(wanted)
        there = self.stats(one.path for one in wanted)
        wrong = [one for one, said in ((one, there[one.path]) for one in wanted) if said and _is_folder(one, said)]
        if wrong:
            message = f"the image has a folder {wrong[0].path}, where a file is to be"
            raise BuildFailed(message, remedy="Start from the vendor's own image, as it was fetched.")
        script = "".join(line for one in wanted for line in _commands(one, there[one.path]))
        for line in self._ask(script, write=True).splitlines():
            if not _QUIET.match(line):
                message = f"the root file system did not take all files: {line}"
                raise BuildFailed(message, remedy="Is the image of the layout of Raspberry Pi OS?")
        self._read_back(wanted)

    def _read_back(self, wanted: list[Placed]) -> None:
        with tempfile.TemporaryDirectory(dir=self._path.parent) as folder:
            files = [(one, Path(folder, str(number))) for number, one in enumerate(wanted) if one.source is not None]
            self._ask("".join(f'dump "{one.path}" {out}\n' for one, out in files))
            for one, out in files:
                if one.source is not None and (not out.exists() or out.read_bytes() != one.source.read_bytes()):
                    message = f"{one.path} is not in the root file system as it was written"
                    raise BuildFailed(message, remedy="Has the disk with the build's files room and is it well?")

    def _ask(self, script: str, *, write: bool = False) -> str:
        words = ("-w",) if write else ()
        # What debugfs has to complain about it says on the other line, and its exit code is 0 all the same.
        shell = ("sh", "-c", 'exec debugfs "$@" 2>&1', "sh")
        content = (script + "\n").encode("utf-8", "surrogateescape")
        said = self._tools.run(*shell, *words, "-f", "-", self._path, stdin=content)
        return said.decode("utf-8", "replace")


def _is_folder(one: Placed, there: Stat) -> bool:
    return there.kind == "directory" and bool(one.source or one.target)


def _commands(one: Placed, there: Stat | None) -> Iterator[str]:
    path = _checked(one.path)
    if one.source is None and not one.target:
        if there is not None:
            return
        yield f'mkdir "{path}"\n'
        kind = "directory"
    else:
        if there is not None:
            yield f'rm "{path}"\n'
        if one.target:
            yield f'symlink "{path}" "{_checked(one.target)}"\n'
            return
        yield f'write "{_checked(str(one.source))}" "{path}"\n'
        kind = "regular"
    yield f'set_inode_field "{path}" mode 0{_KIND[kind] | one.mode:o}\n'
    for field, value in (("uid", one.uid), ("gid", one.gid)):
        yield f'set_inode_field "{path}" {field} {value}\n'


def _checked(path: str) -> str:
    if any(c in path for c in '"\n\\'):
        message = f"the name {path!r} cannot be written into an image"
        raise BuildFailed(message, remedy="Build from a folder without quotes in its name.")
    return path
