"""How the cloud is: what the parent knows, in a file that is readable when everything else is dead."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Final

from pydantic import BaseModel, ConfigDict, ValidationError

from cloudsync.identity.folder import CloudFolder
from twin.errors import EdgetwinError
from twin.private_file import write_private

INTERVAL_S: Final = 5.0

log = logging.getLogger(__name__)


class CloudNotRunning(EdgetwinError):
    """No cloud runs on this state folder."""

    code = "cloud_not_running"


class _Body(BaseModel):
    model_config = ConfigDict(frozen=True)


class CloudChild(_Body):
    """One child process."""

    name: str
    running: bool
    pid: int
    restarts: int


class CloudStatus(_Body):
    """How the cloud is, as far as the parent knows. Times are milliseconds since 1970."""

    written_at: int
    version: str
    pid: int
    started_at: int
    state_folder: str
    store: str
    brokers: tuple[str, ...]
    web: str
    gateways: int
    users: int
    children: tuple[CloudChild, ...]
    alarms: tuple[str, ...]


class HealthFile:
    """Writes it every few seconds."""

    def __init__(self, folder: CloudFolder, status: Callable[[], CloudStatus]) -> None:
        self._folder = folder
        self._status = status

    def write(self) -> None:
        """Write it now."""
        try:
            write_private(self._folder.health, self._status().model_dump_json())
        except OSError as error:
            log.debug("the health file was not written: %s", error)

    async def keep(self) -> None:
        """Write it until cancelled."""
        while True:
            self.write()
            await asyncio.sleep(INTERVAL_S)


def read_health(folder: CloudFolder) -> CloudStatus:
    """Read the file. Raises CloudNotRunning."""
    try:
        return CloudStatus.model_validate_json(folder.health.read_bytes())
    except (OSError, ValidationError):
        message = f"no cloud runs on {folder.path}"
        raise CloudNotRunning(message, remedy="Start one with `edgetwin cloud run`.") from None
