"""What specs say of properties, kept once for all twins that have the same: models are long, and twins are many."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

from cloudsync.store.cells import escaped
from cloudsync.store.database import Connection, Dialect
from twin.model import ConflictPolicy, PropertySpec, TwinSpec
from twin.spec_text import text_of

_FOUND: Final = "SELECT digest, id FROM shape WHERE digest IN {digests}"
_PUT: Final = (
    "INSERT INTO shape (digest, properties) SELECT r.digest, r.properties FROM {rows} WHERE true"
    " ON CONFLICT (digest) DO NOTHING RETURNING digest, id"
)
_PUT_PROPERTY: Final = (
    "INSERT INTO shape_property (shape, property, conflict, unit)"
    " SELECT r.shape, r.property, r.conflict, r.unit FROM {rows}"
)


class SpecText(NamedTuple):
    """The text of a spec in two: what is of one twin, and what it says of properties (empty: nothing)."""

    own: str
    shared: str

    @property
    def digest(self) -> str:
        """Names the shared part."""
        return hashlib.blake2b(self.shared.encode(), digest_size=16).hexdigest()

    @property
    def whole(self) -> str:
        """As twin.spec_text reads it."""
        return f"{self.own}\n{self.shared}" if self.shared else self.own


def spec_text(spec: TwinSpec) -> SpecText:
    """The text of a spec."""
    own, _, shared = text_of(spec).partition("\n")
    return SpecText(own, shared)


async def shapes_of(
    connection: Connection, dialect: Dialect, specs: Iterable[tuple[TwinSpec, SpecText]]
) -> Mapping[str, int]:
    """The numbers of the shared parts, by digest; those that are new are written. Without one it is 0."""
    wanted = {text.digest: (spec, text.shared) for spec, text in specs if text.shared}
    if not wanted:
        return {}
    # In one order, because two transactions that make the same ones wait for each other.
    digests = sorted(wanted)
    known = await _known(connection, dialect, digests)
    new = [(digest, wanted[digest][1]) for digest in digests if digest not in known]
    if not new:
        return known
    for digest, id_ in await connection.each(_PUT, ("digest", "properties"), ("text", "text"), new):
        known[digest] = id_
        await _describe(connection, id_, wanted[digest][0].properties)
    if len(known) < len(wanted):  # another transaction made some meanwhile, and has ended
        known = await _known(connection, dialect, digests)
    return known


async def _known(connection: Connection, dialect: Dialect, digests: Iterable[str]) -> dict[str, int]:
    among, parameters = dialect.table(1, ("text",), [(digest,) for digest in digests])
    rows = await connection.fetch(_FOUND.format(digests=among), *parameters)
    return {row[0]: row[1] for row in rows}


async def _describe(connection: Connection, shape: int, properties: Mapping[str, PropertySpec]) -> None:
    rows = [
        (shape, escaped(name), one.conflict.value, escaped(one.unit))
        for name, one in properties.items()
        if one.unit or one.conflict is not ConflictPolicy.LATEST
    ]
    if rows:
        names = ("shape", "property", "conflict", "unit")
        await connection.each(_PUT_PROPERTY, names, ("int8", "text", "text", "text"), rows)
