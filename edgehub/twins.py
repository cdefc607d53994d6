"""The gateway's twins on the local broker: reports in, acks after the commit, retained deltas out."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Final

from twin.clock import Clock
from twin.commit import Commit
from twin.engine import TwinEngine
from twin.errors import EdgetwinError, Refused
from twin.link import Link, Message
from twin.merge import value_of
from twin.model import Kind, Quality, Reason, TwinKey
from twin.reading import PropertyMark
from twin.wire import topics
from twin.wire.codec import decode_report, encode
from twin.wire.messages import Ack, Delta, DesiredValue, ErrorBody, RefusedReport

log = logging.getLogger(__name__)

UNREADABLE: Final = -1
"""The id of a report whose own id could not be read."""
_MAX_TOPICS: Final = 10_000


@dataclass(slots=True)
class Counters:
    """What went through since the start."""

    reports: int = 0
    updates: int = 0
    refused: int = 0


@dataclass(slots=True)
class _Acks:
    stored: list[int] = field(default_factory=list)
    refused: list[RefusedReport] = field(default_factory=list)


class LocalTwins:
    """Binds the engine to the local broker."""

    def __init__(self, engine: TwinEngine, link: Link, clock: Clock, gateway: str) -> None:
        self._engine = engine
        self._link = link
        self._clock = clock
        self._gateway = gateway
        self._topics: dict[str, topics.ReportTopic] = {}
        self._acks: dict[str, _Acks] = {}
        self._acks_of: Commit | None = None
        self._published: dict[TwinKey, dict[str, DesiredValue]] = {}
        self._stops: list[Callable[[], None]] = []
        self.counters = Counters()
        self._followers: list[Callable[[TwinKey], None]] = []

    def follow_deltas(self, follower: Callable[[TwinKey], None]) -> None:
        """Tell the follower of each twin whose delta is another than before, or has to be told again."""
        self._followers.append(follower)

    async def open(self) -> None:
        """Publish every delta and start to take reports."""
        self._stops.append(self._engine.watch_deltas(self._publish_delta))
        self.publish_all_deltas()
        self._stops.append(await self._link.subscribe(topics.ALL_REPORTS, self._on_report, qos=1))

    def close(self) -> None:
        """Stop taking reports."""
        for stop in self._stops:
            stop()
        self._stops.clear()

    def publish_all_deltas(self) -> None:
        """Publish every delta again, for a broker that has lost them."""
        self._published.clear()
        for key in self._engine:
            self._publish_delta(key)

    def mark_down(self, keys: Iterable[TwinKey], reason: Reason) -> None:
        """Say of devices that nobody reads them right now: what they last reported has quality bad."""
        mark = PropertyMark(Quality.BAD, reason)
        now_ms = self._clock.now_us() // 1000
        for key in keys:
            if key in self._engine:
                names = self._engine.document(key).reported
                self._engine.report(key, {}, dict.fromkeys(names, mark), at=now_ms, by="hub")

    def _on_report(self, message: Message) -> None:
        topic = message.topic
        place = self._topics.get(topic)
        report_id = UNREADABLE
        try:
            if place is None:
                place = self._checked_place(topic)
            report = decode_report(message.payload, what=f"report of {place.key}")
            report_id = report.id
            marks = {name: PropertyMark(mark.quality, mark.reason) for name, mark in report.marks.items()}
            outcome = self._engine.report(
                place.key, report.values, marks, at=report.at, by=place.reporter, times=report.times
            )
        except EdgetwinError as error:
            self._refuse(topic, report_id, error)
            return
        self.counters.reports += 1
        self.counters.updates += len(report.values)
        acks = self._acks_in(outcome.commit, place.reporter)
        if outcome.refused is not None:
            self.counters.refused += 1
            acks.refused.append(_refusal(report_id, outcome.refused))
            log.debug("refused in part: %s", outcome.refused.message)
            if outcome.nothing_taken:
                return
        acks.stored.append(report_id)

    def _is_ours(self, key: TwinKey) -> bool:
        """Whether the device's document names this gateway, or none; what is desired of others reaches no device."""
        return self._engine.spec(key).gateway in ("", self._gateway)

    def _checked_place(self, topic: str) -> topics.ReportTopic:
        place = topics.parse_report(topic)
        named = self._engine.spec(place.key).gateway
        if place.key.kind is Kind.DEVICE and not self._is_ours(place.key):
            text = f"{place.key} belongs to gateway {named!r}, this is {self._gateway!r}"
            raise Refused(text, remedy="Change `gateway` in the Device document, or report it there.")
        if len(self._topics) >= _MAX_TOPICS:
            self._topics.clear()
        self._topics[topic] = place
        return place

    def forget_topics(self) -> None:
        """Check every report topic anew, after the documents have changed."""
        self._topics.clear()

    def _refuse(self, topic: str, report_id: int, error: EdgetwinError) -> None:
        """Answer at once, nothing was stored; a topic that names no reporter can only be logged."""
        self.counters.refused += 1
        log.debug("refused a report on %s: %s", topic, error.message)
        levels = topic.split("/")
        if len(levels) > 3 and levels[3]:
            ack = Ack(refused=[_refusal(report_id, error)])
            self._link.publish(topics.ack(levels[3]), encode(ack))

    def _acks_in(self, commit: Commit, reporter: str) -> _Acks:
        if self._acks_of is not commit:
            self._acks_of = commit
            self._acks = {}
            sending = self._acks
            commit.on_end(lambda ended: self._send_acks(ended, sending))
        acks = self._acks.get(reporter)
        if acks is None:
            acks = self._acks[reporter] = _Acks()
        return acks

    def _send_acks(self, commit: Commit, acks_by_reporter: dict[str, _Acks]) -> None:
        if self._acks_of is commit:
            self._acks_of = None
        failure = commit.failure
        for reporter, acks in acks_by_reporter.items():
            if failure is None:
                ack = Ack(stored=acks.stored, refused=acks.refused)
            else:
                ack = Ack(refused=[*acks.refused, *(_refusal(report_id, failure) for report_id in acks.stored)])
            self._link.publish(topics.ack(reporter), encode(ack))

    def _publish_delta(self, key: TwinKey) -> None:
        if key not in self._engine:
            if self._published.pop(key, None) is not None:
                self._link.publish(topics.delta(key), b"", qos=1, retain=True)
            return
        if key.kind is not Kind.DEVICE:
            return
        slots = self._engine.delta(key) if self._is_ours(key) else {}
        desired = {name: DesiredValue(value=value_of(slot), tick=slot.tick) for name, slot in slots.items()}
        if self._published.get(key) == desired:
            return
        version = self._engine.document(key).version
        self._link.publish(topics.delta(key), encode(Delta(version=version, desired=desired)), qos=1, retain=True)
        self._published[key] = desired
        for tell in self._followers:
            tell(key)


def _refusal(report_id: int, error: EdgetwinError) -> RefusedReport:
    return RefusedReport(id=report_id, error=ErrorBody(code=error.code, message=error.message, remedy=error.remedy))
