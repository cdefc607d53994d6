"""Sends what twins have to report, and again until the hub has it on disk."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Iterable, Mapping
from math import inf
from random import Random
from types import MappingProxyType
from typing import Final

from mappers.sdk.convert import bad
from mappers.sdk.inflight import InFlight
from mappers.sdk.report import Changes, Reporter
from twin.clock import Clock
from twin.errors import EdgetwinError
from twin.link import Link, LinkState, Message, Unsubscribe
from twin.model import PropertySpec, Reason, TwinKey, Value
from twin.wire import codec, topics
from twin.wire.messages import Ack, Mark

log = logging.getLogger(__name__)

_REMEMBERED_REFUSALS: Final = 100  # of one twin; each is logged once, and what comes after them at level debug


class Outbox:
    """All reports of one account: their numbers, their acks, and the twins they are of.

    A report goes at most once (qos 0) and is kept in mind until it is acknowledged, so a dead broker or hub costs
    nothing but the wait: the newest values go again when it is back.
    """

    def __init__(self, link: Link, account: str, clock: Clock, rng: Random) -> None:
        self._link = link
        self._account = account
        self._clock = clock
        self._rng = rng
        self._next_id = 0
        self._reporters: dict[int, TwinOutbox] = {}
        self._twins: set[TwinOutbox] = set()
        self._stops: list[Unsubscribe] = []

    async def open(self) -> None:
        """Listen for acks."""
        self._next_id = self._clock.now_us()  # so that an ack for an earlier run of this host means nothing here
        self._stops.append(self._link.on_state(self._on_state))
        self._stops.append(await self._link.subscribe(topics.ack(self._account), self._on_ack))

    def close(self) -> None:
        """Stop all timers and listen no more."""
        for twin in tuple(self._twins):
            twin.close()
        for stop in self._stops:
            stop()
        self._stops.clear()

    def twin(self, key: TwinKey, specs: Iterable[PropertySpec]) -> TwinOutbox:
        """Start reporting for a twin; its properties' policies come with the specs."""
        topic = topics.report(self._account, key)
        twin = TwinOutbox(self, key, topic, Reporter(specs), InFlight(self._rng), self._clock)
        self._twins.add(twin)
        return twin

    def repeat(self) -> None:
        """Send every twin's last values again: a hub that came back may have an older store."""
        for twin in self._twins:
            twin.repeat()

    def publish(self, twin: TwinOutbox, changes: Changes) -> list[tuple[int, Changes]]:
        """Send changes, in as many reports as the size limit asks for; returns each report's id and content."""
        if self._link.state is not LinkState.UP:
            return [(self._follow(twin), changes)]
        report_id = self._follow(twin)
        at, times = _dated(changes, max(0, self._clock.now_us() // 1000))
        payload = codec.encode_report(report_id, at, changes.values, changes.marks, times)
        if len(payload) <= codec.MAX_REPORT_BYTES:
            self._link.publish(twin.topic, payload)
            return [(report_id, changes)]
        self.unfollow((report_id,))
        names = changes.names()
        if len(names) == 1:
            name = next(iter(names))
            log.warning("%s: the value of %s is over the size limit of a report and is not sent", twin.key, name)
            return self.publish(twin, Changes(marks={name: bad(Reason.OUT_OF_RANGE)}))
        return [part for half in changes.halves() for part in self.publish(twin, half)]

    def unfollow(self, report_ids: Iterable[int]) -> None:
        """Expect no ack for these reports any more."""
        for report_id in report_ids:
            self._reporters.pop(report_id, None)

    def forget(self, twin: TwinOutbox) -> None:
        """Stop reporting for a twin; TwinOutbox.close calls it."""
        self._twins.discard(twin)
        self.unfollow([report_id for report_id, owner in self._reporters.items() if owner is twin])

    def _follow(self, twin: TwinOutbox) -> int:
        self._next_id += 1
        self._reporters[self._next_id] = twin
        return self._next_id

    def _on_state(self, state: LinkState) -> None:
        if state is LinkState.UP:
            for twin in self._twins:
                twin.resend()

    def _on_ack(self, message: Message) -> None:
        try:
            ack = codec.decode(Ack, message.payload, what=f"ack on {message.topic}")
        except EdgetwinError as error:
            log.warning("an ack was not understood: %s", error)
            return
        for refused in ack.refused:
            twin = self._reporters.get(refused.id)
            if twin is not None:
                twin.refused(refused.error.code, refused.error.message)
        for report_id in (*ack.stored, *(refused.id for refused in ack.refused)):
            twin = self._reporters.pop(report_id, None)
            if twin is not None:
                twin.acked(report_id)


class TwinOutbox:
    """Reports of one twin: what changed, what is held back, what is unacknowledged, and one timer for the last two."""

    def __init__(
        self, outbox: Outbox, key: TwinKey, topic: str, reporter: Reporter, in_flight: InFlight, clock: Clock
    ) -> None:
        self.key = key
        self.topic = topic
        self._outbox = outbox
        self._reporter = reporter
        self._in_flight = in_flight
        self._clock = clock
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = inf
        self._refusals: set[str] = set()
        self._closed = False

    def offer(
        self,
        values: Mapping[str, Value],
        marks: Mapping[str, Mark],
        times_ms: Mapping[str, int] = MappingProxyType({}),
    ) -> None:
        """Take in one cycle and send what of it is worth a report. times_ms: source times, of those that have one."""
        now_s = self._clock.monotonic_s()
        self._send(self._reporter.changes(values, marks, now_s, times_ms), now_s)

    def resend(self) -> None:
        """Send everything that is unacknowledged again, with its newest values."""
        names, ids = self._in_flight.reclaim()
        self._outbox.unfollow(ids)
        self._send(self._reporter.repeat(names), self._clock.monotonic_s())

    def repeat(self) -> None:
        """Send all last values again."""
        _, ids = self._in_flight.reclaim()
        self._outbox.unfollow(ids)
        self._send(self._reporter.repeat(), self._clock.monotonic_s())

    def acked(self, report_id: int) -> None:
        """Note that a report is settled."""
        self._in_flight.acked(report_id, self._clock.monotonic_s())
        if self._in_flight.due_at < self._timer_at:
            self._arm()

    def refused(self, code: str, text: str) -> None:
        """Note that the hub did not store a part of a report; each refusal is logged once."""
        fresh = text not in self._refusals and len(self._refusals) < _REMEMBERED_REFUSALS
        if fresh:
            self._refusals.add(text)
        level = logging.WARNING if fresh else logging.DEBUG
        log.log(level, "%s: the hub refused a report (%s): %s", self.key, code, text)

    def close(self) -> None:
        """Stop the timer and be forgotten."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._closed = True
        self._outbox.forget(self)

    def _send(self, changes: Changes, now_s: float) -> None:
        if self._closed:  # a call to the device outlived it
            return
        if changes:
            for report_id, part in self._outbox.publish(self, changes):
                dropped = self._in_flight.sent(report_id, part, now_s)
                if dropped is not None:
                    self._outbox.unfollow((dropped,))
        if min(self._in_flight.due_at, self._reporter.next_at()) < self._timer_at:
            self._arm()

    def _arm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer_at = min(self._in_flight.due_at, self._reporter.next_at())
        if self._timer_at == inf:
            self._timer = None
            return
        wait_s = max(0.0, self._timer_at - self._clock.monotonic_s())
        self._timer = asyncio.get_running_loop().call_later(wait_s, self._on_timer)

    def _on_timer(self) -> None:
        self._timer, self._timer_at = None, inf
        now_s = self._clock.monotonic_s() + 1e-6  # a timer may fire a hair early
        if self._in_flight.due_at <= now_s:
            self.resend()
        self._send(self._reporter.released(now_s), now_s)
        self._arm()


def _dated(changes: Changes, now_ms: int) -> tuple[int, dict[str, int]]:
    """The source time that most of the readings share, and those of the others; now, where the source says none."""
    times_ms = changes.times_ms
    if not times_ms:
        return now_ms, {}
    if len(times_ms) < len(changes.names()):
        times_ms = dict.fromkeys(changes.names(), now_ms) | times_ms
    ((at, _),) = Counter(times_ms.values()).most_common(1)
    return at, {name: time_ms for name, time_ms in times_ms.items() if time_ms != at}
