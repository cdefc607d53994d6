"""GatewayState as a row of the table ``gateway``: columns for what SQL looks at, one JSON text for the rest. Pure."""

from __future__ import annotations

from typing import Any, Final

from pydantic import TypeAdapter

from cloudsync.store import GatewayState
from cloudsync.store.cells import escaped, unescaped
from cloudsync.store.database import Record

_COLUMNS: Final = ("tick", "cursor", "session", "heard_at", "online", "worker", "worker_until", "mended", "agreed")
STATE: Final = ("name", *_COLUMNS, "state")

_STATE: Final = TypeAdapter(GatewayState)
_APART: Final = {"gateway", *_COLUMNS}


def to_row(state: GatewayState) -> tuple[Any, ...]:
    """The columns, in the order of STATE."""
    columns = (getattr(state, name) for name in _COLUMNS)
    told = (escaped(value) if isinstance(value, str) else value for value in columns)
    return (state.gateway, *told, _STATE.dump_json(state, exclude=_APART).decode())


def from_row(row: Record) -> GatewayState:
    """Read back what ``to_row`` made."""
    gateway, *columns, text = row
    rest = _STATE.validate_json(f'{{"gateway":"",{text[1:]}' if len(text) > 2 else '{"gateway":""}')
    rest.gateway = gateway
    for name, value in zip(_COLUMNS, columns, strict=True):
        setattr(rest, name, unescaped(value) if isinstance(value, str) else value)
    rest.online, rest.agreed = bool(rest.online), bool(rest.agreed)  # SQLite has no booleans
    return rest
