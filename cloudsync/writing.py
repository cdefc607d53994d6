"""Desired values written in the cloud: the rules of the edge's engine, as a turn on the gateway's rows.

async with hub.change(gateway) as turn:
    version = await set_desired(turn, key, {"valve": 40}, by="ann")
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from cloudsync.turn import Turn
from twin.document import DELETED, Leaf, Slot, SlotValue, TwinDocument
from twin.errors import UnknownTwin, VersionMismatch
from twin.exchange import Row
from twin.merge import known_tick
from twin.model import Section, Site, TwinKey, Value
from twin.resident import ResidentTwin, Rules
from twin.store import TwinRow
from twin.validate import refusal


async def set_desired(
    turn: Turn,
    key: TwinKey,
    values: Mapping[str, Value],
    *,
    unset: Iterable[str] = (),
    by: str,
    version: int | None = None,
) -> int:
    """Write desired values, all or none, and delete those of ``unset``; the version that the twin has then.

    Raises UnknownTwin, VersionMismatch if ``version`` is not the current one, UnknownProperty or InvalidValue naming
    every property that is wrong. Nothing is answered before the turn has ended well.
    """
    return await update(turn, key, {**values, **dict.fromkeys(unset, DELETED)}, by=by, version=version)


async def update(
    turn: Turn, key: TwinKey, desired: Mapping[str, SlotValue], *, by: str, version: int | None = None
) -> int:
    """The same with deletes among the values."""
    document = await turn.tx.document(key)
    if document is None:
        message = f"there is no twin {key} at gateway {turn.state.gateway}"
        raise UnknownTwin(message, remedy="`edgetwin cloud get` lists the twins.")
    check(document, desired, version=version)
    if not desired:
        return document.version
    await turn.merge(_rows(turn, document, desired, by))
    return document.version + 1


def check(document: TwinDocument, desired: Mapping[str, SlotValue], *, version: int | None = None) -> None:
    """Whether these values may be written now; raises as ``set_desired`` does. For a dry run, too."""
    key = document.spec.key
    if version is not None and version != document.version:
        message = f"{key} is at version {document.version}, not {version}"
        raise VersionMismatch(message, remedy="Get the twin again and decide anew.")
    twin = ResidentTwin(TwinRow(0, document.spec, document.version), Rules(document.spec.properties))
    twin.desired = dict(document.desired)
    broken = [text for name, value in desired.items() if (text := twin.not_settable(name, value))]
    if broken:
        raise refusal(key, broken)


async def write_document_desired(turn: Turn, key: TwinKey, said: Mapping[str, Value], *, by: str) -> None:
    """Write what a Device document desires, when it is applied here; what stands already is not written again."""
    document = await turn.tx.document(key)
    assert document is not None
    await turn.merge(_rows(turn, document, said, by))


def _rows(turn: Turn, document: TwinDocument, desired: Mapping[str, SlotValue], by: str) -> list[Row]:
    spec = document.spec
    rows = []
    for name, value in desired.items():
        seen = known_tick(document.desired.get(name, Leaf()), Site.CLOUD)
        slot = Slot(value, turn.take_tick(), seen, by, turn.now_ms)
        rows.append(Row(spec.key, spec.uid, Section.DESIRED, name, Site.CLOUD, slot))
    return rows
