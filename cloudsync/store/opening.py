"""Opens the store that a URL names."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from cloudsync.store import CloudStore
from cloudsync.store.sql_store import SqlStore
from twin.clock import Clock
from twin.errors import StoreError
from twin.link.backoff import Backoff

RETRY_BASE_S: Final = 0.1
RETRY_CAP_S: Final = 5.0

_REMEDY: Final = "Use sqlite:////path/of/a/file.db or postgresql://user:password@host:5432/database."


def open_store(url: str, clock: Clock) -> CloudStore:
    """The store of a URL, still to be opened. Raises StoreError for a URL of another kind."""
    scheme, _, rest = url.partition("://")
    if scheme == "sqlite" and rest.startswith("/") and len(rest) > 1:
        from cloudsync.store.sqlite import SqliteDatabase
        from cloudsync.store.sqlite_periods import SqlitePeriods

        path = Path(rest[1:])
        return SqlStore(SqliteDatabase(path), SqlitePeriods(), str(path))
    if scheme in {"postgresql", "postgres"} and rest:
        from cloudsync.store.postgres import PostgresDatabase
        from cloudsync.store.postgres_periods import PostgresPeriods

        what = _without_password(url)
        backoff = Backoff(RETRY_BASE_S, RETRY_CAP_S, random.SystemRandom())
        database = PostgresDatabase(url, what, clock=clock, backoff=backoff)
        return SqlStore(database, PostgresPeriods(), what)
    message = f"store URL {scheme}://... is of no kind that is known" if rest else "the store URL is empty"
    raise StoreError(message, remedy=_REMEDY)


def _without_password(url: str) -> str:
    """The URL for messages."""
    parts = urlsplit(url)
    user = f"{parts.username}@" if parts.username else ""
    port = f":{parts.port}" if parts.port else ""
    return f"postgresql://{user}{parts.hostname or ''}{port}{parts.path}"
