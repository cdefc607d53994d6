"""Files that commands write: never over one that is there."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from twin.errors import EdgetwinError


class UnwritableFile(EdgetwinError):
    """A file that a command was asked to write, and that cannot be or is there already."""

    code = "unwritable_file"


def write_new(texts: Mapping[Path, str]) -> None:
    """Write files that are not there yet, with the folders above them. Raises UnwritableFile."""
    for path, text in texts.items():
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("x", encoding="utf-8") as file:
                file.write(text)
        except FileExistsError:
            raise already_there(path) from None
        except OSError as error:
            message = f"{path} was not written: {error.strerror}"
            raise UnwritableFile(message, remedy="Name a place that may be written to.") from None


def already_there(path: Path) -> UnwritableFile:
    """The error for a path that must be new."""
    return UnwritableFile(f"{path} is there already", remedy="Name another place, or move it away.")
