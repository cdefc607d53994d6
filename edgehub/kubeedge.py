"""KubeEdge's topics on the local broker, bound to the twins: requests in, answers out once the commit is on disk.

$hw/events/... ──> rules (twin/dialects) ──> engine, and notes in the same commit ──> result, document, delta
what others set ──> delta of the twin ──> document, delta
"""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Final

from edgehub.kubeedge_changes import BY, Changes, Refusing, changes_of
from edgehub.kubeedge_outbox import Outbox
from edgehub.kubeedge_records import Records
from edgehub.settings import KubeEdgeSettings
from edgehub.twins import Counters
from twin.clock import Clock
from twin.commit import Commit
from twin.dialects import kubeedge as rules
from twin.dialects import kubeedge_device as device_rules
from twin.dialects.kubeedge import Answer, Sent
from twin.dialects.kubeedge_record import Record, is_met, ticks_of, value_from
from twin.document import TwinDocument
from twin.engine import TwinEngine
from twin.errors import EdgetwinError, StoreError, UnknownTwin
from twin.link import Link, Message
from twin.model import Kind, TwinKey, TwinSpec, Value, ValueType
from twin.wire import topics
from twin.wire.codec import MAX_REPORT_BYTES

log = logging.getLogger(__name__)

MAX_WAITING: Final = 10_000
"""Answers that wait for the disk; beyond that requests are refused."""
MAX_GETS: Final = 256
"""Gets under way at once; beyond that they are refused."""
MAX_LISTS: Final = 10
"""Lists of devices in a second; beyond that they are refused."""
_MAX_SUBJECTS: Final = 10_000


class KubeEdge:
    """The dialect on one gateway."""

    def __init__(
        self,
        engine: TwinEngine,
        link: Link,
        clock: Clock,
        settings: KubeEdgeSettings,
        gateway: str,
        counters: Counters,
        *,
        event_id: Callable[[], str] = lambda: str(uuid.uuid4()),
        to_cloud: Callable[[Sent], None] | None = None,
    ) -> None:
        self._engine = engine
        self._link = link
        self._outbox = Outbox(link, to_cloud)
        self._clock = clock
        self._settings = settings
        self._strict = settings.strict
        self._gateway = gateway
        self._counters = counters
        self._event_id = event_id
        self._to_cloud = to_cloud
        self._names = {name: TwinKey.parse(device) for name, device in settings.names.items()}
        self._parsed: dict[str, TwinKey] = {}
        self._records = Records(engine, clock, strict=settings.strict)
        self._waiting = 0
        self._told: dict[TwinKey, Mapping[str, str]] = {}
        """The delta that was told last."""
        self._due: set[TwinKey] = set()
        """Devices whose delta others changed while an answer of ours waits."""
        self._members: set[TwinKey] | None = None
        self._gets: set[asyncio.Task[None]] = set()
        self._stops: list[Callable[[], None]] = []
        self._lists_since_s = 0.0
        self._lists = 0

    # -- life ----------------------------------------------------------------------------------------------------

    def load(self) -> None:
        """Take what is on disk; before the documents make the twins. Raises StoreError."""
        self._records.load()

    def completed(self, spec: TwinSpec) -> TwinSpec:
        """The spec of a device with the properties that messages added."""
        return self._records.completed(spec) if self._settings.undeclared else spec

    async def open(self) -> None:
        """Start to take requests."""
        filters = topics.KUBEEDGE_REQUESTS if self._strict else topics.KUBEEDGE_REQUESTS + topics.KUBEEDGE_MORE_REQUESTS
        for one in filters:
            self._stops.append(await self._link.subscribe(one, self._on_message, qos=1))

    async def close(self) -> None:
        """Stop taking requests."""
        for stop in self._stops:
            stop()
        self._stops.clear()
        for task in self._gets:
            task.cancel()
        await asyncio.gather(*self._gets, return_exceptions=True)
        self._outbox.flush()

    def projected(self) -> None:
        """Follow the documents: forget devices that went, tell which came and went."""
        now = set(self._devices())
        before, self._members = self._members, now
        self._records.forget_all_but(now)
        if before is None:
            return
        for key in sorted(now ^ before):
            added = key in now
            self._told.pop(key, None)
            record = self._records.seen(key)[0] if added else None
            self._outbox.send_one(
                device_rules.membership_updated(
                    self._gateway, key, record, added=added, now_ms=self._now_ms(), event_id=self._event_id
                )
            )

    def delta_changed(self, key: TwinKey) -> None:
        """Tell what others desire of a device, or reported for it, now that it is on disk."""
        if self._records.commit_of(key) is not None:
            self._due.add(key)
        elif self._engine.failure is None and key in self._engine and self._is_ours(key):
            self._tell(key)

    # -- requests ------------------------------------------------------------------------------------------------

    def _on_message(self, message: Message) -> None:
        request = topics.parse_kubeedge(message.topic)
        try:
            self._answer(request.subject, request.action, message.payload)
        except Exception:  # a supervisor boundary: one bad message must not end the hub
            self._counters.refused += 1
            log.exception("a message on %s failed", message.topic)

    def _answer(self, subject: str, action: str, payload: bytes) -> None:
        if action.startswith("membership/"):
            self._answer_membership(subject, action.partition("/")[2], payload)
            return
        key = self._key_of(subject)
        if len(payload) > MAX_REPORT_BYTES:
            self._refuse(subject, action, 400, f"{len(payload)} bytes are over the limit of {MAX_REPORT_BYTES}")
        elif self._waiting >= MAX_WAITING:
            self._refuse(subject, action, 503, f"{MAX_WAITING} answers wait for the disk; send it again later")
        elif action in ("twin/update", "twin/cloud_updated"):
            self._update(subject, key, payload, sync=action == "twin/cloud_updated")
        elif action == "twin/get" or (action == "state/get" and not self._strict):
            self._start_get(subject, key, action, payload)
        elif action == "state/update":
            self._update_state(subject, key, payload)
        elif action == "updated" and key is not None:
            self._update_attributes(subject, key, payload)
        elif action == "data/update" and key is not None:
            self._take_readings(key, payload)
        else:
            self._counters.refused += 1
            log.debug("nobody serves %s of %s", action, subject)

    def _update(self, subject: str, key: TwinKey | None, payload: bytes, *, sync: bool) -> None:
        now_ms = self._now_ms()
        record, document = (None, None) if key is None else self._records.followed(key)
        answer = rules.update(
            subject,
            None if record is None else record.twins,
            payload,
            now_ms=now_ms,
            event_id=self._event_id,
            sync=sync,
            strict=self._strict,
            cloud=self._to_cloud is not None,
            met=self._met(None if document is None else document.spec),
        )
        if key is None or record is None or document is None or answer.twins is None:
            self._send(key, answer, subject, "twin/update")
            return
        if answer.refused:
            self._records.keep(key, record._replace(twins=answer.twins))
            self._send(key, answer, subject, "twin/update")
            return
        checks = self._engine.rules(key)
        try:
            changes = changes_of(record, answer.twins, document, checks, undeclared=self._settings.undeclared)
        except Refusing as refusing:
            refusal = rules.refusal(subject, "twin/update/result", answer.event, now_ms, 400, str(refusing))
            self._send(key, refusal, subject, "twin/update")
            return
        if not changes.names:
            self._send(key, answer, subject, "twin/update")
            return
        self._counters.reports += 1
        self._counters.updates += len(changes.reported) + len(changes.desired)
        self._write(key, document, changes, now_ms)
        after = self._engine.document(key)
        ticks = {**record.ticks, **{name: ticks_of(after, name) for name in changes.names}}
        made = record._replace(twins=answer.twins, ticks=ticks, version=after.version)
        self._told[key] = answer.delta
        self._note(key, made, answer, subject, "twin/update")

    def _write(self, key: TwinKey, document: TwinDocument, changes: Changes, now_ms: int) -> None:
        if changes.added:
            spec = document.spec
            self._engine.define(replace(spec, properties={**spec.properties, **changes.added}))
        if changes.desired or changes.unset:
            self._engine.set_desired(key, changes.desired, unset=changes.unset, by=BY)
        if changes.reported:
            self._engine.report(key, changes.reported, {}, at=now_ms, by=BY)

    def _update_state(self, subject: str, key: TwinKey | None, payload: bytes) -> None:
        record = None if key is None else self._records.followed(key)[0]
        outcome = device_rules.state_update(
            subject, record, payload, now_ms=self._now_ms(), event_id=self._event_id, strict=self._strict
        )
        if key is None or outcome.record is None:
            self._send(key, outcome.answer, subject, "state/update")
        else:
            self._note(key, outcome.record, outcome.answer, subject, "state/update")

    def _update_attributes(self, subject: str, key: TwinKey, payload: bytes) -> None:
        record = self._records.followed(key)[0]
        outcome = device_rules.attributes_update(subject, record, payload, now_ms=self._now_ms())
        if outcome is None:
            self._counters.refused += 1
        elif outcome.record is not None:
            self._note(key, outcome.record, outcome.answer, subject, "updated")

    def _take_readings(self, key: TwinKey, payload: bytes) -> None:
        found = device_rules.readings(payload)
        if found is None:
            self._counters.refused += 1
            return
        now_ms = self._now_ms()
        known = self._engine.spec(key).properties
        by_time: dict[int, dict[str, Value]] = {}
        for one in found:
            type_ = known[one.property].type if one.property in known else ValueType.JSON
            value = value_from(one.value, type_) if isinstance(one.value, str) else one.value
            by_time.setdefault(one.at or now_ms, {})[one.property] = value
        for at in sorted(by_time):
            outcome = self._engine.report(key, by_time[at], {}, at=at, by=BY)
            self._counters.reports += 1
            self._counters.updates += len(by_time[at])
            if outcome.refused is not None:
                self._counters.refused += 1
                log.debug("refused readings: %s", outcome.refused.message)

    def _start_get(self, subject: str, key: TwinKey | None, action: str, payload: bytes) -> None:
        if len(self._gets) >= MAX_GETS:
            self._refuse(subject, action, 503, f"{MAX_GETS} gets are under way; ask again later")
            return
        task = asyncio.get_running_loop().create_task(self._get(subject, key, action, payload))
        self._gets.add(task)
        task.add_done_callback(self._gets.discard)

    async def _get(self, subject: str, key: TwinKey | None, action: str, payload: bytes) -> None:
        try:
            await self._engine.settled()
            record = None if key is None else self._records.followed(key)[0]
        except (StoreError, UnknownTwin) as error:
            self._refuse(subject, action, 500, error.message)
            return
        if action == "twin/get":
            twins = None if record is None else record.twins
            self._outbox.send(rules.get(subject, twins, payload, now_ms=self._now_ms()))
        else:
            self._outbox.send(device_rules.state_get(subject, record, payload, now_ms=self._now_ms()))

    def _answer_membership(self, node: str, action: str, payload: bytes) -> None:
        node = self._gateway if self._strict else node
        now_s = self._clock.monotonic_s()
        if now_s - self._lists_since_s >= 1.0:
            self._lists_since_s, self._lists = now_s, 0
        self._lists += 1
        if self._lists > MAX_LISTS or len(payload) > MAX_REPORT_BYTES:
            self._counters.refused += 1
            self._outbox.send_one(device_rules.membership_busy(node, action, self._now_ms()))
            return
        devices = [(key, self._records.seen(key)[0]) for key in self._devices()]
        self._outbox.send(device_rules.membership(node, action, devices, payload, now_ms=self._now_ms()))

    # -- answers -------------------------------------------------------------------------------------------------

    def _note(self, key: TwinKey, record: Record, answer: Answer, subject: str, action: str) -> None:
        """Keep the record, and answer when it is on disk."""
        commit = self._records.note(key, record)
        if commit is None:
            self._send(key, answer, subject, action)
            return
        self._waiting += 1

        def ended(commit: Commit) -> None:
            self._waiting -= 1
            if commit.failure is None:
                self._outbox.send(answer)
            else:
                self._told.pop(key, None)
                self._refuse(subject, action, 500, commit.failure.message, answer.event)
            if key in self._due:
                asyncio.get_running_loop().call_soon(self._tell_due, key)

        commit.on_end(ended)

    def _tell_due(self, key: TwinKey) -> None:
        if key in self._due and self._records.commit_of(key) is None:
            self._due.discard(key)
            self.delta_changed(key)

    def _tell(self, key: TwinKey) -> None:
        record, document = self._records.seen(key)
        before = self._records.before(key, document)
        answer = rules.told(before, record.twins, met=self._met(document.spec))
        if not answer.document and answer.delta == self._told.get(key, {}):
            return
        self._records.keep(key, record)
        self._told[key] = answer.delta
        for name in self._forms(key):
            for sent in answer.messages(name, self._now_ms(), self._event_id):
                self._outbox.send_one(sent)

    def _send(self, key: TwinKey | None, answer: Answer, subject: str, action: str) -> None:
        """Answer at once, but not before an earlier answer of the same device, on which it may rest."""
        if answer.refused:
            self._counters.refused += 1
        commit = None if key is None else self._records.commit_of(key)
        if commit is None:
            self._outbox.send(answer)
            return
        self._waiting += 1

        def ended(commit: Commit) -> None:
            self._waiting -= 1
            if commit.failure is None or answer.refused:
                self._outbox.send(answer)
            else:  # it says that something is there which is not
                self._refuse(subject, action, 500, commit.failure.message, answer.event)

        commit.on_end(ended)

    def _refuse(self, subject: str, action: str, code: int, reason: str, event: str = "") -> None:
        self._counters.refused += 1
        action = "twin/update" if action == "twin/cloud_updated" else action
        if action in ("twin/update", "twin/get", "state/update", "state/get"):
            self._outbox.send(rules.refusal(subject, f"{action}/result", event, self._now_ms(), code, reason))

    # -- devices -------------------------------------------------------------------------------------------------

    def _key_of(self, subject: str) -> TwinKey | None:
        """The device that a topic names; None if this gateway has none of that name."""
        key = self._names.get(subject) or self._parsed.get(subject)
        if key is None:
            try:
                key = TwinKey.parse(subject)
            except EdgetwinError:
                return None
            if len(self._parsed) >= _MAX_SUBJECTS:
                self._parsed.clear()
            self._parsed[subject] = key
        return key if key in self._engine and self._is_ours(key) else None

    def _devices(self) -> Iterator[TwinKey]:
        return (key for key in self._engine if key.kind is Kind.DEVICE and self._is_ours(key))

    def _is_ours(self, key: TwinKey) -> bool:
        return key.kind is Kind.DEVICE and self._engine.spec(key).gateway in ("", self._gateway)

    def _forms(self, key: TwinKey) -> Iterator[str]:
        """Every name by which KubeEdge's topics may call the device."""
        yield f"{key.namespace}/{key.name}"
        if key.namespace == "default":
            yield key.name
        yield from (name for name, named in self._names.items() if named == key)

    def _met(self, spec: TwinSpec | None) -> rules.Met:
        if self._strict or spec is None:
            return rules.is_same
        properties = spec.properties
        return lambda key, expected, actual: is_met(properties.get(key), expected, actual)

    def _now_ms(self) -> int:
        return self._clock.now_us() // 1000
