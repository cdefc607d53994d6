"""Files that commands write: never over one that is there."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from twin.errors import EdgetwinError


class UnwritableFile(EdgetwinError):
    """A file that a command was asked to write, and that cannot be or is there already."""

    code = "unwritable_file"


def write_new(texts: Mapping[Path, str], *, private: bool = False) -> None:
    """Write files that are not there yet, with the folders above them. Raises UnwritableFile.

    A ``private`` one may hold secrets and is for its owner alone.
    """
    for path, text in texts.items():
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            mode = 0o600 if private else 0o666  # the second less the user's mask, as ever
            with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "w", encoding="utf-8") as file:
                file.write(text)
        except FileExistsError:
            refuse_existing(path)
            raise
        except OSError as error:
            message = f"{path} was not written: {error.strerror}"
            raise UnwritableFile(message, remedy="Name a place that may be written to.") from None


def refuse_existing(path: Path) -> None:
    """Raise UnwritableFile if there is something at the path."""
    if path.exists():
        message = f"{path} is there already"
        raise UnwritableFile(message, remedy="Name another place, or move it away.")
