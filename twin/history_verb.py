"""The verb history: readings and gaps of one property, read beside the commits so that neither waits for the other."""

from __future__ import annotations

import asyncio
from typing import Any

from twin.api import Caller, Served
from twin.document import TwinDocument
from twin.engine import TwinEngine
from twin.errors import HistoryOff, UnknownProperty
from twin.history import Cursor, History, HistoryPage, HistoryQuery
from twin.model import Keep, PropertySpec, TwinKey
from twin.wire.api import GapBody, HistoryReply, HistoryRequest, ReadingBody, Verb


class HistoryVerb:
    """Serves the history of an engine's twins."""

    def __init__(self, engine: TwinEngine, history: History) -> None:
        self._engine = engine
        self._history = history

    def verbs(self) -> dict[Verb, Served[Any]]:
        """What an ApiServer is to serve."""
        return {Verb.HISTORY: Served(HistoryRequest, self.history)}

    async def history(self, request: HistoryRequest, _: Caller) -> HistoryReply:
        """One page; nothing that is not on disk yet, and everything that is."""
        await self._engine.decided()
        document = self._engine.document(TwinKey.parse(request.twin))
        page = await asyncio.to_thread(self._history.read, history_query(document, request))
        return history_reply(document, request, page)


def history_reply(document: TwinDocument, request: HistoryRequest, page: HistoryPage) -> HistoryReply:
    """The answer to a request. Raises HistoryOff if nothing is, or ever was, kept of the property."""
    spec = _property(document, request.property)
    if spec.history.keep is Keep.OFF and not page.readings and not page.gaps:
        text = f"{document.spec.key}: {spec.name} keeps no history"
        remedy = f"Write `history: {{keep: changes}}` at {spec.name} in the device model or the device, and apply it."
        raise HistoryOff(text, remedy=remedy)
    return _reply(document, spec, page)


def _property(document: TwinDocument, name: str) -> PropertySpec:
    spec = document.spec.properties.get(name)
    if spec is None:
        known = ", ".join(sorted(document.spec.properties))
        text = f"{document.spec.key}: there is no property {name!r}"
        raise UnknownProperty(text, remedy=f"It has {known}." if known else "It has none.")
    return spec


def history_query(document: TwinDocument, request: HistoryRequest) -> HistoryQuery:
    """What a request asks of the history of a twin. Raises UnknownProperty."""
    _property(document, request.property)
    at, _, tick = request.after.partition(":")
    after = Cursor(int(at), int(tick)) if tick else None
    spec = document.spec
    return HistoryQuery(spec.key, spec.uid, request.property, request.since, request.until, request.limit, after)


def _reply(document: TwinDocument, spec: PropertySpec, page: HistoryPage) -> HistoryReply:
    last = page.readings[-1] if page.more else None
    return HistoryReply(
        twin=str(document.spec.key),
        property=spec.name,
        unit=spec.unit,
        keep=spec.history.keep,
        drop=spec.history.drop,
        readings=[
            ReadingBody(at=one.at, value=one.value, quality=one.quality, reason=one.reason) for one in page.readings
        ],
        gaps=[GapBody(since=one.first, until=one.last, count=one.readings, why=one.why) for one in page.gaps],
        after=f"{last.at}:{last.tick}" if last is not None else "",
    )
