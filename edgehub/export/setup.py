"""What is exported from where to where; also what the hub tells the process that does it. No secret is in it."""

from __future__ import annotations

from typing import Final

from pydantic import BaseModel, ConfigDict

TIMEOUT_S: Final = 10.0


class SourceSetup(BaseModel):
    """One endpoint, and as whose metrics its answers go."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    url: str
    instance: str


class ExportSetup(BaseModel):
    """One export; ``source_token_file`` is for the endpoints, ``token_file`` for the collector."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    sources: tuple[SourceSetup, ...]
    url: str
    every_s: float
    headers: dict[str, str] = {}
    token_file: str = ""
    source_token_file: str = ""
    ca: str = ""
    timeout_s: float = TIMEOUT_S


class ChildSetup(BaseModel):
    """The same for the hub's own process."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    export: ExportSetup
    log_level: str
    watchdog_s: float
