"""What the hub tells the dashboard's process, on its standard input."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class PageSetup(BaseModel):
    """One dashboard."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    fd: int
    """The socket that listens already."""
    gateway: str
    state: str
    names: tuple[str, ...]
    broker_host: str
    broker_port: int
    account: str
    password: str = Field(repr=False)
    certfile: str = ""
    """Empty: without TLS."""
    keyfile: str = ""
    log_level: str = "info"
    first_s: float
    """Until a connection has asked something whole."""
    idle_s: float
    """It ends when nobody was connected for so long."""
