"""The alarms of a running gateway: looks every second, keeps each alarm as a twin, and tells of it on MQTT.

rules x subjects ──looking──> verdict ──judge──> standing ──> twin (on disk) ──> et/1/alert/..., retained
                                 desired `acknowledged` ────────^
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from typing import Final, TypeAlias

from edgehub.alarming.alarm import Alarm
from edgehub.alarming.facts import GatewayFacts
from edgehub.alarming.judge import Now, Stage, Verdict, step
from edgehub.alarming.looking import Looking
from edgehub.alarming.own import InForce
from edgehub.alarming.rule import Rule, Subject, alarm_key
from twin.alarm import RULES, AlarmState
from twin.clock import Clock
from twin.engine import TwinEngine
from twin.errors import LinkError, StoreError
from twin.model import Kind, TwinKey, TwinSpec, Value

log = logging.getLogger(__name__)

LOOK_S: Final = 1.0
MOST: Final = 1000
"""Alarms that are kept; those that are over for longest make room."""
AT_ONCE: Final = 500
"""Subjects that are looked at before others have their turn."""
MOST_SHOWN: Final = 200
"""Rules that the gateway's own twin lists at most."""
RETRY_S: Final = 10.0
BY: Final = "hub"
Publish: TypeAlias = Callable[[str, bytes], None]
Labelled: TypeAlias = Iterable[tuple[Subject, Mapping[str, str]]]


class Alarming:
    """One gateway's. ``publish`` sends a retained message; it raises LinkError if too many wait already."""

    def __init__(self, engine: TwinEngine, looking: Looking, facts: GatewayFacts, clock: Clock, gateway: str) -> None:
        self._engine = engine
        self._looking = looking
        self._facts = facts
        self._clock = clock
        self._gateway = gateway
        self._alarms: dict[TwinKey, Alarm] = {}
        self._watched: dict[TwinKey, tuple[Rule, Subject]] = {}
        self._gone: set[str] = set()
        """Topics that are to be emptied."""
        self._touched = asyncio.Event()
        self._full = False
        self._answers: set[TwinKey] = set()
        """Alarms of which people may have desired something."""
        self._failed_s: float | None = None
        """When the store has not taken an alarm; it is not asked again at once."""
        self.rules = InForce(())
        """Those of the documents and the gateway's own."""
        self.publish: Publish = lambda _topic, _payload: None

    def load(self) -> None:
        """Take up the alarms as their twins say they stood. Before the first ``follow``."""
        now = self._now()
        for key in self._engine:
            if key.kind is Kind.ALARM:
                alarm = Alarm.read(key, self._engine.document(key), now)
                if alarm is not None:
                    self._alarms[key] = alarm
                    self._answers.add(key)
        self._facts.load()

    def follow(self, rules: Iterable[Rule], subjects: Labelled) -> None:
        """Go by other rules, over other subjects. An alarm of which either is gone is gone too."""
        self.rules = InForce(rules)
        by_kind: dict[str, list[tuple[Subject, Mapping[str, str]]]] = {}
        for subject, labels in subjects:
            by_kind.setdefault(subject.kind, []).append((subject, labels))
        self._watched = {
            alarm_key(rule, subject, self._gateway): (rule, subject)
            for rule in self.rules.all
            for subject, labels in by_kind.get(rule.selector.kind, ())
            if rule.selector.fits(subject, labels) and self.rules.looks_at(rule, subject)
        }
        self._looking.forget({subject.key for _, subject in self._watched.values() if subject.key is not None})
        for key in list(self._alarms.keys() - self._watched.keys()):
            self._gone.add(self._alarms.pop(key).topic)
        self._gone -= {alarm.topic for alarm in self._alarms.values()}

    def specs(self) -> list[TwinSpec]:
        """The specs of the twins of all alarms that there are."""
        return [alarm.spec(self._gateway) for alarm in self._alarms.values()]

    def broker_up(self) -> None:
        """The local broker is there, and has forgotten what it was told before."""
        for alarm in self._alarms.values():
            alarm.told = None
        self._touched.set()

    def reported(self) -> dict[str, Value]:
        """What the gateway's own twin says of it: its rules."""
        return {RULES: [rule.body().model_dump(mode="json") for rule in self.rules.all[:MOST_SHOWN]]}

    def all(self) -> list[Alarm]:
        """All that there are, by key."""
        return [self._alarms[key] for key in sorted(self._alarms)]

    def unseen(self) -> list[str]:
        """What fires and nobody has acknowledged, for `status`."""
        alarms = [alarm for alarm in self.all() if alarm.words.state is AlarmState.FIRING]
        return [f"{one.words.severity}: {one.rule} of {one.subject}: {one.words.message}" for one in alarms]

    async def keep(self) -> None:
        """Look every second, and as soon as somebody acknowledges, until cancelled."""
        stop = self._engine.watch_deltas(self._on_delta)
        try:
            while True:
                try:
                    self._looking.facts = await self._facts.look()
                    await self.look()
                except StoreError as error:
                    log.debug("alarms are told and not kept: %s", error)  # the engine has told why
                except Exception:  # a supervisor boundary: what fails once must not end all alarms
                    log.exception("alarms cannot be looked at")
                with suppress(TimeoutError):
                    async with asyncio.timeout(LOOK_S):
                        await self._touched.wait()
                self._touched.clear()
        finally:
            stop()

    async def look(self) -> None:
        """Judge everything once, and tell of what has changed once it is on disk. Raises StoreError.

        A disk that takes nothing keeps nobody from being told.
        """
        now = self._now()
        watched = self._watched
        for number, (key, (rule, subject)) in enumerate(watched.items(), 1):
            self._judge(key, rule, subject, now)
            if number % AT_ONCE == 0:
                await asyncio.sleep(0)  # thousands of devices must not hold up those who wait for the hub
                if watched is not self._watched:
                    break  # documents have changed, the rest comes with the next look
        if self._failed_s is not None and now.s - self._failed_s < RETRY_S:
            self._tell()
            return
        reported = [alarm for alarm in self._alarms.values() if self._report(alarm, now)]
        try:
            await self._engine.settled() if reported else None
            self._failed_s = None
        except StoreError:
            self._failed_s = now.s
            for alarm in reported:
                alarm.said = {}
            raise
        finally:
            self._tell()

    # -- one alarm ---------------------------------------------------------------------------------------------------

    def _judge(self, key: TwinKey, rule: Rule, subject: Subject, now: Now) -> None:
        seen = self._looking.seen(rule, subject, now.s)
        alarm = self._alarms.get(key)
        if alarm is None:
            if seen.verdict is not Verdict.HOLDS or not self._has_room():
                return
            alarm = self._alarms[key] = Alarm(key, str(rule), subject)
        was, alarm.standing = alarm.standing, step(alarm.standing, seen.verdict, rule, now)
        if was.stage is Stage.QUIET and alarm.standing.stage is Stage.QUIET:
            return
        if alarm.standing.stage is Stage.QUIET and not alarm.kept:
            del self._alarms[key]
            return
        alarm.rule = str(rule)
        alarm.describe(rule, seen if seen.verdict is not Verdict.UNKNOWN else None, now)
        if alarm.standing.fires is not was.fires:
            level = logging.WARNING if alarm.standing.fires else logging.INFO
            what = "fires" if alarm.standing.fires else "is over"
            log.log(level, "alarm %s of %s %s: %s", rule, subject, what, alarm.words.message)

    def _has_room(self) -> bool:
        """Whether one more can be kept; the one that is over for longest makes room."""
        if len(self._alarms) < MOST:
            self._full = False
            return True
        over = [alarm for alarm in self._alarms.values() if alarm.standing.stage is Stage.QUIET]
        if not over:
            if not self._full:
                log.warning("there are %d alarms already, further ones are not told", MOST)
            self._full = True
            return False
        oldest = min(over, key=lambda alarm: alarm.standing.since_ms)
        del self._alarms[oldest.key]
        self._gone.add(oldest.topic)
        if oldest.key in self._engine:
            self._engine.remove(oldest.key)
        return True

    def _report(self, alarm: Alarm, now: Now) -> bool:
        """Bring its twin up to date; whether there was anything to write."""
        if alarm.key in self._answers and alarm.kept:
            self._answers.discard(alarm.key)
            alarm.answered(self._engine.document(alarm.key))
            alarm.describe_state(now)
        due = alarm.due(now)
        if not due:
            return False
        if alarm.key not in self._engine:
            self._engine.define(alarm.spec(self._gateway))
            alarm.said, due = {}, alarm.words.model_dump(mode="json")
        alarm.kept = True
        outcome = self._engine.report(alarm.key, due, {}, at=now.ms, by=BY)
        if outcome.refused is not None:
            log.error("the twin of %s is not as it asks: %s", alarm.key, outcome.refused.message)
        alarm.said |= due
        alarm.said_s = now.s
        return True

    def _tell(self) -> None:
        with suppress(LinkError):  # more waits already than a broker which is away may be owed; the rest comes later
            for topic in list(self._gone):
                self.publish(topic, b"")
                self._gone.discard(topic)
            for alarm in self._alarms.values():
                message = alarm.message()
                if message is not None and message != alarm.told:
                    self.publish(alarm.topic, message)
                    alarm.told = message

    def _on_delta(self, key: TwinKey) -> None:
        if key.kind is Kind.ALARM:
            self._answers.add(key)
            self._touched.set()

    def _now(self) -> Now:
        return Now(self._clock.monotonic_s(), self._clock.now_us() // 1000)
