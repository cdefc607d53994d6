"""The schema of the cloud's store: forward only, in one transaction, refused when it is a later release's."""

from __future__ import annotations

from importlib import resources
from typing import Final

from cloudsync.store.database import Database
from twin.errors import StoreTooNew

_TABLE: Final = "CREATE TABLE IF NOT EXISTS cloud_schema (version BIGINT NOT NULL);"


async def migrate(database: Database, what: str) -> None:
    """Bring the schema up to date. Raises StoreTooNew for one of a later release; then nothing was changed.

    Several processes may try at once: the first does it, the others wait and find it done.
    """
    scripts = _scripts()
    async with database.writing() as connection:
        await connection.script(database.dialect.lock_schema)
        await connection.script(_TABLE)
        rows = await connection.fetch("SELECT version FROM cloud_schema")
        version = int(rows[0][0]) if rows else 0
        if version > len(scripts):
            message = f"{what} has schema version {version}; this release knows up to {len(scripts)}"
            remedy = "Install the release that wrote it, or a later one; nothing was changed."
            raise StoreTooNew(message, remedy=remedy)
        for script in scripts[version:]:
            await connection.script(script.format(**database.dialect.words))
        if version == len(scripts):
            return
        put = "UPDATE cloud_schema SET version = $1" if rows else "INSERT INTO cloud_schema (version) VALUES ($1)"
        await connection.fetch(put, len(scripts))


def _scripts() -> list[str]:
    folder = resources.files("cloudsync.store.migrations")
    names = sorted(entry.name for entry in folder.iterdir() if entry.name.endswith(".sql"))
    return [folder.joinpath(name).read_text() for name in names]
