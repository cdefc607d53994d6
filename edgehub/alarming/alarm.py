"""One alarm: a rule at a subject, how it stands, and what of it was reported and told."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Final

from pydantic import ValidationError

from edgehub.alarming.judge import Now, Stage, Standing, pending_again
from edgehub.alarming.looking import Seen, worded
from edgehub.alarming.rule import Rule, Subject
from twin.alarm import ACKNOWLEDGED, NOTE, PROPERTIES, AlarmState, AlarmTwin
from twin.document import TwinDocument
from twin.merge import standing as standing_slot
from twin.merge import value_of
from twin.model import ConflictPolicy, TwinKey, TwinSpec, Value
from twin.wire import topics
from twin.wire.codec import encode
from twin.wire.mesh import Alert

TELL_PENDING_S: Final = 5.0
"""What is over sooner than that is told to nobody, and costs no write."""
VALUE_EVERY_S: Final = 10.0
"""A value that alone has changed is reported this often at most."""


@dataclass(slots=True)
class Alarm:
    """``said`` is what its twin reports by now, ``told`` the last message."""

    key: TwinKey
    rule: str
    subject: Subject
    standing: Standing = field(default_factory=Standing)
    words: AlarmTwin = field(default_factory=lambda: AlarmTwin(state=AlarmState.RESOLVED, since=0))
    """How it is described by now."""
    said: dict[str, Value] = field(default_factory=dict)
    said_s: float = 0.0
    told: bytes | None = None
    kept: bool = False
    """Whether it has a twin."""

    @classmethod
    def read(cls, key: TwinKey, document: TwinDocument, now: Now) -> Alarm | None:
        """As its twin says it stood; None if that does not say enough."""
        said = {name: slot.value for name, slot in document.reported.items() if name in PROPERTIES}
        try:
            words = AlarmTwin.model_validate(said)
            subject = Subject(*words.subject.split("/"))
        except (ValidationError, ValueError, TypeError):
            return None
        standing = Standing(Stage.QUIET, now.s, words.since)
        if words.state.fires:
            standing = replace(standing, stage=Stage.FIRING)
        elif words.state is AlarmState.PENDING:
            standing = pending_again(words.since, now)
        known: dict[str, Value] = words.model_dump(mode="json")
        return cls(key, words.rule, subject, standing, words, known, now.s, kept=True)

    @property
    def topic(self) -> str:
        """Where it is told on MQTT."""
        return topics.alert(self.subject.namespace, self.subject.name, self.rule.partition("/")[2])

    def describe(self, rule: Rule, seen: Seen | None, now: Now) -> None:
        """Find the words for how it stands; ``seen`` None: what was seen before still says it best."""
        words = self.words
        new: dict[str, object] = {"severity": rule.severity, "rule": str(rule), "subject": str(self.subject)}
        if seen is not None:
            new["value"] = float(f"{seen.value:.4g}") if isinstance(seen.value, float) else seen.value
            new["message"] = rule.summary or worded(rule, seen)
        self.words = words.model_copy(update=new)
        self.describe_state(now)

    def describe_state(self, now: Now) -> None:
        """Find the words for its state alone, after an answer."""
        state = self._state(now)
        if state is not None:
            self.words = self.words.model_copy(update={"state": state, "since": self.standing.since_ms})

    def answered(self, document: TwinDocument) -> None:
        """Take up what people desire of it: which firing they acknowledge."""
        slots = {name: standing_slot(leaf, ConflictPolicy.LATEST) for name, leaf in document.desired.items()}
        seen, note = slots.get(ACKNOWLEDGED), slots.get(NOTE)
        if seen is None:
            return
        number, text = value_of(seen), value_of(note) if note is not None else ""
        if isinstance(number, int) and isinstance(text, str):
            new: dict[str, object] = {"acknowledged": number, "acknowledged_by": seen.by, "note": text}
            self.words = self.words.model_copy(update=new)

    def due(self, now: Now) -> dict[str, Value]:
        """What of it is worth a report."""
        if not self.kept and self._state(now) is None:
            return {}
        whole: dict[str, Value] = self.words.model_dump(mode="json")
        new = {name: value for name, value in whole.items() if name not in self.said or self.said[name] != value}
        if new.keys() <= {"value", "message"} and now.s - self.said_s < VALUE_EVERY_S:
            return {}
        return new

    def spec(self, gateway: str) -> TwinSpec:
        """The spec of its twin; without labels, for the cloud makes it of its rows alone."""
        return TwinSpec(self.key, uid="", gateway=gateway, properties=PROPERTIES)

    def message(self) -> bytes | None:
        """What is told of it; None: nothing, for it has not fired yet."""
        words = self.words
        if words.state is AlarmState.PENDING or not words.since:
            return None
        seen = words.acknowledged == words.since
        return encode(
            Alert(
                rule=words.rule,
                about=f"{self.subject.namespace}/{self.subject.name}",
                kind=self.subject.kind,
                firing=words.state.fires,
                since=words.since,
                severity=words.severity,
                value=words.value,
                text=words.message,
                acknowledged_by=words.acknowledged_by if seen else "",
                note=words.note if seen else "",
            )
        )

    def _state(self, now: Now) -> AlarmState | None:
        """How its twin is to say it stands; None: as before, for it is too early to say."""
        standing = self.standing
        if standing.fires:
            seen = self.words.acknowledged == standing.since_ms
            return AlarmState.ACKNOWLEDGED if seen else AlarmState.FIRING
        if standing.stage is Stage.PENDING:
            early = now.s - standing.at_s < TELL_PENDING_S
            return None if early else AlarmState.PENDING
        return AlarmState.RESOLVED if self.kept else None
