"""The profiles of all boards: one YAML file each, in this folder or in one of the user's."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

import yaml
from pydantic import ValidationError

from hardware.board import BoardProfile
from hardware.errors import InvalidBoard, UnknownBoard

__all__ = ["board", "boards", "read_board"]


def boards() -> tuple[BoardProfile, ...]:
    """Every profile that comes with us, by name. Raises InvalidBoard."""
    found = [one for one in files(__name__).iterdir() if one.name.endswith(".yaml")]
    return tuple(
        read_board(one.read_text(encoding="utf-8"), one.name) for one in sorted(found, key=lambda one: one.name)
    )


def board(name: str) -> BoardProfile:
    """The profile of a name, or of a file whose path ends in ``.yaml``. Raises UnknownBoard or InvalidBoard."""
    if name.endswith((".yaml", ".yml")):
        try:
            return read_board(Path(name).read_text(encoding="utf-8"), name)
        except OSError as error:
            message = f"the profile {name} cannot be read: {error.strerror or error}"
            raise UnknownBoard(message, remedy="Name a file, or a board of `edgetwin hardware boards`.") from None
    known = {one.name: one for one in boards()}
    if name not in known:
        remedy = f"Known are {', '.join(known)}; or name a profile of yours: ./{name}.yaml"
        message = f"there is no board {name}"
        raise UnknownBoard(message, remedy=remedy)
    return known[name]


def read_board(text: str, source: str) -> BoardProfile:
    """Read one profile. Raises InvalidBoard with every problem."""
    try:
        return BoardProfile.model_validate(yaml.safe_load(text))
    except yaml.YAMLError as error:
        message = f"{source} is not YAML: {str(error).splitlines()[0]}"
        raise InvalidBoard(message, remedy="See hardware/boards for profiles to start from.") from None
    except ValidationError as error:
        told = "; ".join(f"{'.'.join(map(str, one['loc'])) or 'profile'}: {one['msg']}" for one in error.errors())
        message = f"{source}: {told}"
        raise InvalidBoard(message, remedy="docs/hardware.md has every key.") from None
