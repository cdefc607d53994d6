"""Where the parts of the demo plant are reached, and the documents that name these places."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

_FOLDER = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class Places:
    """Ports on the loopback and the path of a serial port. ``ble`` is 0 where bumble is not installed."""

    modbus: int
    opcua: int
    serial: str
    ble: int = 0

    def line(self) -> str:
        """What the plant says once it runs."""
        return f"READY {json.dumps(asdict(self))}"

    @classmethod
    def from_line(cls, line: str) -> Self:
        """Read it back. Raises ValueError for anything else."""
        word, _, rest = line.strip().partition(" ")
        if word != "READY":
            raise ValueError(line)
        try:
            return cls(**json.loads(rest))
        except TypeError as error:
            raise ValueError(line) from error

    def documents(self) -> str:
        """The plant's documents as YAML text."""
        names = ["plant.yaml", "press.yaml", "panel.yaml", *(["room.yaml"] if self.ble else [])]
        text = "---\n".join((_FOLDER / name).read_text(encoding="utf-8") for name in names)
        for key, value in asdict(self).items():
            text = text.replace(f"${{{key.upper()}}}", str(value))
        return text


def board_documents(python: str, one: int, two: int) -> str:
    """The documents of the demo's web services, which listen on these ports."""
    text = (_FOLDER / "board.yaml").read_text(encoding="utf-8")
    for key, value in (("PYTHON", python), ("ONE", one), ("TWO", two)):
        text = text.replace(f"${{{key}}}", str(value))
    return text
