"""Which gateways there are, whether they have a session, and what they say of themselves."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import NamedTuple

from cloudsync.kube.nodes import Gateway
from cloudsync.leases import AWAY_MS
from cloudsync.store import CloudStore, GatewayState
from twin.clock import Clock
from twin.document import live
from twin.errors import UnknownTwin
from twin.manifest.document import DocumentKind, Ref
from twin.merge import value_of
from twin.model import DEFAULT_NAMESPACE, Kind, TwinKey, Value


class Seen(NamedTuple):
    """Gateways that came, or whose session came or went; and those that say something else of themselves."""

    turned: set[str]
    reread: set[str]


class Presence:
    """All gateways of the cloud, as of the last look."""

    def __init__(self, store: CloudStore, known: Callable[[str], Awaitable[bool]], clock: Clock) -> None:
        self._store = store
        self._known = known
        self._clock = clock
        self._twins: dict[str, Mapping[str, Value]] = {}
        self._stale: set[str] = set()
        self.gateways: dict[str, Gateway] = {}

    def changed(self, gateway: str) -> None:
        """Its twin has to be read again."""
        self._stale.add(gateway)

    def refused(self, gateway: str) -> dict[Ref, str]:
        """The documents that the gateway says it cannot serve."""
        said = self._twins.get(gateway, {}).get("refused_documents")
        found: dict[Ref, str] = {}
        for name, why in said.items() if isinstance(said, dict) else ():
            kind, _, place = name.partition(" ")
            namespace, _, called = place.partition("/")
            if kind in set(DocumentKind) and isinstance(why, str):
                found[Ref(DocumentKind(kind), namespace, called)] = why
        return found

    async def look(self) -> Seen:
        """Look again. Raises StoreError."""
        now_ms = self._clock.now_us() // 1000
        found: dict[str, Gateway] = {}
        reread = set()
        for state in await self._store.gateways():
            name = state.gateway
            if not await self._known(name):
                continue
            if name not in self._twins or name in self._stale:
                self._stale.discard(name)
                self._twins[name] = await self._said(name)
                reread.add(name)
            said = self._twins[name]
            found[name] = Gateway(name, _is_alive(state, now_ms), state.heard_at, said)
        before, self.gateways = self.gateways, found
        turned = {name for name, one in found.items() if name not in before or before[name].alive != one.alive}
        return Seen(turned, reread)

    async def _said(self, gateway: str) -> Mapping[str, Value]:
        try:
            twin = await self._store.twin(TwinKey(Kind.GATEWAY, DEFAULT_NAMESPACE, gateway))
        except UnknownTwin:
            return {}
        return {name: value_of(slot) for name, slot in live(twin.reported).items()}


def _is_alive(state: GatewayState, now_ms: int) -> bool:
    return state.online and bool(state.session) and abs(now_ms - state.heard_at) < AWAY_MS
