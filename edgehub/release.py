"""The leaves ``release`` and ``update`` of the gateway's own twin, for the updater.

That is a process of root's, which outlives a hub that does not start. Two files are all that lies between the two:

    <state>/run/release.json      what is desired; written here
    <state>-update/report.json    what is reported; written by the updater, whose folder it is
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Final

from edgehub.state import StateFolder
from twin.engine import TwinEngine
from twin.errors import EdgetwinError, InvalidMessage, UnknownTwin
from twin.merge import standing, value_of
from twin.model import TwinKey, Value
from twin.private_file import write_private
from twin.release import RELEASE, RELEASE_SPEC, UPDATE, Release, Told, read_release, written

log = logging.getLogger(__name__)

INTERVAL_S: Final = 2.0
MAX_BYTES: Final = 64 * 1024


class ReleaseLeaf:
    """Carries the leaf to the updater and back."""

    def __init__(self, folder: StateFolder, engine: TwinEngine, key: TwinKey, on_report: Callable[[], None]) -> None:
        self._folder = folder
        self._engine = engine
        self._key = key
        self._on_report = on_report
        self._seen_ns = -1
        self._told: dict[str, Value] = {}
        self._wanted: Value = None

    def reported(self) -> dict[str, Value]:
        """What the gateway's own twin says of it; nothing where there is no updater."""
        return self._told

    async def keep(self) -> None:
        """Carry it until cancelled."""
        while True:
            if self._read():
                self._on_report()
            self._write()
            await asyncio.sleep(INTERVAL_S)

    def _read(self) -> bool:
        """Take in what the updater says; whether it is new."""
        path = self._folder.update_report
        try:
            seen_ns = path.stat().st_mtime_ns
            if seen_ns == self._seen_ns:
                return False
            self._seen_ns = seen_ns
            told = Told.model_validate_json(_bounded(path))
        except FileNotFoundError:
            return False
        except (OSError, ValueError) as error:
            log.warning("what the updater says in %s cannot be read: %s", path, error)
            return False
        said = {RELEASE: written(told.release), UPDATE: written(told.update)}
        new, self._told = said != self._told, said
        return new

    def _write(self) -> None:
        wanted = self._desired()
        if wanted == self._wanted:
            return
        try:
            if wanted is None:
                self._folder.wanted_release.unlink(missing_ok=True)
            else:
                write_private(self._folder.wanted_release, Release.model_validate(wanted).model_dump_json())
        except OSError as error:
            log.debug("the wanted release was not written: %s", error)
            return
        self._wanted = wanted

    def _desired(self) -> Value:
        try:
            leaf = self._engine.document(self._key).desired.get(RELEASE)
        except UnknownTwin:
            return None
        slot = standing(leaf, RELEASE_SPEC.conflict) if leaf is not None else None
        if slot is None:
            return None
        try:
            return written(read_release(value_of(slot)))
        except InvalidMessage as error:
            log.debug("%s", error)
            return None


def wanted_release(folder: StateFolder) -> Release | None:
    """What the hub has written; None: no release is wanted. For the updater. Raises EdgetwinError."""
    path = folder.wanted_release
    try:
        return Release.model_validate_json(_bounded(path))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        message = f"{path} cannot be read: {error}"
        raise EdgetwinError(message, remedy="The hub writes it anew when it starts.") from None


def _bounded(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(MAX_BYTES)
