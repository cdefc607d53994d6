"""Devices that are not there: ``simulate: true`` on a device or connection of any protocol.

The mapper's own models still check all settings; its driver is never made. A connection with devices of both kinds
becomes two, of which only the real one is opened. Simulated values are reported under a name of their own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from mappers.sdk.binding import BoundDevice
from mappers.sdk.config import ConnectionSettings
from mappers.sdk.connection_twin import SIMULATED
from mappers.sdk.convert import Scaling
from mappers.sdk.driver import DeviceConfig, Point, PointConfig, Readings
from mappers.sdk.signals import Signal, seed_of
from twin.clock import Clock
from twin.model import PropertySpec, TwinKey, Value


class SimulatedDevice(DeviceConfig):
    """Stands for the protocol's own address of a device."""

    key: TwinKey


class SimulatedPoint(PointConfig):
    """Stands for the protocol's own visitor: what the model says is all that is needed."""

    spec: PropertySpec


@dataclass(slots=True)
class Simulator:
    """A driver without a device. Values are in units of the model; ``time_s`` is the wall clock's."""

    time_s: Callable[[], float]
    _written: dict[tuple[TwinKey, str], Value] = field(default_factory=dict)

    async def connect(self) -> None:
        """Nothing to open."""

    async def close(self) -> None:
        """Nothing to let go of; what was written stays."""

    def plan(
        self, device: SimulatedDevice, points: Sequence[Point[SimulatedPoint]]
    ) -> dict[str, tuple[TwinKey, Signal]]:
        """Seed a course for each property."""
        return {
            point.name: (device.key, Signal(point.address.spec, seed_of(str(device.key), point.name)))
            for point in points
        }

    async def read(self, plan: dict[str, tuple[TwinKey, Signal]]) -> Readings:
        """Read all courses where they are now; what was written stays near its value."""
        now_s = self.time_s()
        readings = Readings()
        for name, (key, signal) in plan.items():
            place = key, name
            if place in self._written:
                readings.values[name] = signal.near(self._written[place], now_s)
            else:
                readings.values[name] = signal.at(now_s)
        return readings

    async def write(self, device: SimulatedDevice, point: Point[SimulatedPoint], value: Value) -> None:
        """Take the value."""
        self._written[device.key, point.name] = value


def simulator(clock: Clock) -> Simulator:
    """A simulator on the wall clock: a course goes on where it would be after a restart."""
    return Simulator(lambda: clock.now_us() / 1e6)


def halves(settings: ConnectionSettings) -> Iterator[ConnectionSettings]:
    """Split a connection into its real and its simulated devices; a half without devices is left out."""
    simulated = tuple(device for device in settings.devices if device.simulate)
    if len(simulated) < len(settings.devices) or not settings.devices:
        real = tuple(device for device in settings.devices if not device.simulate)
        yield settings.model_copy(update={"devices": real})
    if simulated:
        yield settings.model_copy(update={"name": settings.name + SIMULATED, "devices": simulated})


def is_simulated(settings: ConnectionSettings) -> bool:
    """Whether it is the simulated half of a connection."""
    return settings.name.endswith(SIMULATED)


def simulated(bound: BoundDevice) -> BoundDevice:
    """Put the simulator's settings in place of the protocol's; points that are broken stay so."""
    if bound.address is None:
        return bound
    points = tuple(
        replace(
            one,
            point=Point(one.spec.name, one.spec.type, SimulatedPoint(spec=one.spec)),
            scaling=Scaling(one.spec.type),
            read_from=None,
        )
        for one in bound.points
    )
    return replace(bound, address=SimulatedDevice(key=bound.key), points=points)
