"""How a push is, as whoever asks its twin reads it."""

from __future__ import annotations

from pydantic import BaseModel, JsonValue

from twin.model import Kind
from twin.wire.api import TwinBody


class PushState(BaseModel):
    """A push as `edgetwin pushes` tells of it."""

    name: str
    type: str = ""
    target: str = ""
    state: str = "idle"
    why: str = ""
    since: int = 0
    waiting: int = 0
    waiting_bytes: int = 0
    lag_s: int = 0
    sent: int = 0
    dropped: int = 0
    aside: int = 0
    last_sent: int = 0
    gaps: list[dict[str, JsonValue]] = []


def push_state(body: TwinBody) -> PushState:
    """What the twin of a push says."""
    known = {name: leaf.value for name, leaf in body.reported.items() if name in PushState.model_fields}
    return PushState.model_validate({"name": body.twin.removeprefix(f"{Kind.PUSH}/"), **known})
