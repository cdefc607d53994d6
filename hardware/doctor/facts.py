"""What the doctor knows besides the hardware: the gateway's disk, clock, certificate, hub, and the ports it uses."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, Field, ValidationError

from twin.errors import EdgetwinError


@dataclass(frozen=True, slots=True)
class PortUse:
    """A connection of the documents that names a serial port."""

    connection: str
    port: str


@dataclass(frozen=True, slots=True)
class Facts:
    """The state of the gateway, as far as it can be known; None: it is not there."""

    now_s: float
    made_s: float
    """When the program was made."""
    free_bytes: int
    total_bytes: int
    certificate_ends_s: float | None
    """None: it has joined no cloud."""
    hub_status_age_s: float | None
    """None: no hub has run here."""
    broker: str
    """As the hub says, such as ``127.0.0.1:1883 (up)``."""
    cloud: str
    """State of the line to the cloud, as the hub says; empty: there is none."""
    alarms: tuple[str, ...]
    ports: tuple[PortUse, ...]


def gather(state: Path, made_s: float) -> Facts:
    """Look at the gateway whose state folder this is. Reads only; needs no hub."""
    at = next(one for one in (state, *state.parents) if one.exists())
    disk = os.statvfs(at)
    age_s, broker, cloud, alarms = _hub(state)
    return Facts(
        time.time(),
        made_s,
        disk.f_bavail * disk.f_frsize,
        disk.f_blocks * disk.f_frsize,
        _certificate_ends_s(state),
        age_s,
        broker,
        cloud,
        alarms,
        tuple(_ports(state)),
    )


def _hub(state: Path) -> tuple[float | None, str, str, tuple[str, ...]]:
    from edgehub.health import read_health
    from edgehub.state import StateFolder

    try:
        health = read_health(StateFolder(state).health)
    except EdgetwinError:
        return None, "", "", ()
    status = health.status
    cloud = status.sync.state if status.sync is not None else ""
    return time.time() - health.written_at / 1000, status.broker, cloud, tuple(status.alarms)


def _certificate_ends_s(state: Path) -> float | None:
    from edgehub.cloud_keys import CloudKeys
    from edgehub.state import StateFolder

    keys = CloudKeys(StateFolder(state).keys)
    try:
        return keys.ends_at() / 1000 if keys.connection() is not None else None
    except (EdgetwinError, OSError):
        return 0.0


class _Config(BaseModel):
    serial_port: str = Field("", alias="serialPort")


class _Spec(BaseModel):
    config: _Config = _Config.model_validate({})


class _Name(BaseModel):
    name: str


class _Row(BaseModel):
    """As much of a stored document as is asked for here."""

    kind: str
    metadata: _Name
    spec: _Spec = _Spec()


def _ports(state: Path) -> Iterator[PortUse]:
    """From the registry's file as it is: a hub may hold it, and is not to be disturbed."""
    from edgehub.state import StateFolder

    try:
        tables = json.loads(StateFolder(state).registry.read_bytes())["tables"]
        rows = [row for table in tables.values() for row in table.values()]
    except (OSError, ValueError, KeyError, AttributeError, TypeError):
        return
    for row in rows:
        try:
            one = _Row.model_validate(row)
        except ValidationError:
            continue
        if one.kind == "Connection" and one.spec.config.serial_port:
            yield PortUse(one.metadata.name, one.spec.config.serial_port)
