"""The verb watch on an engine: twins as they are, then what becomes of them.

A plain watch has a message for every change. One with ``every_ms`` is told of each twin at most so often, as it is
then, many twins in a message:

    change ──> pending twins of the watch ──> a portion of them ──> one message ──> rest, many times as long as it took

So whatever changes, and however fast, such a watch costs the loop a small share of its time; it only gets slower.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from twin.clock import Clock
from twin.engine import TwinEngine
from twin.errors import EdgetwinError, InvalidMessage, LinkError, UnknownTwin
from twin.model import Kind, Section, TwinKey
from twin.view import twin_body
from twin.wire.api import GetRequest, WatchEvent, WatchRequest

if TYPE_CHECKING:
    from twin.api import Caller

WATCH_LEASE_S: Final = 60.0
MAX_WATCHES: Final = 1000
"""Watches at once; each plain one costs a message for every change it fits."""
PORTION: Final = 25
"""Twins of one message."""
REST: Final = 19.0
"""A gathering watch rests so many times as long as its last message took: it has a twentieth of a core at most."""
FIRST_REST: Final = 4.0
"""The same while it tells the twins as they are, for which somebody waits."""
_AGAIN_S: Final = 1.0

Send = Callable[["Caller", WatchEvent], None]
"""Sends one event. Raises LinkError if it cannot be sent now."""
Place = tuple[str, bytes]


class Watches:
    """All watches of one engine."""

    def __init__(self, engine: TwinEngine, clock: Clock, send: Send) -> None:
        self._engine = engine
        self._clock = clock
        self._strict = send
        self._watches: dict[Place, _Watch] = {}
        self._stop_watching: Callable[[], None] | None = None

    async def watch(self, request: WatchRequest, caller: Caller) -> None:
        """Start, renew or stop a watch."""
        place = (caller.response_topic, caller.correlation)
        now_s = self._clock.monotonic_s()
        if request.stop:
            self._watches.pop(place, None)
            return
        if request.renew and place in self._watches:
            self._watches[place].until_s = now_s + WATCH_LEASE_S
            return
        if request.query:
            text = "a gateway watches twins by name, kind and namespace, not by a query"
            raise InvalidMessage(text, remedy="Watch a kind or namespace, or ask the cloud for a live query.")
        wanted = Filter.of(request)
        await self._engine.decided()
        if wanted.key is not None and wanted.key not in self._engine:
            text = f"{wanted.key} is not known here"
            raise UnknownTwin(text, remedy="`edgetwin get` lists the twins.")
        self._forget_expired(now_s)
        if place not in self._watches and len(self._watches) >= MAX_WATCHES:
            text = f"{MAX_WATCHES} watches are open"
            raise EdgetwinError(text, remedy="Stop watches that nobody reads, or watch a whole namespace with one.")
        if self._stop_watching is None:
            self._stop_watching = self._engine.watch(self._on_change)
        watch = _Watch(wanted, caller, now_s + WATCH_LEASE_S, every_s=request.every_ms / 1000)
        self._watches[place] = watch
        keys = [key for key in self._engine if wanted.fits_twin(self._engine, key)]
        if watch.every_s:
            watch.portion = keys
            self._tell(place, watch)
            return
        for key in keys:
            self._send(caller, WatchEvent(twin=str(key), body=twin_body(self._engine.document(key)), initial=True))
        self._send(caller, WatchEvent(ready=True))

    def _on_change(self, key: TwinKey, changed: frozenset[tuple[Section, str]]) -> None:
        self._forget_expired(self._clock.monotonic_s())
        if not self._watches and self._stop_watching is not None:
            self._stop_watching()
            self._stop_watching = None
        event: WatchEvent | None = None
        for place, watch in self._watches.items():
            if key in watch.pending or not watch.wanted.fits_twin(self._engine, key):
                continue
            if watch.every_s:
                watch.pending[key] = None
                if watch.ready and watch.timer is None:
                    self._begin(place, watch)
                continue
            event = event or self._event(key, changed)
            self._send(watch.caller, event)

    def _event(self, key: TwinKey, changed: frozenset[tuple[Section, str]]) -> WatchEvent:
        return WatchEvent(
            twin=str(key),
            body=twin_body(self._engine.document(key)) if key in self._engine else None,
            desired=sorted(name for section, name in changed if section is Section.DESIRED),
            reported=sorted(name for section, name in changed if section is Section.REPORTED),
        )

    def _send(self, caller: Caller, event: WatchEvent) -> None:
        with contextlib.suppress(LinkError):  # it is lost: a plain watch has every change from its link or not at all
            self._strict(caller, event)

    def _forget_expired(self, now_s: float) -> None:
        for place in [place for place, watch in self._watches.items() if watch.until_s < now_s]:
            del self._watches[place]

    # -- watches that gather -------------------------------------------------------------------------------------

    def _begin(self, place: Place, watch: _Watch) -> None:
        """A round of what is pending, as soon as the last one is long enough ago."""
        wait_s = max(watch.began_s + watch.every_s - self._clock.monotonic_s(), watch.rest_s)
        watch.timer = asyncio.get_running_loop().call_later(wait_s, self._round, place, watch)

    def _round(self, place: Place, watch: _Watch) -> None:
        watch.began_s = self._clock.monotonic_s()
        watch.portion = list(watch.pending)
        watch.pending.clear()
        self._tell(place, watch)

    def _tell(self, place: Place, watch: _Watch) -> None:
        """One message of what is left of the round, and a rest."""
        watch.timer = None
        began_s = self._clock.monotonic_s()
        if self._watches.get(place) is not watch or watch.until_s < began_s:
            return
        keys, watch.portion = watch.portion[:PORTION], watch.portion[PORTION:]
        event = WatchEvent(
            twins=[twin_body(self._engine.document(key)) for key in keys if key in self._engine],
            gone=[str(key) for key in keys if key not in self._engine],
            initial=not watch.ready,
            ready=not watch.portion and not watch.ready,
        )
        try:
            self._strict(watch.caller, event)
        except LinkError:  # the broker takes no more just now: these are told later, as they are then
            watch.portion = keys + watch.portion
            watch.timer = asyncio.get_running_loop().call_later(_AGAIN_S, self._tell, place, watch)
            return
        watch.rest_s = (self._clock.monotonic_s() - began_s) * (REST if watch.ready else FIRST_REST)
        if watch.portion:
            watch.timer = asyncio.get_running_loop().call_later(watch.rest_s, self._tell, place, watch)
            return
        watch.ready = True
        if watch.pending:
            self._begin(place, watch)


@dataclass(frozen=True, slots=True)
class Filter:
    """Which twins a request is about; an empty part fits all."""

    key: TwinKey | None
    kind: str
    namespace: str
    gateway: str

    @classmethod
    def of(cls, request: GetRequest | WatchRequest) -> Filter:
        """Read it. Raises InvalidMessage, InvalidName."""
        if request.kind and request.kind not in set(Kind):
            text = f"there is no kind {request.kind!r}"
            raise InvalidMessage(text, remedy="Kinds are " + ", ".join(Kind) + ".")
        key = TwinKey.parse(request.twin) if request.twin else None
        return cls(key, request.kind, request.namespace, request.gateway)

    def fits(self, key: TwinKey, gateway: str) -> bool:
        """Whether it is about a twin, which is of that gateway."""
        if self.key is not None:
            return key == self.key
        return self.kind in ("", key.kind) and self.namespace in ("", key.namespace) and self.gateway in ("", gateway)

    def fits_twin(self, engine: TwinEngine, key: TwinKey) -> bool:
        """The same for a twin of an engine; one that is there no more may have been of any gateway."""
        gateway = engine.spec(key).gateway if self.gateway and key in engine else self.gateway
        return self.fits(key, gateway)


@dataclass(slots=True)
class _Watch:
    wanted: Filter
    caller: Caller
    until_s: float
    every_s: float = 0.0
    pending: dict[TwinKey, None] = field(default_factory=dict)
    """Twins that have changed since the round began, in the order in which they did."""
    portion: list[TwinKey] = field(default_factory=list)
    """What is left of the round."""
    began_s: float = 0.0
    rest_s: float = 0.0
    ready: bool = False
    timer: asyncio.TimerHandle | None = None
