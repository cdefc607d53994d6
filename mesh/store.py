"""Where a mesh that runs alone has its table from, and where it says what becomes of it: two seams, two versions each.

A file is replaced whole and is on disk when that is done. Of a file that was mended by hand into something that means
nothing, the last good copy beside it is used.
"""

from __future__ import annotations

import logging
import os
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Final, Protocol, TypeAlias

from mesh.alerts import Alert
from mesh.errors import InvalidTable
from mesh.frames import Vote
from mesh.model.services import ServiceKey
from mesh.model.table import Table
from mesh.problems import Problems
from mesh.wire import MAX_TABLE_BYTES, read_table, write_table

log = logging.getLogger(__name__)

_Look: TypeAlias = tuple[int, int, int] | None
_GOOD: Final = ".good"


class RouteStore(Protocol):
    """Keeps one table."""

    def load(self) -> Table:
        """The table. Raises InvalidTable if what is there means nothing, or nothing is there."""

    def last_good(self) -> Table | None:
        """The last table that meant something, if it is known."""

    def save(self, table: Table) -> None:
        """Keep another one; it is safe when this returns. Raises OSError; then the old one stands."""

    def changed(self) -> bool:
        """Whether somebody else has changed it since it was loaded or saved."""


class Events(Protocol):
    """Hears what becomes of a table."""

    def programmed(self, problems: Problems) -> None:
        """It is carried out, but for these."""

    def health(self, votes: Iterable[Vote]) -> None:
        """Endpoints that were found to live, or not."""

    def alerted(self, alerts: Iterable[Alert]) -> None:
        """Alarm rules that begin to hold, or hold no more."""

    def asked(self, services: Iterable[ServiceKey]) -> None:
        """Services that somebody asked for by name."""


class MemoryStore:
    """A RouteStore that forgets with the process."""

    def __init__(self, table: Table | None = None) -> None:
        self._table = table
        self._changed = table is not None

    def put(self, table: Table) -> None:
        """What somebody else does."""
        self._table, self._changed = table, True

    def load(self) -> Table:
        """The table. Raises InvalidTable if there is none."""
        self._changed = False
        if self._table is None:
            message = "there is no table"
            raise InvalidTable(message, remedy="Put one in")
        return self._table

    def last_good(self) -> Table | None:
        """The same, for it is always good."""
        return self._table

    def save(self, table: Table) -> None:
        """Keep another one."""
        self._table, self._changed = table, False

    def changed(self) -> bool:
        """Whether ``put`` was called since."""
        return self._changed


class FileStore:
    """A RouteStore in a file that people may mend."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._good = path.with_name(f".{path.name}{_GOOD}")
        self._seen: _Look = None

    def load(self) -> Table:
        """The table in the file; a good one is copied beside it. Raises InvalidTable, also if there is no file."""
        self._seen = self._look()
        text = self._text(self._path)
        table = read_table(text, str(self._path))
        if not self._good.exists() or self._good.read_bytes() != text:
            try:
                _replace(self._good, text)
            except OSError as error:
                log.warning("There will be no good copy of %s: %s", self._path, error)
        return table

    def last_good(self) -> Table | None:
        """The copy of the last good table."""
        try:
            return read_table(self._text(self._good), str(self._good))
        except InvalidTable:
            return None

    def save(self, table: Table) -> None:
        """Write it; a reader sees the old or the new one, whenever the power fails. Raises OSError."""
        text = write_table(table, indent=2) + b"\n"
        _replace(self._path, text)
        self._seen = self._look()
        _replace(self._good, text)

    def changed(self) -> bool:
        """Whether the file is another one than was read or written last."""
        return self._look() != self._seen

    def _look(self) -> _Look:
        try:
            found = self._path.stat()
        except OSError:
            return None
        return found.st_mtime_ns, found.st_size, found.st_ino

    def _text(self, path: Path) -> bytes:
        try:
            with path.open("rb") as file:
                return file.read(MAX_TABLE_BYTES + 1)
        except OSError as error:
            message = f"{path} cannot be read: {error.strerror or error}"
            raise InvalidTable(message, remedy="Give the path of a table; `python -m mesh --help` shows one") from error


class MemoryEvents:
    """Events that are remembered."""

    def __init__(self) -> None:
        self.problems: Problems = {}
        self.votes: list[Vote] = []
        self.alerts: list[Alert] = []
        self.services: list[ServiceKey] = []

    def programmed(self, problems: Problems) -> None:
        """Remember what is wrong now."""
        self.problems = problems

    def health(self, votes: Iterable[Vote]) -> None:
        """Remember what was found."""
        self.votes += votes

    def alerted(self, alerts: Iterable[Alert]) -> None:
        """Remember the alerts."""
        self.alerts += alerts

    def asked(self, services: Iterable[ServiceKey]) -> None:
        """Remember who was asked for."""
        self.services += services


class LoggedEvents:
    """Events as lines of the log."""

    def __init__(self) -> None:
        self._told: Problems = {}

    def programmed(self, problems: Problems) -> None:
        """Say what is newly wrong, and what is right again."""
        for subject, found in problems.items():
            for problem in found:
                if problem not in self._told.get(subject, ()):
                    log.warning("%s: %s", subject, problem.text)
        for subject in self._told:
            if subject not in problems:
                log.info("%s is carried out", subject)
        self._told = problems

    def health(self, votes: Iterable[Vote]) -> None:
        """The prober says so itself."""

    def alerted(self, alerts: Iterable[Alert]) -> None:
        """Say each."""
        for alert in alerts:
            log.log(logging.WARNING if alert.firing else logging.INFO, "%s", alert.text)

    def asked(self, services: Iterable[ServiceKey]) -> None:
        """Nobody else has to learn of it."""


def _replace(path: Path, text: bytes) -> None:
    """Write a file whole; it survives a power cut from the moment this returns. Raises OSError; then the old stands."""
    number, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(number, "wb") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
