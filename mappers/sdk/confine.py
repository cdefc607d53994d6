"""The limits of a mapper's process, taken on by itself before it runs code of others."""

from __future__ import annotations

import os
import resource
from pathlib import Path

from pydantic import BaseModel, ConfigDict


class Confinement(BaseModel):
    """Control groups to enter, by their file of processes; or resource limits where there are none."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    enter: tuple[str, ...] = ()
    memory_bytes: int = 0
    """Of data; 0: no limit."""
    nice: int = 0


def take_on(confinement: Confinement) -> None:
    """Be confined from now on. Raises OSError."""
    for procs in confinement.enter:
        Path(procs).write_text("0")  # the writer itself
    if confinement.memory_bytes:
        resource.setrlimit(resource.RLIMIT_DATA, (confinement.memory_bytes, confinement.memory_bytes))
    if confinement.nice:
        os.nice(confinement.nice)
