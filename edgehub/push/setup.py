"""What the hub tells the process of the pushes, on its standard input. No secret is in it."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, JsonValue


class PushSetup(BaseModel):
    """One push."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    queue: int
    name: str
    type: str
    config: dict[str, JsonValue]
    max_readings: int
    wait_ms: int
    timeout_ms: int
    route: str = ""


class PushesSetup(BaseModel):
    """All pushes of a gateway."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    gateway: str
    state: str
    retry_cap_s: float
    log_level: str
    watchdog_s: float
    pushes: tuple[PushSetup, ...]
