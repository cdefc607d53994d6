"""What is remembered of an update, on disk: the record for the updater, the report for the hub, and a lock.

The folder lies beside the state folder, not in it: there the hub's user may change what it likes, and this is root's.
"""

from __future__ import annotations

import fcntl
import logging
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from pydantic import TypeAdapter, ValidationError

from hardware.errors import UpdateBusy, UpdateFailed
from hardware.update.backend import Standing
from hardware.update.machine import Record
from twin.private_file import write_private
from twin.release import ReleaseReport, Running, Told

log = logging.getLogger(__name__)

MAX_REASON: Final = 1000
LOOK_S: Final = 0.1
_RECORD: Final = TypeAdapter(Record)


class Records:
    """The folder. What cannot be written raises UpdateFailed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def make(self) -> None:
        """Make the folder; everybody may read the report in it."""
        try:
            self.folder.mkdir(mode=0o755, parents=True, exist_ok=True)
        except OSError as error:
            message = f"{self.folder} cannot be made: {error.strerror}"
            raise UpdateFailed(message, remedy="Run the command as the user that the updater runs as, root.") from None

    @contextmanager
    def locked(self, patience_s: float = 0.0) -> Iterator[None]:
        """Be the only updater. Raises UpdateBusy if another one is at work, and still is after so long."""
        self.make()
        ends_s = time.monotonic() + patience_s
        try:
            fd = os.open(self.folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            message = f"{self.folder / 'lock'} cannot be opened: {error.strerror}"
            raise UpdateFailed(message, remedy="Run the command as the user that the updater runs as, root.") from None
        try:
            while not _is_locked(fd):
                if time.monotonic() >= ends_s:
                    message = "another update is under way"
                    raise UpdateBusy(message, remedy="`edgetwin hardware update status` shows how far it is.")
                time.sleep(LOOK_S)
            yield
        finally:
            os.close(fd)

    def load(self) -> Record:
        """The record; an empty one if there is none that can be read."""
        try:
            return _RECORD.validate_json((self.folder / "record.json").read_bytes())
        except FileNotFoundError:
            return Record()
        except (OSError, ValidationError) as error:
            log.error("the record of the last update cannot be read, it is forgotten: %s", error)
            return Record()

    def stamp(self) -> object:
        """Another one after each ``save``, whoever saved."""
        try:
            status = (self.folder / "record.json").stat()
        except OSError:
            return None
        return status.st_ino, status.st_mtime_ns

    def save(self, record: Record) -> None:
        """Put it on disk."""
        self._write(self.folder / "record.json", _RECORD.dump_json(record).decode())

    def tell(self, record: Record, standing: Standing) -> None:
        """Say it to whoever asks: the hub, and `update status`."""
        path = self.folder / "report.json"
        told = Told(release=running_of(record, standing), update=report_of(record, standing))
        self._write(path, told.model_dump_json())
        path.chmod(0o644)

    def told(self) -> ReleaseReport | None:
        """What was said last; None: nothing yet."""
        try:
            return Told.model_validate_json((self.folder / "report.json").read_bytes()).update
        except (OSError, ValidationError):
            return None

    def _write(self, path: Path, text: str) -> None:
        try:
            write_private(path, text)
        except OSError as error:
            message = f"{path} cannot be written: {error.strerror}"
            raise UpdateFailed(message, remedy="Check free space, permissions and the disk's health.") from None


def _is_locked(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def running_of(record: Record, standing: Standing) -> Running:
    """What the gateway's twin says that it runs."""
    runs = record.runs
    if runs is None or runs.version != standing.version:
        return Running(version=standing.version[:64])
    return Running(version=runs.version, url=runs.url, sha256=runs.sha256, size=runs.size_bytes, order=runs.order)


def report_of(record: Record, standing: Standing) -> ReleaseReport:
    """What the gateway's twin says of an update."""
    wanted = record.wanted
    return ReleaseReport(
        version=standing.version[:64],
        slot=standing.slot[:64],
        state=record.state,
        wanted=wanted.version if wanted else "",
        order=wanted.order if wanted else "",
        reason=record.reason[:MAX_REASON],
        tries=record.tries,
        at=record.at,
    )
