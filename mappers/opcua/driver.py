"""OPC UA with asyncua; I/O only. Points are subscribed to where the server lets them, and read where it does not.

One connection is one session. Several publish requests are in flight beside the runner's one call at a time.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass, field

from asyncua import ua
from asyncua.ua.attribute_ids import AttributeIds
from asyncua.ua.status_codes import StatusCodes
from asyncua.ua.uaerrors import UaError, UaStatusCodeError

from mappers.opcua.config import OpcuaConnection, OpcuaDevice, OpcuaPoint, OpcuaScan
from mappers.opcua.discover import discover
from mappers.opcua.items import Told
from mappers.opcua.nodes import Nodes, Place, place_of
from mappers.opcua.reading import ASKED_TIMES, put_value
from mappers.opcua.session import Session
from mappers.opcua.watch import Watch
from mappers.opcua.writing import Writer
from mappers.sdk import (
    Fault,
    FoundDevice,
    Listener,
    MapperError,
    Point,
    Progress,
    Quality,
    Readings,
    Reason,
    Subscribed,
    Value,
    WriteRefused,
)

log = logging.getLogger(__name__)

_NOT_TOLD = Fault(Reason.CONFIG_ERROR, "events need a subscription, which the server or the settings refuse")
_NEVER_CALLED = Fault(Reason.STALE, "not called since the mapper started", Quality.UNCERTAIN)


@dataclass(slots=True, eq=False)
class NodePlan:
    """Points of one device, and what is known of them on the server."""

    points: dict[str, OpcuaPoint]
    places: dict[str, Place]
    """Of those that can be read or watched; a method alone cannot."""
    told: Told | None = None
    told_names: frozenset[str] = field(default_factory=frozenset)


class OpcuaDriver:
    """Reads, watches and writes the nodes of one server."""

    def __init__(self, config: OpcuaConnection) -> None:
        """Store the settings; ``connect`` acts."""
        self._config = config
        self._per_call = config.items_per_call
        self._watch = Watch(config)
        self._session = Session(config, self._watch.lost)
        self._nodes = Nodes(self._session)
        self._writer = Writer(self._session, self._nodes)
        self._called: dict[tuple[str, str], Value] = {}

    async def connect(self) -> None:
        """Open a session. Raises NotConnected."""
        await self.close()
        await self._session.open()
        self._nodes = Nodes(self._session)
        self._writer = Writer(self._session, self._nodes)
        try:
            await self._watch.begin(self._session)
            await self._watch.take_over()
        except (UaError, OSError, TimeoutError) as error:
            raise self._session.error(error, "taking over subscriptions") from error

    async def close(self) -> None:
        """Let go of the session."""
        await self._watch.end()
        await self._session.close()

    def plan(self, device: OpcuaDevice, points: Sequence[Point[OpcuaPoint]]) -> NodePlan:
        """Note where each point is; nothing is looked up."""
        return NodePlan(
            {point.name: point.address for point in points},
            {
                point.name: place_of(device.node, point.address)
                for point in points
                if point.address.reads or point.address.events
            },
        )

    async def read(self, plan: NodePlan) -> Readings:
        """Read the planned points. Raises NotConnected or DeviceTimeout."""
        readings = Readings()
        nodes = await self._resolve(plan, readings)
        names = [name for name in nodes if plan.points[name].reads]
        start = 0
        while start < len(names):
            part = names[start : start + self._per_call]
            values = await self._read([nodes[name] for name in part])
            if values is None:
                continue  # with fewer at once
            for name, value in zip(part, values, strict=True):
                put_value(readings, name, value)
            start += len(part)
        for name, point in plan.points.items():
            if point.events:
                _put_event(readings, name, plan.told)
            elif not point.reads:
                self._put_called(readings, name, point)
        return readings

    async def write(self, device: OpcuaDevice, point: Point[OpcuaPoint], value: Value) -> None:
        """Write a variable, or call a method. Raises WriteRefused, NotConnected or DeviceTimeout."""
        address = point.address
        if address.events:
            message = f"{point.name} is the events of a node and cannot be written"
            raise WriteRefused(message, remedy="Make the property read-only.")
        if address.method:
            owner = Place(address.object) if address.object else Place(device.node)
            found = await self._nodes.find([owner, Place(address.method)])
            await self._writer.call(
                _node(found[owner], point.name), _node(found[Place(address.method)], point.name), point.name, value
            )
            self._called[address.object, address.method] = value
            return
        place = place_of(device.node, address)
        found = await self._nodes.find([place])
        await self._writer.write(_node(found[place], point.name), point.name, value)

    async def subscribe(self, plan: NodePlan, cycle_ms: int, listener: Listener) -> Subscribed:
        """Have the server watch the nodes; what it refuses is polled. Raises MapperError and its kinds."""
        if not self._config.subscribe:
            message = f"OPC UA at {self._config.url}: subscribe is false"
            raise MapperError(message)
        self._session.check_open()
        if plan.told is not None:
            alive_s = self._watch.resume(plan.told, listener)
            if alive_s is not None:
                return Subscribed(alive_s, frozenset(plan.points.keys() - plan.told_names))
            plan.told = None
        nodes = await self._resolve(plan, Readings())
        wanted = {name: node for name, node in nodes.items() if not plan.points[name].poll}
        if not wanted:
            message = f"OPC UA at {self._config.url}: there is no node to watch"
            raise MapperError(message)
        try:
            told, alive_s, refused = await self._watch.add(wanted, plan.points, cycle_ms, listener)
        except MapperError:
            raise
        except Exception as error:
            raise self._session.error(error, "subscribing") from error
        plan.told, plan.told_names = told, frozenset(wanted) - refused
        return Subscribed(alive_s, frozenset(plan.points.keys() - plan.told_names))

    async def unsubscribe(self, plan: NodePlan) -> None:
        """Watch the plan's nodes no more. Raises NotConnected."""
        told, plan.told = plan.told, None
        if told is None:
            return
        try:
            await self._watch.remove(told)
        except (UaError, OSError, TimeoutError) as error:
            raise self._session.error(error, "unsubscribing") from error

    async def discover(self, wanted: OpcuaScan, tell: Callable[[Progress], None]) -> AsyncGenerator[FoundDevice, None]:
        """Browse the server. Raises NotConnected."""
        try:
            async for found in discover(self._session, wanted, tell):
                yield found
        except (UaError, OSError, TimeoutError) as error:
            raise self._session.error(error, "browsing") from error

    async def _resolve(self, plan: NodePlan, readings: Readings) -> dict[str, ua.NodeId]:
        """The nodes of a plan; those that were not found get a fault."""
        found = await self._nodes.find(plan.places.values())
        nodes: dict[str, ua.NodeId] = {}
        for name, place in plan.places.items():
            node = found[place]
            if isinstance(node, Fault):
                readings.faults[name] = node
            else:
                nodes[name] = node
        return nodes

    async def _read(self, nodes: list[ua.NodeId]) -> list[ua.DataValue] | None:
        """Read values; None if the server takes fewer at once, which is kept in mind."""
        wanted = ua.ReadParameters(
            TimestampsToReturn=ASKED_TIMES[self._config.timestamp],
            NodesToRead=[ua.ReadValueId(NodeId=node, AttributeId=AttributeIds.Value) for node in nodes],
        )
        try:
            return await self._session.session.read(wanted)
        except Exception as error:
            too_many = isinstance(error, UaStatusCodeError) and error.code == StatusCodes.BadTooManyOperations
            if too_many and len(nodes) > 1:
                self._per_call = max(1, len(nodes) // 2)
                return None
            raise self._session.error(error, f"reading {len(nodes)} nodes") from error

    def _put_called(self, readings: Readings, name: str, point: OpcuaPoint) -> None:
        """A method has no value: what it was last called with stands for one."""
        with contextlib.suppress(KeyError):
            readings.values[name] = self._called[point.object, point.method]
            return
        readings.faults[name] = _NEVER_CALLED


def _put_event(readings: Readings, name: str, told: Told | None) -> None:
    """Events are told; what is read is the last one."""
    if told is None:
        readings.faults[name] = _NOT_TOLD
    elif name in told.events:
        readings.values[name] = told.events[name]


def _node(found: ua.NodeId | Fault, name: str) -> ua.NodeId:
    if isinstance(found, Fault):
        message = f"{name} was not written: {found.text}"
        raise WriteRefused(message)
    return found
