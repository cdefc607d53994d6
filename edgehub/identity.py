"""Who the gateway is and since when, as its own twin and its status tell it; it stands while the hub runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import ClassVar, Self

from edgehub.local_broker import BrokerAccess
from edgehub.system import system
from twin.model import Value, ValueType


@dataclass(frozen=True, slots=True)
class Identity:
    """Of one gateway, from one start to its end."""

    TYPES: ClassVar[Mapping[str, ValueType]] = {
        "version": ValueType.STRING,
        "broker": ValueType.STRING,
        "started_at": ValueType.INT,
        "system": ValueType.JSON,
    }
    """What the gateway's own twin has of it."""

    gateway: str
    release: str
    folder: Path
    broker: str
    """HOST:PORT."""
    started_ms: int
    system: Mapping[str, Value]

    @classmethod
    def here(cls, gateway: str, folder: Path, access: BrokerAccess, now_ms: int) -> Self:
        """Of a hub that starts now, on this machine."""
        return cls(gateway, version("edgetwin"), folder, f"{access.host}:{access.port}", now_ms, system())

    def reported(self) -> dict[str, Value]:
        """What the gateway's own twin says of it."""
        return {
            "version": self.release,
            "broker": self.broker,
            "started_at": self.started_ms,
            "system": dict(self.system),
        }
