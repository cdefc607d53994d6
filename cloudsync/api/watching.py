"""The verb watch in the cloud: twins, or the result of a query, and then every change of it.

    changes of a gateway ──> pending twins of each watch ──> read again ──> what is news ──> the watcher

A watch reads for itself and keeps only which twins are pending: a watcher that is slow, or asks for much, holds up
nobody, and what changes meanwhile is told once, as it is then. A watch lives in one worker; when that dies its client
notices that nobody answers renew, and begins it anew.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Collection, Iterable
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Final

from cloudsync.api.following import Follower
from cloudsync.api.live import LiveResult, Shown, event_of, live_plan, shown
from cloudsync.store import CloudStore
from twin.api import Caller, Served, send_reply
from twin.clock import Clock
from twin.errors import EdgetwinError, InvalidMessage, LinkError, Refused, StoreError, UnknownTwin
from twin.link import Link, Message
from twin.model import TwinKey
from twin.query.plan import Plan
from twin.watches import Filter
from twin.wire import topics
from twin.wire.api import Verb, WatchEvent, WatchRequest
from twin.wire.cloud_api import KeepWatchRequest
from twin.wire.codec import decode

LEASE_S: Final = 60.0
MAX_WATCHES: Final = 1000
"""Watches of one worker."""
MAX_TWINS: Final = 100_000
"""Twins, or rows, of one watch."""
MAX_PENDING: Final = 10_000
"""Changed twins that are kept by name; beyond that all are looked at."""
PAGE: Final = 500
READERS: Final = 8
"""Watches of one worker that read at once."""

_RETRY_S: Final = 1.0
_FULL_S: Final = 0.05

log = logging.getLogger(__name__)

Place = tuple[str, bytes]


class WatchTooLarge(Refused):
    """More twins than one watch may follow."""

    code = "watch_too_large"


class Watches:
    """All watches of one worker."""

    def __init__(self, store: CloudStore, follower: Follower, link: Link, clock: Clock) -> None:
        self._store = store
        self._follower = follower
        self._link = link
        self._clock = clock
        self._watches: dict[Place, _Watch] = {}
        self._readers = asyncio.Semaphore(READERS)
        self._stop: Callable[[], None] | None = None

    def verbs(self) -> dict[Verb, Served[Any]]:
        """What an ApiServer is to serve; renew comes another way."""
        return {Verb.WATCH: Served(WatchRequest, self.watch)}

    async def open(self) -> None:
        """Listen to renewals: they reach every worker, for only one has the watch."""
        self._stop = await self._link.subscribe(topics.cloud_request(Verb.RENEW, "+"), self._on_renew)

    async def close(self) -> None:
        """End all watches; their clients begin anew elsewhere."""
        if self._stop is not None:
            self._stop()
        tasks = [watch.task for watch in self._watches.values() if watch.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def watch(self, request: WatchRequest, caller: Caller) -> None:
        """Begin a watch."""
        if request.renew or request.stop:
            text = "a watch in the cloud is kept with the verb renew"
            raise InvalidMessage(text, remedy="Send renew with the watch's response topic and correlation data.")
        wanted, plan = _read(request)
        if wanted.key is not None:
            await self._store.gateway_of(wanted.key)  # raises UnknownTwin before anything is begun
        place = (caller.response_topic, caller.correlation)
        now_s = self._clock.monotonic_s()
        for expired in [one for one, watch in self._watches.items() if watch.until_s < now_s]:
            self._end(expired)
        if place in self._watches:
            self._end(place)
        elif len(self._watches) >= MAX_WATCHES:
            text = f"{MAX_WATCHES} watches are open in this worker"
            raise EdgetwinError(text, remedy="Ask again, stop watches that nobody reads, or watch more with one.")
        watch = self._watches[place] = _Watch(wanted, plan, caller, now_s + LEASE_S)
        watch.task = asyncio.create_task(self._run(place, watch), name=f"watch of {caller.account}")

    def _on_renew(self, message: Message) -> None:
        watch = self._watches.get((message.response_topic, message.correlation))
        try:
            asked = topics.parse_cloud_request(message.topic)
            request = decode(KeepWatchRequest, message.payload, what="request renew")
        except EdgetwinError as error:
            log.debug("a renewal is dropped: %s", error.message)
            return
        if watch is None or watch.caller.account != asked.account:
            return
        if request.stop:
            self._end((message.response_topic, message.correlation))
            return
        watch.until_s = self._clock.monotonic_s() + LEASE_S
        send_reply(self._link, watch.caller, WatchEvent(alive=True))

    def _end(self, place: Place) -> None:
        watch = self._watches.pop(place)
        if watch.task is not None:
            watch.task.cancel()

    async def _run(self, place: Place, watch: _Watch) -> None:
        try:
            stop = await self._follower.listen(watch.on_changed)
            try:
                async for event in self._initial(watch):
                    await self._send(watch, event)
                await self._send(watch, WatchEvent(ready=True))
                await self._follow(watch)
            finally:
                stop()
        except EdgetwinError as error:
            send_reply(self._link, watch.caller, error)
        except Exception:  # a supervisor boundary: one watch must not end the worker
            log.exception("a watch of %s failed", watch.caller.account)
            text = "the watch failed inside the cloud"
            send_reply(self._link, watch.caller, EdgetwinError(text, remedy="The worker's log has the reason."))
        finally:
            if self._watches.get(place) is watch:
                del self._watches[place]

    async def _follow(self, watch: _Watch) -> None:
        failing = False
        while self._clock.monotonic_s() < watch.until_s:
            try:
                async with asyncio.timeout(LEASE_S / 4):
                    await watch.news.wait()
            except TimeoutError:
                continue
            watch.news.clear()
            keys, all_ = watch.take()
            try:
                async for event in self._news(watch, keys, all_=all_):
                    await self._send(watch, event)
            except StoreError as error:
                log.log(logging.DEBUG if failing else logging.WARNING, "a watch waits for the store: %s", error)
                failing = True
                watch.put_back(keys, all_=all_)
                await asyncio.sleep(_RETRY_S)
            else:
                failing = False

    # -- what is shown -------------------------------------------------------------------------------------------

    async def _initial(self, watch: _Watch) -> AsyncIterator[WatchEvent]:
        if watch.plan is not None:
            async for rows in self._rows(watch.plan):
                for event in watch.result.initial(rows):
                    yield event
                _check_size(len(watch.result.rows))
            return
        async for document in self._documents(watch.wanted):
            watch.shown[document.spec.key] = shown(document)
            _check_size(len(watch.shown))
            yield event_of(document, None, initial=True)

    async def _news(
        self, watch: _Watch, keys: frozenset[TwinKey], *, all_: frozenset[str]
    ) -> AsyncIterator[WatchEvent]:
        if watch.plan is not None:
            if all_:
                found = [row async for rows in self._rows(watch.plan) for row in rows]
                for event in watch.result.update(None, found):
                    yield event
                return
            for some in _portions(sorted(keys)):
                async with self._readers:
                    answer = await self._store.answer(watch.plan, rows=len(some), only=some)
                for event in watch.result.update([str(key) for key in some], answer.rows):
                    yield event
            return
        if all_:
            async for event in self._compared(watch):
                yield event
            return
        for key in sorted(keys):
            event_ = await self._one(watch, key)
            if event_ is not None:
                yield event_

    async def _one(self, watch: _Watch, key: TwinKey) -> WatchEvent | None:
        try:
            async with self._readers:
                document = await self._store.twin(key)
        except UnknownTwin:
            return WatchEvent(twin=str(key)) if watch.shown.pop(key, None) is not None else None
        if not watch.wanted.fits(key, document.spec.gateway):
            return None
        return _newer(watch, document)

    async def _compared(self, watch: _Watch) -> AsyncIterator[WatchEvent]:
        """All twins again: those that are news, and those that are gone."""
        found: set[TwinKey] = set()
        async for document in self._documents(watch.wanted):
            found.add(document.spec.key)
            event = _newer(watch, document)
            if event is not None:
                yield event
        for key in [key for key in watch.shown if key not in found]:
            del watch.shown[key]
            yield WatchEvent(twin=str(key))

    async def _documents(self, wanted: Filter) -> AsyncIterator[Any]:
        if wanted.key is not None:
            try:
                yield await self._store.twin(wanted.key)
            except UnknownTwin:
                return
            return
        after: TwinKey | None = None
        while True:
            async with self._readers:
                page = await self._store.twins(
                    kind=wanted.kind, namespace=wanted.namespace, gateway=wanted.gateway, after=after, limit=PAGE
                )
            for document in page:
                yield document
            if len(page) < PAGE:
                return
            after = page[-1].spec.key

    async def _rows(self, plan: Plan) -> AsyncIterator[list[list[Any]]]:
        after: TwinKey | None = None
        while True:
            async with self._readers:
                answer = await self._store.answer(plan, rows=PAGE, after=after)
            yield answer.rows
            after = answer.after
            if after is None:
                return

    async def _send(self, watch: _Watch, event: WatchEvent) -> None:
        """Send, waiting for a broker that takes no more just now: what changes meanwhile stays pending."""
        while True:
            try:
                send_reply(self._link, watch.caller, event, strict=True)
            except LinkError:
                await asyncio.sleep(_FULL_S)
                if self._clock.monotonic_s() >= watch.until_s:
                    raise
            else:
                return


@dataclass(slots=True)
class _Watch:
    wanted: Filter
    plan: Plan | None
    caller: Caller
    until_s: float
    task: asyncio.Task[None] | None = None
    shown: dict[TwinKey, Shown] = field(default_factory=dict)
    result: LiveResult = field(init=False)
    news: asyncio.Event = field(default_factory=asyncio.Event)
    _keys: set[TwinKey] = field(default_factory=set)
    _all: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        columns = self.plan.selected[1:] if self.plan is not None else ()
        self.result = LiveResult(tuple(one.title for one in columns))

    def on_changed(self, gateway: str, keys: Collection[TwinKey], all_: bool) -> None:  # a Listener
        wanted = self.wanted
        if wanted.gateway not in ("", gateway):
            return
        before = len(self._keys)
        self._keys.update(keys if self.plan is not None else (key for key in keys if wanted.fits(key, gateway)))
        if all_ or len(self._keys) > MAX_PENDING:
            self._all.add(gateway)
        if self._all or len(self._keys) > before:
            self.news.set()

    def take(self) -> tuple[frozenset[TwinKey], frozenset[str]]:
        taken = frozenset(self._keys), frozenset(self._all)
        self._keys.clear()
        self._all.clear()
        return taken

    def put_back(self, keys: frozenset[TwinKey], *, all_: frozenset[str]) -> None:
        self._keys |= keys
        self._all |= all_
        self.news.set()


def _read(request: WatchRequest) -> tuple[Filter, Plan | None]:
    if not request.query:
        return Filter.of(request), None
    if request.twin or request.kind or request.namespace or request.gateway:
        text = "a watch has a query, or names twins, not both"
        raise InvalidMessage(text, remedy="Put the names into the query: WHERE namespace = 'plant'.")
    from twin.query.parse import parse  # sqlglot costs memory that only those who query should pay

    return Filter.of(request), live_plan(parse(request.query))


def _newer(watch: _Watch, document: Any) -> WatchEvent | None:
    key, now = document.spec.key, shown(document)
    before = watch.shown.get(key)
    if before == now:
        return None
    watch.shown[key] = now
    return event_of(document, before)


def _check_size(count: int) -> None:
    if count > MAX_TWINS:
        text = f"the watch has more than {MAX_TWINS} twins"
        raise WatchTooLarge(text, remedy="Narrow it with a namespace, a gateway or a query.")


def _portions(keys: Iterable[TwinKey]) -> list[list[TwinKey]]:
    rest = iter(keys)
    portions = []
    while some := list(islice(rest, PAGE)):
        portions.append(some)
    return portions
