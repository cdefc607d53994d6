"""A mapper host alone on a broker, told to poll registers of libmodbus peers."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from mappers.sdk.config import ConnectionSettings, DeviceSettings, HostSettings, PointSettings
from tests.bench.figure import Scale
from tests.bench.rig import Child, RunningBroker, child, module
from twin.model import ReportPolicy, ValueType


@contextmanager
def mapper_host(on: RunningBroker, scale: Scale) -> Iterator[Child]:
    """`python -m mappers.sdk.host` with the account of the broker's one user."""
    who = {
        "host": "127.0.0.1",
        "port": on.port,
        "account": on.account.name,
        "password": on.account.password,
        "client_id": "mapper",
    }
    with child(module("mappers.sdk.host"), log=scale.folder / "mapper.log") as process:
        process.tell(json.dumps(who))
        yield process


def one_connection(config: Mapping[str, object], devices: Sequence[DeviceSettings]) -> HostSettings:
    """One Modbus connection named bench/bus."""
    return HostSettings(
        connections=(
            ConnectionSettings(name="bench/bus", mapper="modbus", config=dict(config), devices=tuple(devices)),
        )
    )


def registers(count: int, *, cycle_ms: int = 1, full: bool = False) -> tuple[PointSettings, ...]:
    """Holding registers from 0 on as r0, r1, ...; 1 in 4 is scaled. full: limits and a deadband on each as well."""
    return tuple(_register(number, cycle_ms, full=full) for number in range(count))


def _register(number: int, cycle_ms: int, *, full: bool) -> PointSettings:
    scaled = number % 4 == 0
    return PointSettings(
        property=f"r{number}",
        type=ValueType.DOUBLE if scaled else ValueType.INT,
        cycle_ms=cycle_ms,
        minimum=-5 if full else None,
        maximum=65535 if full else None,
        report=ReportPolicy(deadband=0.05 if scaled else 0.5) if full else ReportPolicy(),
        visitor={
            "table": "holding",
            "address": number,
            "type": "uint16",
            **({"scale": 0.1, "offset": -5} if scaled else {}),
        },
    )
