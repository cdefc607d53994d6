"""Makes, changes and removes twins as their documents say; many at once cost as many statements as one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple, TypeAlias

from cloudsync.store.cells import escaped
from cloudsync.store.database import Connection, Dialect
from cloudsync.store.joining import delete_twins
from cloudsync.store.shapes import shapes_of, spec_text
from cloudsync.store.twin_rows import place_columns
from twin.errors import Refused
from twin.model import TwinKey, TwinSpec

_Names: TypeAlias = tuple[str, str, str]
"""Kind, namespace, name."""

_DEFINED: Final = (
    "SELECT t.kind, t.namespace, t.name, t.id, t.gateway, t.uid, t.version, s.spec, coalesce(h.digest, '') FROM twin t"
    " JOIN spec s ON s.twin = t.id LEFT JOIN shape h ON h.id = t.shape"
    " WHERE t.documented AND (t.kind, t.namespace, t.name) IN {keys}"
)
_WAITING: Final = (
    "SELECT kind, namespace, name, uid, id, version FROM twin"
    " WHERE gateway = $1 AND NOT documented AND (kind, namespace, name, uid) IN {places}"
)
_ENDED: Final = "SELECT kind, namespace, name, version FROM ended WHERE (kind, namespace, name) IN {keys}"
_END: Final = (
    "INSERT INTO ended AS e (kind, namespace, name, version)"
    " SELECT r.kind, r.namespace, r.name, r.version FROM {rows} WHERE true"
    " ON CONFLICT (kind, namespace, name) DO UPDATE SET version ="
    " CASE WHEN excluded.version > e.version THEN excluded.version ELSE e.version END"
)
_MADE: Final = ("gateway", "kind", "namespace", "name", "uid", "version")
_MADE_TYPES: Final = (*("text",) * 5, "int8")
_MAKE: Final = (
    "INSERT INTO twin (gateway, kind, namespace, name, uid, version, model, shape, documented, edge_tick, cloud_tick)"
    " SELECT r.gateway, r.kind, r.namespace, r.name, r.uid, r.version, '', 0, true, 0, 0 FROM {rows} WHERE true"
    " RETURNING kind, namespace, name, id, version"
)
_CHANGE: Final = (
    "UPDATE twin SET documented = true, version = r.version, model = r.model, shape = r.shape FROM {rows}"
    " WHERE twin.id = r.id"
)
_PUT_SPEC: Final = (
    "INSERT INTO spec (twin, spec) SELECT r.twin, r.spec FROM {rows} WHERE true"
    " ON CONFLICT (twin) DO UPDATE SET spec = excluded.spec"
)
_PUT_LABEL: Final = "INSERT INTO label (twin, name, value) SELECT r.twin, r.name, r.value FROM {rows}"


class _Twin(NamedTuple):
    """A twin that is defined."""

    id: int
    gateway: str
    uid: str
    version: int
    spec: str
    digest: str


async def define(connection: Connection, dialect: Dialect, gateway: str, specs: Iterable[TwinSpec]) -> bool:
    """Make twins or give them new specs; whether that changed anything. Raises Refused: nothing was written then."""
    wanted = {_names(spec.key): spec for spec in specs}
    texts = {names: spec_text(spec) for names, spec in wanted.items()}
    other: dict[_Names, _Twin] = {}
    changed: dict[_Names, tuple[int, int]] = {}  # id and new version of those that are there
    for names, twin in (await _defined(connection, dialect, wanted)).items():
        spec = wanted[names]
        if twin.gateway != gateway:
            message = f"{spec.key} is a twin of gateway {twin.gateway}"
            remedy = f"Give it another name or namespace, or delete it at {twin.gateway} first."
            raise Refused(message, remedy=remedy)
        if twin.uid != escaped(spec.uid):
            other[names] = twin
        elif (twin.spec, twin.digest) != (texts[names].own, texts[names].digest if texts[names].shared else ""):
            changed[names] = (twin.id, twin.version + 1)
        else:
            del wanted[names]
    if not wanted:
        return False
    await _end(connection, dialect, other)
    shapes = await shapes_of(connection, dialect, [(spec, texts[names]) for names, spec in wanted.items()])
    fresh = {names: spec for names, spec in wanted.items() if names not in changed}
    floors = await _floors(connection, dialect, fresh)
    changed |= await _awaited(connection, dialect, gateway, fresh, floors)
    new = [
        (gateway, *names, escaped(spec.uid), floors.get(names, 0) + (not spec.open))  # an open one begins before 1
        for names, spec in fresh.items()
        if names not in changed
    ]
    made = {
        (kind, namespace, name): (id_, version)
        for kind, namespace, name, id_, version in await connection.each(_MAKE, _MADE, _MADE_TYPES, new)
    }
    lines = []
    for names, (id_, version) in (*changed.items(), *made.items()):
        shape = shapes[texts[names].digest] if texts[names].shared else 0
        lines.append((id_, version, escaped(wanted[names].model), shape))
    await connection.each(_CHANGE, ("id", "version", "model", "shape"), ("int8", "int8", "text", "int8"), lines)
    specs_ = [(id_, texts[names].own) for names, (id_, _) in (*changed.items(), *made.items())]
    await connection.each(_PUT_SPEC, ("twin", "spec"), ("int8", "text"), specs_)
    await _label(connection, dialect, [(id_, wanted[names]) for names, (id_, _) in changed.items()], again=True)
    await _label(connection, dialect, [(id_, wanted[names]) for names, (id_, _) in made.items()], again=False)
    return True


async def remove(connection: Connection, dialect: Dialect, gateway: str, key: TwinKey) -> bool:
    """Delete a twin of this gateway with all its leaves; whether there was one."""
    found = await _defined(connection, dialect, [_names(key)])
    own = {names: twin for names, twin in found.items() if twin.gateway == gateway}
    await _end(connection, dialect, own)
    return bool(own)


async def _defined(connection: Connection, dialect: Dialect, keys: Iterable[_Names]) -> dict[_Names, _Twin]:
    """The twins of these keys, of whatever gateway."""
    found, parameters = dialect.table(1, ("text",) * 3, list(keys))
    rows = await connection.fetch(_DEFINED.format(keys=found), *parameters)
    return {(row[0], row[1], row[2]): _Twin(*tuple(row)[3:]) for row in rows}


async def _end(connection: Connection, dialect: Dialect, twins: Mapping[_Names, _Twin]) -> None:
    """Delete twins, but not their versions, which are never given again."""
    if twins:
        rows = [(*names, twin.version) for names, twin in twins.items()]
        await connection.each(_END, ("kind", "namespace", "name", "version"), ("text", "text", "text", "int8"), rows)
        await delete_twins(connection, dialect, [twin.id for twin in twins.values()])


async def _floors(connection: Connection, dialect: Dialect, keys: Iterable[_Names]) -> dict[_Names, int]:
    """The greatest versions that twins of these keys ever had."""
    found, parameters = dialect.table(1, ("text",) * 3, list(keys))
    rows = await connection.fetch(_ENDED.format(keys=found), *parameters)
    return {(kind, namespace, name): version for kind, namespace, name, version in rows}


async def _awaited(
    connection: Connection,
    dialect: Dialect,
    gateway: str,
    fresh: Mapping[_Names, TwinSpec],
    floors: Mapping[_Names, int],
) -> dict[_Names, tuple[int, int]]:
    """Id and new version of those twins whose rows came before their document."""
    places = [place_columns((spec.key, spec.uid)) for spec in fresh.values()]
    found, parameters = dialect.table(2, ("text",) * 4, places)
    rows = await connection.fetch(_WAITING.format(places=found), gateway, *parameters)
    return {
        (kind, namespace, name): (id_, max(version, floors.get((kind, namespace, name), 0)) + 1)
        for kind, namespace, name, _, id_, version in rows
    }


async def _label(
    connection: Connection, dialect: Dialect, twins: Sequence[tuple[int, TwinSpec]], *, again: bool
) -> None:
    """Write labels; ``again``: in place of earlier ones."""
    if twins and again:
        among, parameters = dialect.table(1, ("int8",), [(id_,) for id_, _ in twins])
        await connection.fetch(f"DELETE FROM label WHERE twin IN {among}", *parameters)
    labels = [(id_, escaped(name), escaped(value)) for id_, spec in twins for name, value in spec.labels]
    await connection.each(_PUT_LABEL, ("twin", "name", "value"), ("int8", "text", "text"), labels)


def _names(key: TwinKey) -> _Names:
    return key.kind.value, key.namespace, key.name
