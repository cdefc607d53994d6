"""Each message of ``twin.exchange`` to its JSON object and back: which fields it has there."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from typing import Any, Final

from pydantic import BaseModel

from twin.errors import InvalidMessage
from twin.exchange import (
    Ack,
    Alive,
    Ask,
    Command,
    CommandDone,
    Digests,
    DocumentDigests,
    DocumentRef,
    DocumentRow,
    Documents,
    DocumentState,
    Frame,
    Hello,
    HistoryAck,
    HistoryFrame,
    Place,
    Refusal,
    Run,
    Standing,
    SyncMessage,
    Twins,
    Welcome,
)
from twin.wire import sync_bodies as bodies
from twin.wire.sync_rows import base_of, columns, key_of, place_body, place_of, rows_of, series_body, series_of

Read = Callable[[Any], SyncMessage]


def body_of(message: SyncMessage) -> dict[str, Any]:
    """The JSON object of a message."""
    kind, write = _WRITERS[type(message)]
    return {"type": kind, **write(message)}


# -- sessions ----------------------------------------------------------------------------------------------------


def _write_standing(one: Standing) -> dict[str, Any]:
    return {"runs": one.runs, "met": sorted(one.met), "cursor": one.cursor, "top": one.top}


def _standing(body: bodies.StandingBody) -> Standing:
    return Standing(tuple(Run(*run) for run in body.runs), frozenset(body.met), body.cursor, body.top)


def _write_hello(one: Hello) -> dict[str, Any]:
    return {"nonce": one.nonce, "standing": _write_standing(one.standing)}


def _hello(body: bodies.SyncHello) -> Hello:
    return Hello(body.nonce, _standing(body.standing))


def _write_welcome(one: Welcome) -> dict[str, Any]:
    return {"nonce": one.nonce, "session": one.session, "standing": _write_standing(one.standing)}


def _welcome(body: bodies.SyncWelcome) -> Welcome:
    return Welcome(body.nonce, body.session, _standing(body.standing))


def _write_refusal(one: Refusal) -> dict[str, Any]:
    return {"nonce": one.nonce, "why": one.why, "retry_after_s": one.retry_after_s}


def _refusal(body: bodies.SyncRefusal) -> Refusal:
    return Refusal(body.nonce, body.why, body.retry_after_s)


def _write_alive(one: Alive) -> dict[str, Any]:
    return {"session": one.session}


def _alive(body: bodies.SyncAlive) -> Alive:
    return Alive(body.session)


def _write_ask(one: Ask) -> dict[str, Any]:
    return {"session": one.session, **_flag("hello", one.hello), **_flag("documents", one.documents)}


def _ask(body: bodies.SyncAsk) -> Ask:
    return Ask(body.session, body.hello, body.documents)


# -- twins -------------------------------------------------------------------------------------------------------


def _write_frame(one: Frame) -> dict[str, Any]:
    base = base_of(one.rows)
    twins = {"base": base, "twins": columns(one.rows, base)} if one.rows else {}
    return {"session": one.session, "from": one.from_, "upto": one.upto, **twins}


def _frame(body: bodies.SyncFrame) -> Frame:
    rows = sorted(rows_of(body.twins, body.base), key=lambda row: row.slot.tick)
    return Frame(body.session, body.from_, body.upto, tuple(rows))


def _write_ack(one: Ack) -> dict[str, Any]:
    return {"session": one.session, "cursor": one.cursor, **_flag("again", one.again)}


def _ack(body: bodies.SyncAck) -> Ack:
    return Ack(body.session, body.cursor, body.again)


def _write_digests(one: Digests) -> dict[str, Any]:
    digests = [[str(key), uid, base64.b64encode(found).decode().rstrip("=")] for key, uid, found in one.digests]
    return {
        "session": one.session,
        "digests": digests,
        **_flag("recovering", one.recovering),
        **_place("after", one.after),
        **_place("upto", one.upto),
    }


def _digests(body: bodies.SyncDigests) -> Digests:
    digests = tuple((key_of(twin), uid, _hash(text)) for twin, uid, text in body.digests)
    after, upto = (place_of(one) if one else None for one in (body.after, body.upto))
    return Digests(body.session, digests, body.recovering, after, upto)


def _write_twins(one: Twins) -> dict[str, Any]:
    base = base_of(one.rows)
    twins = {"base": base, "twins": columns(one.rows, base)} if one.rows else {}
    differing = {"differing": [place_body(place) for place in sorted(one.differing)]} if one.differing else {}
    return {"session": one.session, **twins, **_flag("answer", one.answer), **differing, **_place("upto", one.upto)}


def _twins(body: bodies.SyncTwins) -> Twins:
    differing = frozenset(place_of(one) for one in body.differing)
    upto = place_of(body.upto) if body.upto else None
    return Twins(body.session, tuple(rows_of(body.twins, body.base)), body.answer, differing, upto)


# -- documents ---------------------------------------------------------------------------------------------------


def _write_ref(ref: DocumentRef) -> dict[str, Any]:
    return {"kind": ref.kind, "namespace": ref.namespace, "name": ref.name}


def _ref(body: bodies.RefBody) -> DocumentRef:
    return DocumentRef(body.kind, body.namespace, body.name)


def _write_state(one: DocumentState) -> dict[str, Any]:
    living = {"uid": one.uid, "generation": one.generation, "hash": one.hash} if one.uid else {}
    return {**_write_ref(one.ref), **living, **({"gone": sorted(one.gone)} if one.gone else {})}


def _state(body: bodies.DocumentStateBody) -> DocumentState:
    return DocumentState(_ref(body), body.uid, body.generation, body.hash, frozenset(body.gone))


def _write_document_digests(one: DocumentDigests) -> dict[str, Any]:
    return {
        "session": one.session,
        "states": [_write_state(state) for state in one.states],
        "own": [place_body(place) for place in one.own],
        **({"summary": one.summary} if one.summary else {}),
    }


def _document_digests(body: bodies.SyncDocumentDigests) -> DocumentDigests:
    return DocumentDigests(
        body.session, tuple(_state(one) for one in body.states), tuple(place_of(one) for one in body.own), body.summary
    )


def _write_documents(one: Documents) -> dict[str, Any]:
    rows = [{**_write_state(row.state), **({} if row.raw is None else {"raw": row.raw})} for row in one.rows]
    return {"session": one.session, "rows": rows, "wanted": [_write_ref(ref) for ref in one.wanted]}


def _documents(body: bodies.SyncDocuments) -> Documents:
    rows = tuple(DocumentRow(_state(one), one.raw) for one in body.rows)
    return Documents(body.session, rows, tuple(_ref(one) for one in body.wanted))


# -- history and commands ----------------------------------------------------------------------------------------


def _write_history(one: HistoryFrame) -> dict[str, Any]:
    series = [series_body(each) for each in one.series]
    return {"session": one.session, "log": one.log, "from": one.from_, "upto": one.upto, "series": series}


def _history(body: bodies.SyncHistory) -> HistoryFrame:
    series = tuple(series_of(one) for one in body.series)
    return HistoryFrame(body.session, body.log, body.from_, body.upto, series)


def _write_history_ack(one: HistoryAck) -> dict[str, Any]:
    return {"session": one.session, "log": one.log, "upto": one.upto}


def _history_ack(body: bodies.SyncHistoryAck) -> HistoryAck:
    return HistoryAck(body.session, body.log, body.upto)


def _write_command(one: Command) -> dict[str, Any]:
    return {
        "session": one.session,
        "id": one.id,
        "expires_at": one.expires_at,
        "twin": str(one.key),
        "desired": one.desired,
        "by": one.by,
    }


def _command(body: bodies.SyncCommand) -> Command:
    return Command(body.session, body.id, body.expires_at, key_of(body.twin), body.desired, body.by)


def _write_command_done(one: CommandDone) -> dict[str, Any]:
    said = {"code": one.code, "message": one.message, "remedy": one.remedy}
    return {
        "session": one.session,
        "id": one.id,
        "outcome": one.outcome,
        **{name: text for name, text in said.items() if text},
    }


def _command_done(body: bodies.SyncCommandDone) -> CommandDone:
    return CommandDone(body.session, body.id, body.outcome, body.code, body.message, body.remedy)


# -- all of them -------------------------------------------------------------------------------------------------


def _flag(name: str, value: bool) -> dict[str, Any]:
    return {name: True} if value else {}


def _place(name: str, place: Place | None) -> dict[str, Any]:
    return {} if place is None else {name: place_body(place)}


def _hash(text: str) -> bytes:
    try:
        found = base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except ValueError:
        found = b""
    if len(found) != 16:
        message = "a digest is not 16 bytes in base64"
        raise InvalidMessage(message)
    return found


_TABLE: Final[tuple[tuple[type, str, Callable[[Any], dict[str, Any]], type[BaseModel], Read], ...]] = (
    (Hello, "hello", _write_hello, bodies.SyncHello, _hello),
    (Welcome, "welcome", _write_welcome, bodies.SyncWelcome, _welcome),
    (Refusal, "refusal", _write_refusal, bodies.SyncRefusal, _refusal),
    (Frame, "frame", _write_frame, bodies.SyncFrame, _frame),
    (Ack, "ack", _write_ack, bodies.SyncAck, _ack),
    (Digests, "digests", _write_digests, bodies.SyncDigests, _digests),
    (Twins, "twins", _write_twins, bodies.SyncTwins, _twins),
    (DocumentDigests, "document-digests", _write_document_digests, bodies.SyncDocumentDigests, _document_digests),
    (Documents, "documents", _write_documents, bodies.SyncDocuments, _documents),
    (HistoryFrame, "history", _write_history, bodies.SyncHistory, _history),
    (HistoryAck, "history-ack", _write_history_ack, bodies.SyncHistoryAck, _history_ack),
    (Command, "command", _write_command, bodies.SyncCommand, _command),
    (CommandDone, "command-done", _write_command_done, bodies.SyncCommandDone, _command_done),
    (Alive, "alive", _write_alive, bodies.SyncAlive, _alive),
    (Ask, "ask", _write_ask, bodies.SyncAsk, _ask),
)
_WRITERS: Final = {message: (kind, write) for message, kind, write, _, _ in _TABLE}
SHAPES: Final[Mapping[str, tuple[type[BaseModel], Read]]] = {kind: (model, read) for _, kind, _, model, read in _TABLE}
"""The model of each type of message, and what makes the message of it."""
