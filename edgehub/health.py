"""The health file: how the hub is, readable when the broker is dead."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Final

from pydantic import BaseModel, ValidationError

from twin.errors import EdgetwinError
from twin.private_file import write_private
from twin.wire.api import StatusReply

log = logging.getLogger(__name__)

INTERVAL_S: Final = 5.0


class Health(BaseModel):
    """The hub's own status, and when it was written (milliseconds since 1970)."""

    written_at: int
    status: StatusReply


class HealthFile:
    """Writes the hub's status every few seconds."""

    def __init__(self, path: Path, status: Callable[[], StatusReply], now_ms: Callable[[], int]) -> None:
        self._path = path
        self._status = status
        self._now_ms = now_ms

    def write(self) -> None:
        """Write it now; a disk that does not take it is logged once by the twin engine's own alarm."""
        health = Health(written_at=self._now_ms(), status=self._status())
        try:
            write_private(self._path, health.model_dump_json())
        except OSError as error:
            log.debug("the health file was not written: %s", error)

    async def keep(self) -> None:
        """Write it until cancelled."""
        while True:
            self.write()
            await asyncio.sleep(INTERVAL_S)


def read_health(path: Path) -> Health:
    """Read the file. Raises EdgetwinError if there is none that can be read."""
    try:
        return Health.model_validate_json(path.read_bytes())
    except (OSError, ValidationError):
        message = f"there is no health file at {path}"
        raise EdgetwinError(message, remedy="It is written by a running hub.") from None
