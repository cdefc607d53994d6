"""Monitored items: what the server is asked to watch, in which subscription, and what of it comes back to whom.

Points whose cycle is the same share one subscription, whatever their device: servers allow few subscriptions and many
items.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from asyncua import ua
from asyncua.ua.attribute_ids import AttributeIds
from asyncua.ua.status_codes import StatusCodes

from mappers.opcua.config import OpcuaPoint
from mappers.opcua.events import LEAST_QUEUE, event_filter, event_of
from mappers.opcua.notification import Change, Published
from mappers.opcua.reading import put_change
from mappers.sdk import Listener, Readings, Value

FILTER_REFUSED: Final = frozenset(
    {
        StatusCodes.BadMonitoredItemFilterUnsupported,
        StatusCodes.BadMonitoredItemFilterInvalid,
        StatusCodes.BadFilterNotAllowed,
        StatusCodes.BadDeadbandFilterInvalid,
    }
)
_ALIVE_EVERY_S: Final = 1.0


@dataclass(slots=True, eq=False)
class Told:
    """One plan that is told: who listens, and its items by client handle."""

    listener: Listener
    subscription: int = 0
    item_ids: dict[int, int] = field(default_factory=dict)
    """The server's number of each item, by our handle."""
    events: dict[str, Value] = field(default_factory=dict)
    """The last event of each point that has events."""


@dataclass(slots=True, eq=False)
class Item:
    """One monitored item. ``deadband`` is kept here where the server refused it; 0 for none."""

    told: Told
    name: str
    deadband: float = 0.0
    last: Value = None
    events: bool = False


@dataclass(slots=True, eq=False)
class Subscription:
    """One subscription on the server, and the plans whose items are in it."""

    id: int
    interval_ms: float
    alive_s: float
    plans: list[Told] = field(default_factory=list)
    number: int = 0
    """Number of the last message that came; 0 before the first."""
    alive_at: float = 0.0

    def missed(self, published: Published) -> range:
        """Numbers of messages between the last that came and this one."""
        if not published.has_notification or not self.number or published.number <= self.number:
            return range(0)
        return range(self.number + 1, published.number)


def request_of(
    node: ua.NodeId, handle: int, point: OpcuaPoint, cycle_ms: int, *, filtered: bool
) -> ua.MonitoredItemCreateRequest:
    """Ask the server to watch one node."""
    parameters = ua.MonitoringParameters(
        ClientHandle=ua.UInt32(handle),
        SamplingInterval=ua.Double(cycle_ms if point.sampling_ms is None else point.sampling_ms),
        QueueSize=ua.UInt32(point.queue),
        DiscardOldest=True,
    )
    if point.events:
        parameters.QueueSize = ua.UInt32(max(point.queue, LEAST_QUEUE))
        parameters.Filter = event_filter(point.min_severity)
    elif filtered and (point.deadband or point.deadband_percent):
        kind = ua.DeadbandType.Absolute if point.deadband else ua.DeadbandType.Percent
        parameters.Filter = ua.DataChangeFilter(
            Trigger=ua.DataChangeTrigger.StatusValue,
            DeadbandType=ua.UInt32(kind),
            DeadbandValue=ua.Double(point.deadband or point.deadband_percent),
        )
    watched = ua.ReadValueId(
        NodeId=node, AttributeId=AttributeIds.EventNotifier if point.events else AttributeIds.Value
    )
    return ua.MonitoredItemCreateRequest(
        ItemToMonitor=watched, MonitoringMode=ua.MonitoringMode.Reporting, RequestedParameters=parameters
    )


def tell_changes(changes: list[Change], items: dict[int, Item]) -> set[Told]:
    """Give each plan its changes, in as few readings as their order allows; returns who was told."""
    open_readings: dict[Told, Readings] = {}
    for change in changes:
        item = items.get(change.handle)
        if item is None:  # taken out while its last values were under way
            continue
        if item.deadband and _within(item, change):
            continue
        name, told = item.name, item.told
        if item.events:
            event, time_ms = event_of(change)
            told.events[name] = event
            change = change._replace(value=event, source_ms=time_ms)
        readings = open_readings.get(told)
        if readings is None:
            readings = open_readings[told] = Readings()
        elif name in readings.values or name in readings.faults:  # a queue: each value goes, in order
            told.listener.tell(readings)
            readings = open_readings[told] = Readings()
        if change.status or change.value is None:
            put_change(readings, name, change)
            continue
        readings.values[name] = change.value
        time_ms = change.source_ms or change.server_ms
        if time_ms > 0:
            readings.times_ms[name] = time_ms
    for told, readings in open_readings.items():
        told.listener.tell(readings)
    return set(open_readings)


def tell_alive(subscription: Subscription, told: set[Told], now_s: float) -> None:
    """Tell the other plans of a subscription that it lives; at most once a second, for it may be a busy one."""
    if told and now_s - subscription.alive_at < _ALIVE_EVERY_S:
        return
    subscription.alive_at = now_s
    for plan in subscription.plans:
        if plan not in told:
            plan.listener.alive()


def _within(item: Item, change: Change) -> bool:
    """Whether a value is too near to the last one told; a change of quality always goes."""
    value, last = change.value, item.last
    numbers = isinstance(value, int | float) and isinstance(last, int | float)
    if change.status == 0 and numbers and abs(value - last) <= item.deadband:  # type: ignore[operator]  # numbers
        return True
    item.last = value if change.status == 0 else None
    return False
