"""Settings as they arrive -> what a runner serves, in the mapper's own types; each problem with its key path."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from mappers.sdk.config import ConnectionSettings, DeviceSettings, PointSettings
from mappers.sdk.convert import Scaling
from mappers.sdk.driver import ConnectionConfig, DeviceConfig, Mapper, Point, PointConfig, WriteBack, WriteKind
from mappers.sdk.errors import InvalidSettings
from twin.errors import InvalidName
from twin.model import PropertySpec, TwinKey
from twin.validate import Rule

M = TypeVar("M", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class BoundPoint:
    """One property ready to be served. It is written at ``point``, and read there if no ``read_from`` is given."""

    spec: PropertySpec
    rule: Rule
    cycle_ms: int
    point: Point[PointConfig]
    scaling: Scaling
    read_from: tuple[Point[PointConfig], Scaling] | None = None

    @property
    def source(self) -> Point[PointConfig]:
        """Where it is read."""
        return self.read_from[0] if self.read_from else self.point

    @property
    def source_scaling(self) -> Scaling:
        """From what is read there to what is reported."""
        return self.read_from[1] if self.read_from else self.scaling

    @property
    def write_back(self) -> WriteBack:
        """How it is written."""
        return self.point.address.write_back

    @property
    def is_read(self) -> bool:
        """Whether it is read at all."""
        return self.write_back.kind is WriteKind.CONFIRMED


@dataclass(frozen=True, slots=True)
class BoundDevice:
    """One device ready to be served. ``broken`` are properties whose settings the mapper cannot use."""

    key: TwinKey
    settings: DeviceSettings
    address: DeviceConfig | None
    points: tuple[BoundPoint, ...]
    broken: tuple[PropertySpec, ...]

    @property
    def specs(self) -> tuple[PropertySpec, ...]:
        """All properties, usable or not."""
        return (*(bound.spec for bound in self.points), *self.broken)


@dataclass(frozen=True, slots=True)
class Binding:
    """One connection's devices, and what was wrong with the settings, one line a problem."""

    devices: tuple[BoundDevice, ...]
    problems: tuple[str, ...]


def bind_connection(settings: ConnectionSettings, mapper: Mapper) -> ConnectionConfig:
    """Check what is needed to reach the bus or host. Raises InvalidSettings naming the key path."""
    try:
        return mapper.connection.model_validate(settings.config)
    except ValidationError as error:
        problems = "; ".join(_problems(f"connection {settings.name}: config", error))
        raise InvalidSettings(problems, remedy=f"Mend the settings of mapper {mapper.name}.") from None


def bind_devices(settings: ConnectionSettings, mapper: Mapper | None) -> Binding:
    """Check devices and points one by one, so that a bad one harms no other; without a mapper all are broken."""
    problems: list[str] = []
    devices: list[BoundDevice] = []
    for number, device in enumerate(settings.devices):
        where = f"connection {settings.name}: devices[{number}] {device.twin}"
        try:
            key = TwinKey.parse(device.twin)
        except InvalidName as error:
            problems.append(f"{where}: {error.message}")
            continue
        devices.append(_device(key, device, mapper, where, problems))
    return Binding(tuple(devices), tuple(problems))


def spec_of(point: PointSettings) -> PropertySpec:
    """What the model says of the property, as the twin has it."""
    return PropertySpec(
        name=point.property,
        type=point.type,
        access=point.access,
        minimum=point.minimum,
        maximum=point.maximum,
        enum=tuple(point.enum),
        unit=point.unit,
        tolerance=point.tolerance,
        report=point.report,
    )


def _device(
    key: TwinKey, settings: DeviceSettings, mapper: Mapper | None, where: str, problems: list[str]
) -> BoundDevice:
    specs = tuple(spec_of(point) for point in settings.points)
    address = None if mapper is None else _checked(mapper.device, settings.address, f"{where}: address", problems)
    if mapper is None or address is None:
        return BoundDevice(key, settings, None, (), specs)
    points: list[BoundPoint] = []
    broken: list[PropertySpec] = []
    for number, (point, spec) in enumerate(zip(settings.points, specs, strict=True)):
        path = f"{where}: points[{number}].visitor ({spec.name})"
        visitor = _checked(mapper.point, point.visitor, path, problems)
        if visitor is not None and (
            said := visitor.write_back.mismatch(spec.type, {one.name for one in specs} - {spec.name})
        ):
            problems.append(f"{path}: {said}")
            visitor = None
        if visitor is None:
            broken.append(spec)
            continue
        scaling = Scaling(spec.type, visitor.scale, visitor.offset)
        points.append(BoundPoint(spec, Rule(spec), point.cycle_ms, Point(spec.name, spec.type, visitor), scaling))
    found = _with_sources(points, where, problems)
    broken += [bound.spec for bound in points if bound.spec.name not in found]
    return BoundDevice(key, settings, address, tuple(found.values()), tuple(broken))


def _with_sources(points: list[BoundPoint], where: str, problems: list[str]) -> dict[str, BoundPoint]:
    """Points by name; one that is read where another property is gets that one's address."""
    by_name = {bound.spec.name: bound for bound in points}
    found = {}
    for name, bound in by_name.items():
        wanted = bound.write_back.read_from
        other = by_name.get(wanted, bound)
        if wanted and (other is bound or not other.is_read or other.write_back.read_from):
            problems.append(f"{where}: {name}: writeBack.readFrom {wanted} is not read at an address of its own")
            continue
        if wanted:
            visitor = other.point.address
            scaling = Scaling(bound.spec.type, visitor.scale, visitor.offset)
            bound = replace(bound, read_from=(Point(name, bound.spec.type, visitor), scaling))
        found[name] = bound
    return found


def _checked(model: type[M], settings: dict[str, Any], where: str, problems: list[str]) -> M | None:
    try:
        return model.model_validate(settings)
    except ValidationError as error:
        problems.extend(_problems(where, error))
        return None


def _problems(where: str, error: ValidationError) -> list[str]:
    return [
        ".".join((where, *(str(step) for step in problem["loc"]))) + f": {problem['msg']}"
        for problem in error.errors(include_url=False, include_input=False)
    ]
