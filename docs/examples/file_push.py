"""A push of your own: readings as lines of a file. In pyproject.toml of its package:

[project.entry-points."edgetwin.pushes"]
file = "file_push:PUSH"
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from pydantic import BaseModel

from edgehub.push.target import DELIVERED, Outcome, Place, PushType, Reading


class FileConfig(BaseModel):
    """Keys of ``config``."""

    path: Path


class FileTarget:
    """Appends to one file."""

    def __init__(self, path: Path) -> None:
        self._path = path

    async def send(self, batch: Sequence[Reading]) -> Outcome:
        """Deliver a batch."""
        text = "".join(f"{one.tick} {one.device} {one.property} {json.dumps(one.value)}\n" for one in batch)
        await asyncio.to_thread(self._append, text)
        return DELIVERED

    def _append(self, text: str) -> None:
        with self._path.open("a", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())


@asynccontextmanager
async def opened(config: FileConfig, _: Place) -> AsyncIterator[FileTarget]:
    """Open the target, and close it."""
    yield FileTarget(config.path)


PUSH = PushType(FileConfig, opened)
