"""AWS's Device Shadow topics on the apps' broker: the desired half of any gateway's shadows, and news of both halves.

    $aws/things/... ──> the worker whose thing it is ──> one turn on the gateway's rows ──> delta, accepted, documents
    what others change ──> the same worker ──> delta, documents

``reported`` is written by the gateway's side only: an update that has it is rejected with 403. What subscribers were
told of a shadow last is in a note of the same transaction, so that it is told once, and with what was there before.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable, Collection, Coroutine
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from typing import Any, Final, Self

from cloudsync.api.following import Follower
from cloudsync.api.peers import Peers
from cloudsync.hub import Hub
from cloudsync.store import AuditEntry, CloudStore
from cloudsync.turn import Turn
from cloudsync.writing import update as write
from twin.clock import Clock
from twin.delta import delta
from twin.dialects import aws
from twin.dialects.aws import Half, Kept, Shadow
from twin.dialects.aws_names import Things, device_of, shadow_key, shadow_of
from twin.dialects.aws_request import Rejected, Update, read_token, read_update
from twin.document import TwinDocument
from twin.errors import InvalidName, LinkError, Refused, StoreError, UnknownTwin
from twin.link import Link, Message
from twin.model import Kind, Section, TwinKey, TwinSpec
from twin.wire import topics
from twin.wire.topics import ShadowTopic

log = logging.getLogger(__name__)

OWNER: Final = "aws"
TOLD: Final = "aws told"
"""Owner of the notes that hold what subscribers know of a shadow, as it was told last."""
MAX_STATE_BYTES: Final = 8 * 1024
MAX_REQUESTS: Final = 256
NOTED_S: Final = 5.0
"""How often a worker looks for gateways with shadows that others took up."""

_NONE: Final = aws.shadow(0, Half(), Half())


@dataclass(frozen=True, slots=True)
class _Sent:
    topic: str
    body: bytes


class CloudShadows:
    """The dialect in one worker."""

    def __init__(self, store: CloudStore, hub: Hub, link: Link, clock: Clock, follower: Follower, peers: Peers) -> None:
        self._store = store
        self._hub = hub
        self._link = link
        self._clock = clock
        self._follower = follower
        self._peers = peers
        self._things = Things({})
        self._gateways: set[str] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._stack = AsyncExitStack()
        self._stop_listening: Callable[[], None] | None = None

    async def __aenter__(self) -> Self:
        """Start to take requests, and to follow the gateways that have shadows."""
        for one in topics.aws_requests():
            self._stack.callback(await self._link.subscribe(one, self._on_message))
        following = asyncio.create_task(self._follow(), name="gateways with shadows")
        self._stack.callback(following.cancel)
        return self

    async def __aexit__(self, *exc: object) -> None:
        """Stop; what is under way is given up."""
        await self._stack.aclose()
        if self._stop_listening is not None:
            self._stop_listening()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    # -- requests ------------------------------------------------------------------------------------------------

    def _on_message(self, message: Message) -> None:
        if message.retain:
            return  # a request is meant once
        request = topics.parse_aws(message.topic)
        if not self._peers.owns(request.thing):
            return
        if len(self._tasks) >= MAX_REQUESTS:
            self._publish([self._rejection(request, Rejected(429, f"More than {MAX_REQUESTS} requests are in flight"))])
            return
        self._begin(self._answer(request, message.payload))

    async def _answer(self, request: ShadowTopic, payload: bytes) -> None:
        try:
            sent = await self._served(request, payload)
        except Rejected as rejected:
            sent = [self._rejection(request, rejected)]
        except Exception:  # a supervisor boundary: one bad message must not end the worker
            log.exception("a message on %s failed", topics.aws_shadow(request.thing, request.shadow, request.action))
            sent = [self._rejection(request, Rejected(500, "Internal service failure"))]
        self._publish(sent)

    async def _served(self, request: ShadowTopic, payload: bytes) -> list[_Sent]:
        update = read_update(payload) if request.action == "update" else None
        token = read_token(payload) if update is None else update.token
        try:
            device, key = self._keys_of(request)
            try:
                gateway = await self._store.gateway_of(device)
            except UnknownTwin:
                raise Rejected(404, "Thing not found") from None
            async with self._hub.change(gateway) as turn:
                asked = _Asked(turn, key, self._topics(key), turn.now_us // 1_000_000, token)
                if update is not None:
                    sent = await self._update(asked, update)
                elif request.action == "get":
                    sent = await self._get(asked)
                else:
                    sent = await self._delete(asked)
        except StoreError as error:
            raise Rejected(500, f"Internal service failure: {error.message}", token) from None
        except Rejected as rejected:
            rejected.token = token
            raise
        self._gateways.add(gateway)
        return sent

    def _keys_of(self, request: ShadowTopic) -> tuple[TwinKey, TwinKey]:
        device = self._things.device(request.thing)
        if device is None:
            raise Rejected(404, "Thing not found")
        if not request.shadow:
            return device, device
        try:
            return device, shadow_key(device, request.shadow)
        except InvalidName as error:
            raise Rejected(400, f"{error.message}; {error.remedy}") from None

    async def _get(self, asked: _Asked) -> list[_Sent]:
        document, kept = await _found(asked.turn, asked.key)
        if document is None or not _exists(document, kept):
            raise Rejected(404, self._no_shadow(asked.key))
        now = aws.shadow_of_twin(document, kept)
        await self._tell(asked, now, exists=True)
        return [asked.sent("get/accepted", aws.got(now, _differing(document), asked.now_s, asked.token))]

    async def _update(self, asked: _Asked, update: Update) -> list[_Sent]:
        turn, key = asked.turn, asked.key
        document, kept = await _found(turn, key)
        before = _NONE if document is None else aws.shadow_of_twin(document, kept)
        if update.version is not None and update.version != before.version:
            raise Rejected(409, "Version conflict")
        after = aws.updated(before, update, asked.now_s)
        if not aws.fits(update, after, MAX_STATE_BYTES, modelled=key.kind is Kind.DEVICE):
            raise Rejected(413, "The payload exceeds the maximum size allowed")
        if aws.writes(before.reported, after.reported, update, Section.REPORTED):
            raise Rejected(403, "Forbidden: reported is written by the thing's gateway only")
        changes = aws.writes(before.desired, after.desired, update, Section.DESIRED)
        try:
            if document is None:
                await turn.define(TwinSpec(key, "", gateway=turn.state.gateway))
            await write(turn, key, changes, by=OWNER)
        except Refused as error:
            raise Rejected(400, error.message) from None
        written = await turn.tx.document(key)
        assert written is not None
        after = replace(after, version=written.version)
        await self._tell(asked, after, exists=True)
        await turn.tx.audit(AuditEntry(turn.now_ms, OWNER, "shadow update", str(key), ", ".join(changes)[:200]))
        sent = []
        state, stamps = aws.delta(after, _differing(written))
        if state:
            body = aws.delta_message(state, stamps, after.version, asked.now_s, asked.token)
            sent.append(asked.sent("update/delta", body))
        sent.append(asked.sent("update/accepted", aws.accepted(update, after, asked.now_s)))
        sent.append(asked.sent("update/documents", aws.documents(before, after, asked.now_s, asked.token)))
        return sent

    async def _delete(self, asked: _Asked) -> list[_Sent]:
        turn, key = asked.turn, asked.key
        document, kept = await _found(turn, key)
        if document is None or not _exists(document, kept):
            raise Rejected(404, self._no_shadow(key))
        desired, reported = aws.wiped(document)
        if reported:
            raise Rejected(403, "Forbidden: reported is written by the thing's gateway only")
        await write(turn, key, desired, by=OWNER)
        written = await turn.tx.document(key)
        assert written is not None
        await self._tell(asked, aws.shadow(written.version, Half(), Half()), exists=False)
        await turn.tx.audit(AuditEntry(turn.now_ms, OWNER, "shadow delete", str(key)))
        return [asked.sent("delete/accepted", aws.deleted(written.version, asked.now_s, asked.token))]

    async def _tell(self, asked: _Asked, now: Shadow, *, exists: bool) -> None:
        """Keep what subscribers will know once this turn is on disk."""
        await asked.turn.tx.note(OWNER, str(asked.key), aws.note(now, exists=exists))
        await asked.turn.tx.note(TOLD, str(asked.key), json.dumps([now.version, now.state, now.metadata]))

    # -- what others change --------------------------------------------------------------------------------------

    async def _follow(self) -> None:
        while True:
            try:
                await self._follow_once()
            except StoreError as error:
                log.debug("shadows are not followed just now: %s", error)
            await asyncio.sleep(NOTED_S)

    async def _follow_once(self) -> None:
        self._gateways |= await self._store.noted(TOLD)
        if self._gateways and self._stop_listening is None:
            self._stop_listening = await self._follower.listen(self._on_changed)

    def _on_changed(self, gateway: str, keys: Collection[TwinKey], all_: bool) -> None:
        if gateway in self._gateways:
            self._begin(self._news(gateway, None if all_ else frozenset(keys)))

    async def _news(self, gateway: str, keys: frozenset[TwinKey] | None) -> None:
        try:
            sent: list[_Sent] = []
            async with self._hub.change(gateway) as turn:
                told = await turn.tx.notes(TOLD)
                changed = [key for key in map(TwinKey.parse, told) if keys is None or key in keys]
                wanted = [key for key in changed if self._peers.owns(self._things.thing(device_of(key)))]
                notes = await turn.tx.notes(OWNER) if wanted else {}
                for key in wanted:
                    sent += await self._news_of(
                        turn, key, _read_told(told[str(key)]), aws.kept(notes.get(str(key), ""))
                    )
            self._publish(sent)
        except (StoreError, ValueError) as error:
            log.warning("what changed of %s's shadows is told with the next change: %s", gateway, error)

    async def _news_of(self, turn: Turn, key: TwinKey, told: Shadow, kept: Kept) -> list[_Sent]:
        document = await turn.tx.document(key)
        if document is None:
            await turn.tx.note(OWNER, str(key), None)
            await turn.tx.note(TOLD, str(key), None)
            return []
        if document.version <= told.version:
            return []
        now = aws.shadow_of_twin(document, kept)
        asked = _Asked(turn, key, self._topics(key), turn.now_us // 1_000_000, None)
        await self._tell(asked, now, exists=_exists(document, kept))
        sent = []
        state, stamps = aws.delta(now, _differing(document))
        if state:
            sent.append(asked.sent("update/delta", aws.delta_message(state, stamps, now.version, asked.now_s, None)))
        sent.append(asked.sent("update/documents", aws.documents(told, now, asked.now_s, None)))
        return sent

    # -- inside --------------------------------------------------------------------------------------------------

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _topics(self, key: TwinKey) -> Callable[[str], str]:
        thing, name = self._things.thing(device_of(key)), shadow_of(key)
        return lambda action: topics.aws_shadow(thing, name, action)

    def _rejection(self, request: ShadowTopic, rejected: Rejected) -> _Sent:
        now_s = self._clock.now_us() // 1_000_000
        body = aws.rejected(rejected.code, rejected.message, now_s, rejected.token)
        return _Sent(f"{topics.aws_shadow(request.thing, request.shadow, request.action)}/rejected", body)

    def _no_shadow(self, key: TwinKey) -> str:
        return f"No shadow exists with name: '{shadow_of(key) or self._things.thing(key)}'"

    def _publish(self, sent: list[_Sent]) -> None:
        for one in sent:
            try:
                self._link.publish(one.topic, one.body, qos=1)
            except (LinkError, InvalidName) as error:  # the client's time-out tells him
                log.debug("not said on %s: %s", one.topic, error.message)


@dataclass(frozen=True, slots=True)
class _Asked:
    """One request about one shadow, in its turn."""

    turn: Turn
    key: TwinKey
    topic: Callable[[str], str]
    now_s: int
    token: str | None

    def sent(self, action: str, body: bytes) -> _Sent:
        return _Sent(self.topic(action), body)


async def _found(turn: Turn, key: TwinKey) -> tuple[TwinDocument | None, Kept]:
    document = await turn.tx.document(key)
    note = (await turn.tx.notes(OWNER)).get(str(key), "") if document is not None else ""
    return document, aws.kept(note) if note else Kept()


def _read_told(text: str) -> Shadow:
    """What was told last. Raises ValueError."""
    version, state, metadata = json.loads(text)
    return Shadow(version, Half(), Half(), state, metadata)


def _exists(document: TwinDocument, kept: Kept) -> bool:
    return kept.exists or not aws.shadow_of_twin(document, kept).empty


def _differing(document: TwinDocument) -> dict[str, object]:
    return dict(delta(document.desired, document.reported, document.spec.properties))
