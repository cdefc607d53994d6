"""One client, from the door to its end.

──raw──> rule ──> admitted? ──> Connecting ──> Pair ──> over
──tls──> Greeting ──┘               └ nobody is reached: another service (degrade), or the client is reset
"""

from __future__ import annotations

import logging
import socket
from typing import TYPE_CHECKING, TypeAlias

from mesh.model.policies import Degrade, When
from mesh.model.programme import BoundRule, Frontend
from mesh.model.routes import Backend
from mesh.model.services import AppProtocol, PortKey
from mesh.planes.l4.choosing import hash_of
from mesh.planes.l4.client_hello import ClientHello
from mesh.planes.l4.connecting import Connecting
from mesh.planes.l4.greeting import Greeting
from mesh.planes.l4.pair import Pair, Side, keep_alive, reset
from mesh.planes.l4.rules import rule_for
from mesh.tally import Tally
from mesh.upstream import Outcome, Refusal, Target, Upstream

if TYPE_CHECKING:
    from mesh.planes.l4.carrier import RawCarrier

log = logging.getLogger(__name__)

Why: TypeAlias = When | Refusal
_WHEN = {Refusal.BREAKER_OPEN: When.BREAKER_OPEN, Refusal.NO_ENDPOINT: When.NO_ENDPOINT}


class Call:
    """One client of one frontend."""

    __slots__ = (
        "_carrier", "_connecting", "_degraded", "_greeting", "_head", "_moving_s", "_pair", "_reported", "_rule",
        "_sock", "client", "frontend", "server_name", "tallies", "target", "took_s", "upstream",
    )  # fmt: skip

    def __init__(self, carrier: RawCarrier, sock: socket.socket, client: str, frontend: Frontend) -> None:
        self._carrier = carrier
        self._sock = sock
        self.server_name = ""
        self.tallies: tuple[Tally, ...] = ()
        """Where its watcher counts it."""
        self.client = client
        self.frontend = frontend
        self.upstream: Upstream | None = None
        self.target: Target | None = None
        self.took_s = 0.0
        self._rule: BoundRule | None = None
        self._head = b""
        self._degraded = False
        self._greeting: Greeting | None = None
        self._connecting: Connecting | None = None
        self._pair: Pair | None = None
        self._reported = (0, 0)
        self._moving_s = 0.0

    # -- where to ------------------------------------------------------------------------------------------------------

    def begin(self) -> None:
        """Find out where the client goes, and take it there."""
        if self.frontend.app is AppProtocol.TLS:
            self._greeting = Greeting(self._sock, self._carrier.wire.poller, self._greeted)
            self._greeting.begin()
        else:
            self._follow(rule_for(self.frontend.rules, None))

    def _greeted(self, hello: ClientHello | None, head: bytes) -> None:
        self._greeting = None
        self._head = head
        self.server_name = hello.server_name if hello else ""
        self._follow(rule_for(self.frontend.rules, hello.server_name) if hello else None)

    def _follow(self, rule: BoundRule | None) -> None:
        self._rule = rule
        if rule is None:
            self._refuse(When.NO_ENDPOINT)
            return
        if not self._carrier.choosing.allows(self.frontend.key, rule.rate_limit, self.client):
            self._instead(When.OVER_LIMIT)
            return
        backend = self._carrier.choosing.backend(rule.rule)
        if backend is None:
            self._instead(When.NO_ENDPOINT)
        else:
            self._go(backend.port)

    def _go(self, port: PortKey) -> None:
        upstream = self._carrier.upstreams.get(port)
        self.upstream = upstream
        if upstream is None:
            self._instead(Refusal.NO_ENDPOINT)
            return
        policy = upstream.group.policy
        if not self._carrier.choosing.allows(port, policy.rate_limit, self.client):
            self._instead(When.OVER_LIMIT)
            return
        refusal = upstream.admit(self._carrier.clock())
        if refusal is not None:
            self._instead(refusal)
            return
        self._connecting = Connecting(
            upstream,
            self._carrier.wire.poller,
            self._carrier.clock,
            self._arrived,
            key=hash_of(upstream, self.client),
            dialer=self._carrier.dialer,
        )
        stays = self.frontend.affinity_s > 0
        self._connecting.begin(self._carrier.choosing.stayed(upstream, self.client) if stays else None)

    def _instead(self, why: Why) -> None:
        """What the rule or the service says of this case; a second time there is nothing left to say."""
        when = _WHEN.get(why) if isinstance(why, Refusal) else why
        if not self._degraded:
            for one in self._degrades():
                if one.when is when and isinstance(one.then, Backend):
                    self._degraded = True
                    self._go(one.then.port)
                    return
        self._refuse(why)

    def _degrades(self) -> tuple[Degrade, ...]:
        rule = self._rule.degrade if self._rule else ()
        return rule + (self.upstream.group.policy.degrade if self.upstream else ())

    def _refuse(self, why: Why) -> None:
        log.debug("%s: a client of %s is turned away: %s", self.frontend.key, self.client, why)
        reset(self._sock)
        self._carrier.refused(self, why)

    # -- on the way ----------------------------------------------------------------------------------------------------

    def _arrived(self, target: Target | None, sock: socket.socket | None, took_s: float) -> None:
        self._connecting = None
        if target is None or sock is None:
            self._instead(Refusal.NO_ENDPOINT)
            return
        self.target, self.took_s = target, took_s
        if self.frontend.affinity_s and self.upstream is not None:
            self._carrier.choosing.stays(self.upstream, self.client, target, self.frontend.affinity_s)
        self._moving_s = self._carrier.clock()
        idle_s = self.upstream.group.policy.pool.tcp_keepalive_s if self.upstream else 0
        for one in (self._sock, sock) if idle_s else ():
            keep_alive(one, idle_s)
        self._pair = Pair(self._carrier.wire, self._sock, sock, self._over)
        self._carrier.stands(self)
        self._pair.begin(self._head)
        self._head = b""

    def _over(self, pair: Pair, side: Side | None) -> None:
        broken = Outcome.RESET if side is pair.endpoint else Outcome.ABANDONED
        outcome = Outcome.OK if side is None else broken
        assert self.upstream is not None
        assert self.target is not None
        # Servers that end a conversation with a reset are well; one that resets before it says anything is not.
        spoke = outcome is Outcome.RESET and pair.endpoint.moved > 0
        self.upstream.ended(self.target, Outcome.OK if spoke else outcome, self._carrier.clock(), self.took_s)
        self._carrier.ended(self, outcome)

    @property
    def route(self) -> str:
        """The route that it goes by; empty: none was written."""
        route = self._rule.route if self._rule else None
        return str(route) if route else ""

    def all_moved(self) -> tuple[int, int]:
        """Bytes from the client and to it."""
        return (self._pair.client.moved, self._pair.endpoint.moved) if self._pair else (0, 0)

    def moved(self) -> tuple[int, int]:
        """Bytes from the client and to it since this was asked last."""
        up_bytes, down_bytes = self.all_moved()
        before = self._reported
        self._reported = (up_bytes, down_bytes)
        return up_bytes - before[0], down_bytes - before[1]

    def held_bytes(self) -> int:
        """What was read of either side and not written to the other yet."""
        return self._pair.held_bytes if self._pair else len(self._head)

    def looked_at(self, moved: bool, now_s: float) -> None:
        """Looked at now and then: end it if nothing has moved for the idle time-out."""
        if moved or self._pair is None or self.upstream is None:
            self._moving_s = now_s
            return
        idle_ms = self.upstream.group.policy.pool.tcp_idle_timeout_ms
        if idle_ms and now_s - self._moving_s >= idle_ms / 1000:
            self._pair.abort()

    def abort(self) -> None:
        """End it now, wherever it is."""
        if self._pair is not None:
            self._pair.abort()
            return
        if self._greeting is not None:
            self._greeting.cancel()
        if self._connecting is not None:
            self._connecting.cancel()
        self._refuse(Refusal.NO_ENDPOINT)
