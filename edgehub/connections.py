"""Connections as the gateway sees them: the specs of their twins, and what `status` shows of those. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from mappers.sdk.config import HostSettings
from mappers.sdk.connection_twin import PROPERTIES, connection_twin
from twin.document import live
from twin.engine import TwinEngine
from twin.model import Kind, Quality, TwinKey, TwinSpec
from twin.wire.api import ConnectionStatus


def connection_specs(settings: HostSettings, gateway: str) -> Iterator[TwinSpec]:
    """One twin a connection; its label says the mapper."""
    for connection in settings.connections:
        key = connection_twin(connection.name)
        if key is not None:
            properties = {spec.name: spec for spec in PROPERTIES}
            labels = (("mapper", connection.mapper),)
            yield TwinSpec(key, uid="", gateway=gateway, labels=labels, properties=properties)


def served_twins(settings: HostSettings) -> Iterator[TwinKey]:
    """Every twin that a host with these settings reports on."""
    for connection in settings.connections:
        key = connection_twin(connection.name)
        if key is not None:
            yield key
        for device in connection.devices:
            yield TwinKey.parse(device.twin)


def connection_status(engine: TwinEngine) -> list[ConnectionStatus]:
    """What is known of every connection, by name."""
    return [_status(engine, key) for key in sorted(engine) if key.kind is Kind.MAPPER]


def _status(engine: TwinEngine, key: TwinKey) -> ConnectionStatus:
    reported = live(engine.document(key).reported)
    known = {name: slot.value for name, slot in reported.items()}
    if "state" in known and reported["state"].quality is Quality.BAD:
        known["state"] = str(reported["state"].reason)
    wanted = {name: value for name, value in known.items() if name in ConnectionStatus.model_fields}
    return ConnectionStatus.model_validate({"name": f"{key.namespace}/{key.name}", **wanted})
