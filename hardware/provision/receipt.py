"""What came of a provisioning file, step by step; kept in the state folder, and beside the file for who looks there."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Final, Literal

from pydantic import BaseModel, ConfigDict

from twin.private_file import write_private

NAME: Final = "edgetwin-receipt.json"


class State(StrEnum):
    """What came of a step."""

    APPLIED = "applied"
    UNCHANGED = "unchanged"
    """It was so already."""
    NOT_SAID = "not_said"
    """The file says nothing of it; it was left as it is."""
    WAITING = "waiting"
    """Not yet possible; the next run tries again."""
    FAILED = "failed"


class StepResult(BaseModel):
    """What came of one step, and why."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    step: str
    state: State
    detail: str = ""


class Receipt(BaseModel):
    """What came of a file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: Literal[1] = 1
    file: str
    sha256: str
    release: str
    at: str
    """When, by the machine's clock, RFC 3339."""
    steps: tuple[StepResult, ...]

    @property
    def done(self) -> bool:
        """Whether nothing is left to do."""
        return all(one.state not in (State.WAITING, State.FAILED) for one in self.steps)

    def write(self, path: Path) -> None:
        """Keep it. Raises OSError."""
        write_private(path, self.model_dump_json(indent=2) + "\n")
