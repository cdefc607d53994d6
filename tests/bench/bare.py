"""The floor that the hub is measured against: the same way of a report with nothing of ours in it.

python -m tests.bench.bare PORT USER PASSWORD FOLDER. Plain paho on the event loop (add_reader -> loop_read), pydantic
parse of the same message, value kept in a dict, rows upserted into SQLite (WAL, synchronous=FULL) by a writer thread
with group commit without a timer, one result a message after its commit. No rules, no delta, no deadband, no versions.
"""

from __future__ import annotations

import asyncio
import sqlite3
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import paho.mqtt.client as mqtt
from pydantic import BaseModel

from tests.bench.load import connected, subscribed

TOPIC: Final = "bare/report/"
RESULTS: Final = "bare/result"
_UPSERT: Final = "INSERT OR REPLACE INTO leaf (twin, name, value, at) VALUES (?, ?, ?, ?)"


class Report(BaseModel):
    """The message that the hub gets, too."""

    id: int
    at: int
    values: dict[str, Any]


@dataclass
class Batch:
    """What one transaction writes, and whom to tell."""

    rows: dict[tuple[str, str], tuple[str, str, object, int]] = field(default_factory=dict)
    ids: list[int] = field(default_factory=list)


class Bare:
    """The loop."""

    def __init__(self, client: mqtt.Client, folder: Path) -> None:
        self._client = client
        self._loop = asyncio.get_running_loop()
        self._executor = ThreadPoolExecutor(1)
        self._db = sqlite3.connect(folder / "bare.db", isolation_level=None, check_same_thread=False)
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=FULL")
        self._db.execute(
            "CREATE TABLE IF NOT EXISTS leaf (twin TEXT, name TEXT, value, at INTEGER, PRIMARY KEY (twin, name))"
            " WITHOUT ROWID"
        )
        self._values: dict[str, dict[str, Any]] = {}
        self._open = Batch()
        self._writing = False

    def start(self) -> None:
        """Read from the loop."""
        self._client.on_message = self._on_report
        self._client.on_socket_register_write = self._want_write
        self._client.on_socket_unregister_write = self._wrote_all
        self._loop.add_reader(self._socket, self._client.loop_read)

    @property
    def _socket(self) -> Any:
        return self._client.socket()

    def _want_write(self, *_: object) -> None:
        self._loop.add_writer(self._socket, self._client.loop_write)

    def _wrote_all(self, *_: object) -> None:
        self._loop.remove_writer(self._socket)

    def _on_report(self, _client: object, _user: object, message: mqtt.MQTTMessage) -> None:
        report = Report.model_validate_json(message.payload)
        twin = message.topic.rsplit("/", 1)[-1]
        self._values.setdefault(twin, {}).update(report.values)
        rows = self._open.rows
        for name, value in report.values.items():
            rows[twin, name] = (twin, name, value, report.at)
        self._open.ids.append(report.id)
        if not self._writing:
            self._begin()

    def _begin(self) -> None:
        self._writing = True
        batch, self._open = self._open, Batch()
        task = self._loop.run_in_executor(self._executor, self._write, batch)
        task.add_done_callback(lambda done: self._stored(batch, done))

    def _write(self, batch: Batch) -> None:
        self._db.execute("BEGIN IMMEDIATE")
        self._db.executemany(_UPSERT, batch.rows.values())
        self._db.execute("COMMIT")

    def _stored(self, batch: Batch, done: asyncio.Future[None]) -> None:
        done.result()
        self._writing = False
        if self._open.ids:
            self._begin()
        for report_id in batch.ids:
            self._client.publish(RESULTS, b'{"stored":[%d]}' % report_id)


async def main() -> None:
    """Serve until we are ended."""
    port, user, password, folder = sys.argv[1:]
    client = connected(int(port), user, password, "bare")
    subscribed(client, f"{TOPIC}#")
    Bare(client, Path(folder)).start()
    sys.stdout.write("READY\n")
    sys.stdout.flush()
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
