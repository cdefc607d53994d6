"""AWS's Device Shadow topics on the local broker, bound to the twins: requests in, answers out once they are on disk.

$aws/things/... ──> rules (twin/dialects/aws) ──> engine, and a note in the same commit ──> delta, accepted, documents
what others change ──> watcher ──> delta, documents

A device's messages begin with the first request about it, by whomever; from then on a note keeps them, so that
devices which nobody reads in this way cost nothing. A shadow of a name costs from the day it is made.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from edgehub.settings import AwsSettings
from edgehub.twins import Counters
from twin.clock import Clock
from twin.commit import Commit
from twin.dialects import aws
from twin.dialects.aws import Half, Kept, Shadow
from twin.dialects.aws_names import device_of, shadow_key, shadow_of
from twin.dialects.aws_request import Rejected, Update, read_token, read_update
from twin.engine import TwinEngine
from twin.errors import InvalidName, LinkError, Refused
from twin.link import Link, Message
from twin.model import Kind, Section, TwinKey, TwinSpec
from twin.wire import topics
from twin.wire.topics import ShadowTopic

log = logging.getLogger(__name__)

OWNER: Final = "aws"
MAX_SHADOWS: Final = 10_000
"""Named shadows at once, deleted ones among them; more are refused."""
_NONE: Final = aws.shadow(0, Half(), Half())


@dataclass(slots=True)
class _Followed:
    """A twin whose messages are published."""

    thing: str
    name: str
    noted: str = ""
    """Its note as it is on disk."""
    noting: str = ""
    """Its note once the open commit is on disk."""
    told: Shadow | None = None
    """What subscribers know, or will once the open commit is on disk; None: read it from the twin."""
    told_delta: str = ""
    in_flight: int = 0

    def topic(self, action: str) -> str:
        return topics.aws_shadow(self.thing, self.name, action)


@dataclass(frozen=True, slots=True)
class _Sent:
    topic: str
    body: bytes


class AwsShadows:
    """The dialect on one gateway."""

    def __init__(
        self, engine: TwinEngine, link: Link, clock: Clock, settings: AwsSettings, gateway: str, counters: Counters
    ) -> None:
        self._engine = engine
        self._link = link
        self._clock = clock
        self._settings = settings
        self._gateway = gateway
        self._counters = counters
        self._things = settings.names()
        self._followed: dict[TwinKey, _Followed] = {}
        self._notes: dict[str, str] = {}
        self._stops: list[Callable[[], None]] = []
        self._watching = False

    def load(self) -> None:
        """Take what is on disk; before the documents make the twins. Raises StoreError."""
        self._notes = self._engine.notes(OWNER)

    async def open(self) -> None:
        """Start to take requests."""
        self._stops.append(self._engine.watch_deltas(self._on_delta))
        for one in topics.aws_requests():
            self._stops.append(await self._link.subscribe(one, self._on_message, qos=1))

    def close(self) -> None:
        """Stop taking requests."""
        for stop in self._stops:
            stop()
        self._stops.clear()

    def projected(self) -> None:
        """Follow the documents: forget twins that went, take up what was followed before or the settings name."""
        for key in {*self._followed, *map(TwinKey.parse, self._notes)}:
            if key not in self._engine:
                self._followed.pop(key, None)
                self._notes.pop(str(key), None)
                self._engine.note(OWNER, str(key), None)
        for key in self._engine:
            wanted = key.kind is Kind.SHADOW or key in self._things.named or str(key) in self._notes
            if wanted and key not in self._followed:
                self._told(key, self._follow(key))

    # -- requests ------------------------------------------------------------------------------------------------

    def _on_message(self, message: Message) -> None:
        if message.retain:
            return  # a request is meant once, not anew at each start of the hub
        request = topics.parse_aws(message.topic)
        try:
            self._serve(request, message.payload)
        except Rejected as rejected:
            self._reject(request, rejected)
        except Exception:  # a supervisor boundary: one bad message must not end the hub
            log.exception("a message on %s failed", message.topic)
            self._reject(request, Rejected(500, "Internal service failure"))

    def _serve(self, request: ShadowTopic, payload: bytes) -> None:
        update = read_update(payload) if request.action == "update" else None
        token = read_token(payload) if update is None else update.token
        try:
            key = self._key_of(request)
            followed = self._followed.get(key)
            if followed is not None and followed.in_flight >= self._settings.in_flight:
                raise Rejected(429, f"More than {self._settings.in_flight} requests of this shadow are in flight")
            if update is not None:
                self._update(key, update)
            elif request.action == "get":
                self._get(key, token)
            else:
                self._delete(key, token)
        except Rejected as rejected:
            rejected.token = token
            raise

    def _key_of(self, request: ShadowTopic) -> TwinKey:
        device = self._things.device(request.thing)
        if device is None or device not in self._engine:
            raise Rejected(404, "Thing not found")
        owner = self._engine.spec(device).gateway
        if owner and owner != self._gateway:
            raise Rejected(403, f"Forbidden: {device} belongs to gateway {owner!r}, this is {self._gateway!r}")
        if not request.shadow:
            return device
        try:
            return shadow_key(device, request.shadow)
        except InvalidName as error:
            raise Rejected(400, f"{error.message}; {error.remedy}") from None

    def _get(self, key: TwinKey, token: str | None) -> None:
        if key not in self._engine:
            raise Rejected(404, self._no_shadow(key))
        followed = self._follow(key)
        now, sent = self._caught_up(key, followed)
        exists = _exists(now, followed)
        self._keep(key, followed, aws.note(now, exists=exists))
        if exists:
            answer = _Sent(followed.topic("get/accepted"), aws.got(now, self._engine.delta(key), self._now_s(), token))
        else:
            answer = self._rejection(followed.topic("get"), Rejected(404, self._no_shadow(key), token))
        self._after(self._engine.tail(), key, [*sent, answer], "get", token)

    def _update(self, key: TwinKey, update: Update) -> None:
        made = key not in self._engine
        if made and len(self._followed) >= MAX_SHADOWS:
            raise Rejected(429, f"This gateway keeps at most {MAX_SHADOWS} shadows")
        followed = self._follow(key)
        before, sent = (_NONE, []) if made else self._caught_up(key, followed)
        try:
            commit, after = self._written(key, before, update)
        except Rejected:
            if made:
                del self._followed[key]
            elif sent:
                self._after(self._engine.tail(), key, sent, "", None)
            raise
        followed.told = after
        self._keep(key, followed, aws.note(after, exists=True))
        now_s, token = self._now_s(), update.token
        state, stamps = aws.delta(after, self._engine.delta(key))
        followed.told_delta = repr(state)
        if state:
            body = aws.delta_message(state, stamps, after.version, now_s, token)
            sent.append(_Sent(followed.topic("update/delta"), body))
        sent.append(_Sent(followed.topic("update/accepted"), aws.accepted(update, after, now_s)))
        sent.append(_Sent(followed.topic("update/documents"), aws.documents(before, after, now_s, token)))
        self._counters.reports += 1
        self._counters.updates += sum(len(patch or ()) for patch in update.sections.values())
        self._after(commit, key, sent, "update", token)

    def _written(self, key: TwinKey, before: Shadow, update: Update) -> tuple[Commit, Shadow]:
        """Write an update, all or nothing. Raises Rejected."""
        if update.version is not None and update.version != before.version:
            raise Rejected(409, "Version conflict")
        after = aws.updated(before, update, self._now_s())
        if not aws.fits(update, after, self._settings.max_state_bytes, modelled=key.kind is Kind.DEVICE):
            raise Rejected(413, "The payload exceeds the maximum size allowed")
        made = key not in self._engine
        if made:
            self._engine.define(TwinSpec(key, "", gateway=self._gateway))
        try:
            commit = self._engine.update(
                key,
                desired=aws.writes(before.desired, after.desired, update, Section.DESIRED),
                reported=aws.writes(before.reported, after.reported, update, Section.REPORTED),
                by=OWNER,
            )
        except Refused as error:
            if made:
                self._engine.remove(key)
            raise Rejected(400, error.message) from None
        return commit, after

    def _delete(self, key: TwinKey, token: str | None) -> None:
        if key not in self._engine:
            raise Rejected(404, self._no_shadow(key))
        followed = self._follow(key)
        before, sent = self._caught_up(key, followed)
        if not _exists(before, followed):
            answer = self._rejection(followed.topic("delete"), Rejected(404, self._no_shadow(key), token))
            self._after(self._engine.tail(), key, [*sent, answer], "delete", token)
            return
        desired, reported = aws.wiped(self._engine.document(key))
        commit = self._engine.update(key, desired=desired, reported=reported, by=OWNER)
        followed.told = aws.shadow(before.version + 1, Half(), Half())
        followed.told_delta = repr({})
        self._keep(key, followed, aws.note(followed.told, exists=False))
        body = aws.deleted(followed.told.version, self._now_s(), token)
        self._after(commit, key, [*sent, _Sent(followed.topic("delete/accepted"), body)], "delete", token)

    # -- what others change --------------------------------------------------------------------------------------

    def _on_change(self, key: TwinKey, _: object) -> None:
        followed = self._followed.get(key)
        if followed is None or followed.in_flight or key not in self._engine:
            return  # answers that wait go first, and what was changed after them is told then
        if not self._engine.on_disk(key) or self._engine.failure is not None:
            return  # it comes with the next commit
        self._publish(self._caught_up(key, followed)[1])

    def _on_delta(self, key: TwinKey) -> None:
        """Take up a named shadow that came from the other site."""
        if key.kind is Kind.SHADOW and key in self._engine and key not in self._followed:
            self._follow(key).told = _NONE
            self._on_change(key, None)

    def _caught_up(self, key: TwinKey, followed: _Followed) -> tuple[Shadow, list[_Sent]]:
        """The shadow as it stands now, and the messages of what others changed since the last ones."""
        before = followed.told
        if before is not None and before.version == self._engine.version(key):
            return before, []
        now = self._told(key, followed)
        if before is None:
            return now, []
        now_s = self._now_s()
        sent = []
        state, stamps = aws.delta(now, self._engine.delta(key))
        if state and repr(state) != followed.told_delta:
            sent.append(
                _Sent(followed.topic("update/delta"), aws.delta_message(state, stamps, now.version, now_s, None))
            )
        followed.told_delta = repr(state)
        sent.append(_Sent(followed.topic("update/documents"), aws.documents(before, now, now_s, None)))
        return now, sent

    def _told(self, key: TwinKey, followed: _Followed) -> Shadow:
        fresh = followed.told is None
        followed.told = now = aws.shadow_of_twin(self._engine.document(key), _kept(followed))
        if fresh:
            followed.told_delta = repr(aws.delta(now, self._engine.delta(key))[0])
        return now

    # -- inside --------------------------------------------------------------------------------------------------

    def _follow(self, key: TwinKey) -> _Followed:
        followed = self._followed.get(key)
        if followed is None:
            note = self._notes.pop(str(key), "")
            followed = _Followed(self._things.thing(device_of(key)), shadow_of(key), note, note)
            self._followed[key] = followed
            if not self._watching:
                self._watching = True
                self._stops.append(self._engine.watch(self._on_change))
        return followed

    def _keep(self, key: TwinKey, followed: _Followed, note: str) -> None:
        if note != followed.noting:
            followed.noting = note
            self._engine.note(OWNER, str(key), note)

    def _after(self, commit: Commit | None, key: TwinKey, sent: list[_Sent], action: str, token: str | None) -> None:
        """Publish once the commit is on disk; refuse if it fails."""
        if commit is None:
            self._publish(sent)
            return
        followed = self._followed[key]
        noting = followed.noting
        followed.in_flight += 1

        def ended(commit: Commit) -> None:
            followed.in_flight -= 1
            if commit.failure is None:
                followed.noted = noting
                self._publish(sent)
                self._on_change(key, None)
                return
            followed.noting = followed.noted
            followed.told = None
            if key in self._engine:
                self._told(key, followed)
            if action:
                failed = Rejected(500, f"Internal service failure: {commit.failure.message}", token)
                self._publish([self._rejection(followed.topic(action), failed)])

        commit.on_end(ended)

    def _reject(self, request: ShadowTopic, rejected: Rejected) -> None:
        self._counters.refused += 1
        self._publish([self._rejection(topics.aws_shadow(request.thing, request.shadow, request.action), rejected)])

    def _rejection(self, topic: str, rejected: Rejected) -> _Sent:
        body = aws.rejected(rejected.code, rejected.message, self._now_s(), rejected.token)
        return _Sent(f"{topic}/rejected", body)

    def _no_shadow(self, key: TwinKey) -> str:
        return f"No shadow exists with name: '{shadow_of(key) or self._things.thing(key)}'"

    def _publish(self, sent: list[_Sent]) -> None:
        for one in sent:
            try:
                self._link.publish(one.topic, one.body, qos=1)
            except (LinkError, InvalidName) as error:  # the client's time-out tells him
                log.debug("not said on %s: %s", one.topic, error.message)

    def _now_s(self) -> int:
        return self._clock.now_us() // 1_000_000


def _kept(followed: _Followed) -> Kept:
    return aws.kept(followed.noting) if followed.noting else Kept()


def _exists(now: Shadow, followed: _Followed) -> bool:
    return not now.empty or _kept(followed).exists
