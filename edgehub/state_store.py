"""The twin store of a gateway, opened so that neither a corrupt file nor a full disk keeps the gateway from starting.

state.db        the twins
state.db.copy   the last good copy, made at a clean stop and every six hours
state.db.before the twins as an earlier release had them, for a day: what comes back to it finds them
reserve         a megabyte that is given back to a full disk, so that there is room to start and to say so
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from edgehub.state import StateFolder
from twin.errors import StoreCorrupt, StoreError, StoreTooNew
from twin.sqlite_store import SqliteStore

log = logging.getLogger(__name__)

COPY_S: Final = 6 * 3600.0
BEFORE_S: Final = 24 * 3600.0
"""A release that has run for so long is not left by itself any more."""
RESERVE_BYTES: Final = 1024 * 1024


@dataclass(frozen=True, slots=True)
class OpenedStore:
    """A store that is open, and what the user has to know of how it came to be."""

    store: SqliteStore
    alarms: tuple[str, ...] = ()


def open_state(folder: StateFolder) -> OpenedStore:
    """Open the twin store.

    A corrupt file is set aside and the last good copy takes its place; without a copy the twins start empty. A disk
    that is full gets the reserve back first. A file of a later release that was left gives way to what this one had.
    Raises StoreTooNew if there is no such, and StoreError where none of that helps.
    """
    alarms = _give_back(folder)
    try:
        if folder.database_copy.exists() and _is_empty(folder.database):
            message = f"{folder.database} is empty"
            raise StoreCorrupt(message)
        return OpenedStore(_opened(folder), alarms)
    except StoreTooNew as error:
        if not folder.database_before.exists():
            raise
        store, alarm = _returned(folder, error)
        return OpenedStore(store, (*alarms, alarm))
    except StoreCorrupt as error:
        store, alarm = _replaced(folder, error)
        return OpenedStore(store, (*alarms, alarm))


def keep_reserve(folder: StateFolder) -> None:
    """Lay the reserve aside again, if the disk has plenty of room for it."""
    try:
        if not folder.reserve.exists() and _free_bytes(folder) >= 4 * RESERVE_BYTES:
            folder.reserve.write_bytes(bytes(RESERVE_BYTES))
    except OSError as error:
        log.debug("no reserve was laid aside: %s", error)


async def keep_copies(store: SqliteStore, folder: StateFolder, executor: Executor) -> None:
    """Make a good copy every six hours, until cancelled, keep the reserve, and drop what an earlier release had."""
    loop = asyncio.get_running_loop()
    ran_s = 0.0
    while True:
        keep_reserve(folder)
        await asyncio.sleep(COPY_S)
        ran_s += COPY_S
        if ran_s >= BEFORE_S:
            drop_before(folder)
        await loop.run_in_executor(executor, copier(store, folder))


def drop_before(folder: StateFolder) -> None:
    """Drop the twins as an earlier release left them; a disk that keeps them costs room, and no copies."""
    try:
        folder.database_before.unlink(missing_ok=True)
    except OSError as error:
        log.debug("%s", error)


def copier(store: SqliteStore, folder: StateFolder) -> Callable[[], None]:
    """What makes one good copy; a disk that has no room for it is logged, nothing else suffers."""

    def copy() -> None:
        try:
            store.copy_to(folder.database_copy)
        except StoreError as error:
            log.warning("no copy of the twins was made: %s", error)

    return copy


def _opened(folder: StateFolder) -> SqliteStore:
    store = SqliteStore(folder.database, before=folder.database_before)
    store.open()
    return store


def _is_empty(path: Path) -> bool:
    return path.exists() and path.stat().st_size == 0


def _give_back(folder: StateFolder) -> tuple[str, ...]:
    if _free_bytes(folder) >= RESERVE_BYTES // 2 or not folder.reserve.exists():
        return ()
    folder.reserve.unlink()
    text = f"the disk of {folder.path} was full at start and got the reserve back; make space, then restart"
    log.error("%s", text)  # the text says all
    return (text,)


def _free_bytes(folder: StateFolder) -> int:
    disk = os.statvfs(folder.path)
    return disk.f_bavail * disk.f_frsize


def _returned(folder: StateFolder, error: StoreTooNew) -> tuple[SqliteStore, str]:
    aside = _set_aside(folder.database, "later")
    folder.database_before.replace(folder.database)
    text = (
        f"{error.message}; the file was set aside as {aside.name}, and what this release had before took its place:"
        " desired values written since then are lost"
    )
    log.error("%s", text)  # the text says all
    return _opened(folder), text


def _replaced(folder: StateFolder, error: StoreCorrupt) -> tuple[SqliteStore, str]:
    aside = _set_aside(folder.database, "corrupt")
    text = f"{error.message}; the file was set aside as {aside.name}"
    if folder.database_copy.exists():
        folder.database_copy.replace(folder.database)
        try:
            store = _opened(folder)
        except StoreCorrupt as second:
            _set_aside(folder.database, "corrupt")
            text += f", and so was its copy ({second.message})"
        else:
            text += ", and its last good copy took its place: desired values written since then are lost"
            log.error("%s", text)  # as above
            return store, text
    text += "; the twins start empty: devices report anew, desired values are those of the documents"
    log.error("%s", text)  # as above
    return _opened(folder), text


def _set_aside(database: Path, why: str) -> Path:
    number = 1
    while (aside := database.with_name(f"{database.name}.{why}-{number}")).exists():
        number += 1
    for ending in ("-wal", "-shm"):
        part = database.with_name(database.name + ending)
        if part.exists():
            part.replace(aside.with_name(aside.name + ending))
    database.replace(aside)
    return aside
