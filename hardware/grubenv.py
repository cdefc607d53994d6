"""GRUB's environment block, in which the state of the slots is kept: read, changed, and written in one sector.

    ORDER=A B    which slot is tried first            A_OK=1     it holds a whole system
    SURE=A       the slot whose tries do not count    A_TRY=0    boots since it was installed, at most three

RAUC changes it by a program called grub-editenv. GRUB's own cuts the file to nothing before it writes, so that a power
cut in between leaves no slot to boot; this one writes over what is there, as GRUB does when it boots. It adds SURE: a
slot that was marked good is sure, and several power cuts in a row do not use up its tries.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

BLOCK_BYTES: Final = 1024
_HEAD: Final = "# GRUB Environment Block\n"
NEW: Final = {"ORDER": "A B", "SURE": "", "A_OK": "1", "A_TRY": "0", "B_OK": "0", "B_TRY": "0"}
"""Of a new image: only A holds a system. Also what a block that cannot be read is taken for."""


def parsed(block: bytes) -> dict[str, str]:
    """The variables of a block. Raises ValueError if it is none."""
    text = block.decode("ascii")
    if len(block) != BLOCK_BYTES or not text.startswith(_HEAD):
        message = "this is no environment block of GRUB"
        raise ValueError(message)
    lines = text[len(_HEAD) :].rstrip("#").splitlines()
    return dict(line.split("=", 1) for line in lines if "=" in line)


def rendered(variables: Mapping[str, str]) -> bytes:
    """A block of these variables. Raises ValueError if they do not fit."""
    head = (_HEAD + "".join(f"{name}={value}\n" for name, value in variables.items())).encode("ascii")
    if len(head) > BLOCK_BYTES // 2:  # what is beyond the first sector is filling, which may tear without harm
        message = "the variables do not fit into one sector"
        raise ValueError(message)
    return head + b"#" * (BLOCK_BYTES - len(head))


def changed(variables: Mapping[str, str], pairs: Mapping[str, str]) -> dict[str, str]:
    """The variables after RAUC has set some: a slot that is marked good is sure, one that is not OK is not.

    RAUC names ORDER when it makes a slot the next one to boot, which proves nothing of it yet.
    """
    made = {**variables, **pairs}
    for name, value in pairs.items():
        slot, _, what = name.partition("_")
        if what == "OK" and value == "1" and "ORDER" not in pairs:
            made["SURE"] = slot
        elif what == "OK" and value != "1" and made.get("SURE") == slot:
            made["SURE"] = ""
    return made


def read(path: Path) -> dict[str, str]:
    """The variables of a file; those of a new image if it cannot be understood. Raises OSError."""
    try:
        return parsed(path.read_bytes())
    except (ValueError, FileNotFoundError):
        return dict(NEW)


def write(path: Path, variables: Mapping[str, str]) -> None:
    """Write them over what is there; on disk when this returns. Raises OSError, ValueError."""
    block = rendered(variables)
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        os.pwrite(fd, block, 0)
        os.ftruncate(fd, BLOCK_BYTES)
        os.fsync(fd)
    finally:
        os.close(fd)


def main(words: Sequence[str]) -> int:
    """What RAUC asks of grub-editenv: ``FILE list`` and ``FILE set NAME=VALUE...``; 2: it asked for something else."""
    try:
        match words:
            case [file, "list"]:
                sys.stdout.write("".join(f"{name}={value}\n" for name, value in read(Path(file)).items()))
            case [file, "set", *pairs] if all("=" in pair for pair in pairs):
                path = Path(file)
                made = changed(read(path), dict(pair.split("=", 1) for pair in pairs))
                if not path.exists() or rendered(made) != path.read_bytes():
                    write(path, made)
            case _:
                sys.stderr.write("usage: grub-editenv FILE list | FILE set NAME=VALUE...\n")
                return 2
    except (OSError, ValueError) as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    return 0
