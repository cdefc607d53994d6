"""Bundles and rollouts in SQL that every database takes."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Final

from pydantic import TypeAdapter

from cloudsync.store.cells import escaped, unescaped
from cloudsync.store.database import Database, listed, numbered
from cloudsync.store.rollouts import Bundle, Rollout

_BUNDLE: Final = ("sha256", "size_bytes", "version", "compatible", "name", "added_at")
_PUT_BUNDLE: Final = (
    f"INSERT INTO bundle ({listed(_BUNDLE)}) VALUES ({numbered(1, len(_BUNDLE))}) ON CONFLICT (sha256) DO UPDATE SET"
    + ", ".join(f" {name} = excluded.{name}" for name in _BUNDLE[1:])
)


class SqlRollouts:
    """The bundles and rollouts of a store."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def bundles(self) -> list[Bundle]:
        """All, the newest first."""
        async with self._database.reading() as connection:
            rows = await connection.fetch(f"SELECT {listed(_BUNDLE)} FROM bundle ORDER BY added_at DESC, sha256")
        return [
            Bundle(sha256, size_bytes, unescaped(version), unescaped(compatible), unescaped(name), added_at)
            for sha256, size_bytes, version, compatible, name, added_at in rows
        ]

    async def put_bundle(self, bundle: Bundle) -> None:
        """Write one down, or again."""
        words = map(escaped, (bundle.version, bundle.compatible, bundle.name))
        async with self._database.writing() as connection:
            await connection.fetch(_PUT_BUNDLE, bundle.sha256, bundle.size_bytes, *words, bundle.added_at)

    async def drop_bundle(self, sha256: str) -> None:
        """Forget one; nothing happens if there is none."""
        async with self._database.writing() as connection:
            await connection.fetch("DELETE FROM bundle WHERE sha256 = $1", sha256)

    async def rollouts(self, *, looked_after: bool = False) -> list[Rollout]:
        """All, the newest first; or those that somebody has still to look after."""
        where = " WHERE looked_after" if looked_after else ""
        async with self._database.reading() as connection:
            rows = await connection.fetch(f"SELECT revision, txt FROM rollout{where} ORDER BY made_at DESC, id")
        return [replace(_adapter().validate_json(text), revision=revision) for revision, text in rows]

    async def put(self, rollout: Rollout, *, looked_after: bool) -> bool:
        """Write one down; False, and nothing is written, if another has changed it since it was read."""
        text = _adapter().dump_json(rollout).decode()
        if not rollout.revision:
            sql = "INSERT INTO rollout (id, revision, looked_after, made_at, txt) VALUES ($1, $2 + 1, $3, $4, $5)"
            sql += " ON CONFLICT DO NOTHING RETURNING revision"
        else:
            sql = "UPDATE rollout SET revision = $2 + 1, looked_after = $3, made_at = $4, txt = $5"
            sql += " WHERE id = $1 AND revision = $2 RETURNING revision"
        async with self._database.writing() as connection:
            found = await connection.fetch(sql, rollout.id, rollout.revision, looked_after, rollout.made_at, text)
        return bool(found)


@cache
def _adapter() -> TypeAdapter[Rollout]:
    return TypeAdapter(Rollout)
