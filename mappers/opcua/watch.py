"""The subscriptions of one session: made, filled with items, taken over after a reconnect, ended.

After a loss the server keeps a subscription for its lifetime. A new session asks for it with TransferSubscriptions, so
that nothing which was queued meanwhile is lost; a server that has forgotten it gets a new one.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Mapping, Sequence
from typing import Final

from asyncua import ua
from asyncua.ua.ua_binary import struct_to_binary
from asyncua.ua.uaerrors import UaError

from mappers.opcua.config import OpcuaConnection, OpcuaPoint
from mappers.opcua.items import FILTER_REFUSED, Item, Subscription, Told, request_of, tell_alive, tell_changes
from mappers.opcua.nodes import Nodes
from mappers.opcua.notification import Change, Published, read_publish
from mappers.opcua.publish import PublishWindow
from mappers.opcua.reading import ASKED_TIMES
from mappers.opcua.session import Session, name_of
from mappers.opcua.values import read_variant
from mappers.sdk import Listener, NotConnected

log = logging.getLogger(__name__)

_LIVES: Final = 3  # keep-alive periods that a subscription outlives; OPC 10000-4, 5.13.2 asks for at least so many
_PER_MESSAGE: Final = 1000
_MAX_MISSED: Final = 100


class Watch:
    """What the server watches for us, over all sessions of one connection."""

    def __init__(self, config: OpcuaConnection) -> None:
        self._config = config
        self._subscriptions: dict[int, Subscription] = {}
        self._by_cycle: dict[int, Subscription] = {}
        self._items: dict[int, Item] = {}
        self._handle = 0
        self._window: PublishWindow | None = None
        self._session: Session | None = None
        self._listeners: set[Listener] = set()

    async def begin(self, session: Session) -> None:
        """Start on a new session."""
        self._session = session
        self._window = PublishWindow(session.session, self._config.publish_window, self._on_published, self.lost)

    async def end(self) -> None:
        """Ask for nothing any more; what the server keeps is remembered."""
        window, self._window, self._session = self._window, None, None
        self._listeners.clear()
        if window is not None:
            await window.close()

    def lost(self, cause: str) -> None:
        """Tell one listener that the connection is gone; it is the whole connection's, so one is enough."""
        if self._session is None:
            return
        error: NotConnected = self._session.not_connected(cause)
        for listener in list(self._listeners)[:1]:
            listener.lost(error)

    async def add(
        self, nodes: Mapping[str, ua.NodeId], points: Mapping[str, OpcuaPoint], cycle_ms: int, listener: Listener
    ) -> tuple[Told, float, frozenset[str]]:
        """Have nodes watched. Returns what was made, how long silence is fine, and the names that were refused."""
        assert self._session is not None
        assert self._window is not None
        subscription = self._by_cycle.get(cycle_ms) or await self._new(cycle_ms)
        told = Told(listener, subscription.id)
        subscription.plans.append(told)
        self._listeners.add(listener)
        self._window.fill()
        refused = await self._create(subscription, told, nodes, points, cycle_ms)
        return told, subscription.alive_s, refused

    async def remove(self, told: Told) -> None:
        """Watch these no more."""
        subscription = self._subscriptions.get(told.subscription)
        self._listeners.discard(told.listener)
        for handle in told.item_ids:
            self._items.pop(handle, None)
        if subscription is None or told not in subscription.plans or self._session is None:
            return
        subscription.plans.remove(told)
        if not subscription.plans:
            self._forget(subscription.id)
            await self._session.session.delete_subscriptions([subscription.id])
            return
        ids = list(told.item_ids.values())
        for start in range(0, len(ids), self._config.items_per_call):
            part = [ua.UInt32(one) for one in ids[start : start + self._config.items_per_call]]
            wanted = ua.DeleteMonitoredItemsParameters(SubscriptionId=ua.UInt32(subscription.id), MonitoredItemIds=part)
            await self._session.session.delete_monitored_items(wanted)

    async def take_over(self) -> None:
        """Have the new session carry on the subscriptions of the last one; those the server forgot are forgotten."""
        assert self._session is not None
        assert self._window is not None
        if not self._subscriptions:
            return
        ids = list(self._subscriptions)
        wanted = ua.TransferSubscriptionsParameters(
            SubscriptionIds=[ua.UInt32(one) for one in ids], SendInitialValues=True
        )
        try:
            results: Sequence[ua.TransferResult | None] = await self._session.session.transfer_subscriptions(wanted)
        except UaError as error:
            log.debug("%s: no subscription is taken over: %s", self._config.url, error)
            results = [None] * len(ids)
        for one, result in zip(ids, results, strict=False):
            if result is None or not result.StatusCode.is_good():
                said = name_of(result.StatusCode.value) if result is not None else "no answer"
                log.info("%s: a subscription is not taken over: %s", self._config.url, said)
                self._forget(one)
        if self._subscriptions:
            log.info("%s: %d of %d subscriptions go on where they were", self._config.url, len(self._subscriptions),
                     len(ids))  # fmt: skip

    def resume(self, told: Told, listener: Listener) -> float | None:
        """Have a plan's items of the last session tell a new listener; None if the server has forgotten them."""
        subscription = self._subscriptions.get(told.subscription)
        if subscription is None or told not in subscription.plans or self._window is None:
            return None
        told.listener = listener
        self._listeners.add(listener)
        self._window.fill()
        return subscription.alive_s

    async def _new(self, cycle_ms: int) -> Subscription:
        assert self._session is not None
        config = self._config
        keep_alives = max(1, math.ceil(config.keep_alive_ms / cycle_ms))
        lives = max(_LIVES * keep_alives, math.ceil(config.session_timeout_ms / cycle_ms))
        wanted = ua.CreateSubscriptionParameters(
            RequestedPublishingInterval=ua.Double(cycle_ms),
            RequestedLifetimeCount=ua.UInt32(lives),
            RequestedMaxKeepAliveCount=ua.UInt32(keep_alives),
            MaxNotificationsPerPublish=ua.UInt32(_PER_MESSAGE),
            PublishingEnabled=True,
        )
        made = await self._session.session.create_subscription(wanted, _unused)
        interval_ms = made.RevisedPublishingInterval
        if interval_ms != cycle_ms:
            log.info("%s: publishes every %g ms in place of %d", config.url, interval_ms, cycle_ms)
        alive_s = (2 * made.RevisedMaxKeepAliveCount * interval_ms + config.timeout_ms) / 1000
        subscription = Subscription(made.SubscriptionId, interval_ms, alive_s)
        self._subscriptions[made.SubscriptionId] = self._by_cycle[cycle_ms] = subscription
        return subscription

    async def _create(
        self,
        subscription: Subscription,
        told: Told,
        nodes: Mapping[str, ua.NodeId],
        points: Mapping[str, OpcuaPoint],
        cycle_ms: int,
    ) -> frozenset[str]:
        refused: set[str] = set()
        names, deadbands = list(nodes), None
        while names:
            unfiltered: list[str] = []
            for start in range(0, len(names), self._config.items_per_call):
                part = names[start : start + self._config.items_per_call]
                for name, code in await self._call(subscription, told, part, nodes, points, cycle_ms, deadbands):
                    if deadbands is None and code in FILTER_REFUSED:
                        unfiltered.append(name)
                    else:
                        log.debug("%s: %s is not watched: %s", self._config.url, name, name_of(code))
                        refused.add(name)
            if unfiltered:
                log.info("%s: refused %d deadbands; they are kept here", self._config.url, len(unfiltered))
                deadbands = await self._own_deadbands(unfiltered, nodes, points)
            names = unfiltered
        return frozenset(refused)

    async def _call(
        self,
        subscription: Subscription,
        told: Told,
        names: Sequence[str],
        nodes: Mapping[str, ua.NodeId],
        points: Mapping[str, OpcuaPoint],
        cycle_ms: int,
        deadbands: Mapping[str, float] | None,
    ) -> list[tuple[str, int]]:
        """Create items; returns the names that were refused, with the code. ``deadbands`` are kept here."""
        assert self._session is not None
        handles = range(self._handle + 1, self._handle + 1 + len(names))
        self._handle += len(names)
        for handle, name in zip(handles, names, strict=True):
            # First values may come before the answer.
            self._items[handle] = Item(told, name, (deadbands or {}).get(name, 0.0), events=points[name].events)
        wanted = ua.CreateMonitoredItemsParameters(
            SubscriptionId=ua.UInt32(subscription.id),
            TimestampsToReturn=ASKED_TIMES[self._config.timestamp],
            ItemsToCreate=[
                request_of(nodes[name], handle, points[name], cycle_ms, filtered=deadbands is None)
                for handle, name in zip(handles, names, strict=True)
            ],
        )
        results = await self._session.session.create_monitored_items(wanted)
        refused = []
        for handle, name, result in zip(handles, names, results, strict=True):
            if result.StatusCode.is_good():
                told.item_ids[handle] = result.MonitoredItemId
            else:
                del self._items[handle]
                refused.append((name, result.StatusCode.value))
        return refused

    async def _own_deadbands(
        self, names: Sequence[str], nodes: Mapping[str, ua.NodeId], points: Mapping[str, OpcuaPoint]
    ) -> dict[str, float]:
        """Deadbands to be kept here; a percentage is of the node's EURange, and 0 without one."""
        assert self._session is not None
        finder = Nodes(self._session)
        return {
            name: points[name].deadband or await self._span(finder, nodes[name]) * points[name].deadband_percent / 100
            for name in names
        }

    async def _span(self, finder: Nodes, node: ua.NodeId) -> float:
        assert self._session is not None
        place = await finder.child(node, "EURange")
        if place is None:
            return 0.0
        limits = (await self._session.client.get_node(place).read_data_value(raise_on_bad_status=False)).Value
        value = limits.Value if limits is not None else None
        return float(value.High - value.Low) if isinstance(value, ua.Range) else 0.0

    def _on_published(self, published: Published) -> None:
        subscription = self._subscriptions.get(published.subscription)
        if subscription is None:
            return
        if published.ended:
            self._forget(subscription.id)
            self.lost(f"the server ended a subscription: {name_of(published.ended)}")
            return
        missed = subscription.missed(published)
        if missed:
            self._ask_again(subscription, missed)
        if published.has_notification:
            subscription.number = published.number
        told = self._tell(published.changes)
        tell_alive(subscription, told, asyncio.get_running_loop().time())

    def _tell(self, changes: list[Change]) -> set[Told]:
        return tell_changes(changes, self._items) if changes else set()

    def _ask_again(self, subscription: Subscription, missed: range) -> None:
        log.info("%s: %d messages of a subscription did not come", self._config.url, len(missed))
        if self._window is not None and len(missed) <= _MAX_MISSED:
            self._window.also(self._republish(subscription.id, missed))

    async def _republish(self, subscription: int, missed: range) -> None:
        """Ask for messages that were lost on the way; the server may have dropped them."""
        for number in missed:
            if self._session is None:
                return
            try:
                message = await self._session.session.republish(subscription, number)
            except (UaError, OSError, TimeoutError) as error:
                log.debug("%s: message %d is lost: %s", self._config.url, number, error)
                return
            answer = ua.PublishResponse()
            answer.Parameters.SubscriptionId = ua.UInt32(subscription)
            answer.Parameters.NotificationMessage = message
            self._tell(read_publish(struct_to_binary(answer), read_variant).changes)

    def _forget(self, subscription: int) -> None:
        forgotten = self._subscriptions.pop(subscription, None)
        if forgotten is None:
            return
        self._by_cycle = {cycle: one for cycle, one in self._by_cycle.items() if one is not forgotten}
        for told in forgotten.plans:
            for handle in told.item_ids:
                self._items.pop(handle, None)


def _unused(_: ua.PublishResult) -> None:
    """Asyncua wants somebody to call; the window reads the answers itself."""
