"""The live side of a port of a service: which endpoint is next, what is known of each, what may be asked of it now.

Planes call, in this order:  admit -> pick -> began -> ended  (and pick again, with ``tried``, for another try).
One object for each port, shared by the planes of a process; everything is called from its event loop.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from enum import Enum
from random import Random

from mesh.model import BackendGroup, Endpoint, PortKey


class Outcome(Enum):
    """How a try at an endpoint ended."""

    OK = "ok"
    SERVER_ERROR = "5xx"
    GATEWAY_ERROR = "502-504"
    CONNECT_FAILED = "connect"
    TIMEOUT = "timeout"
    RESET = "reset"
    ABANDONED = "abandoned"
    """The client went away: says nothing of the endpoint."""


class Refusal(Enum):
    """Why nothing may be asked of a service right now."""

    BREAKER_OPEN = "breakerOpen"
    OVER_CONNECTIONS = "maxConnections"
    OVER_REQUESTS = "maxRequests"
    NO_ENDPOINT = "noEndpoint"


class Target:
    """One endpoint, with what is known of it."""

    __slots__ = ("active", "endpoint")

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        self.active = 0


class Upstream:
    """One port of a service. Times are seconds of the monotonic clock."""

    def __init__(self, group: BackendGroup, rng: Random) -> None:
        self.group = group
        self._rng = rng
        self._next = 0
        self._targets: dict[str, Target] = {}
        self.update(group)

    @property
    def key(self) -> PortKey:
        """The port."""
        return self.group.key

    @property
    def targets(self) -> Mapping[str, Target]:
        """All endpoints by place."""
        return self._targets

    def update(self, group: BackendGroup) -> None:
        """Take other endpoints or another policy; what is known of endpoints that stay is kept."""
        known = self._targets
        self.group = group
        self._targets = {}
        for endpoint in group.endpoints:
            target = known.get(endpoint.place) or Target(endpoint)
            target.endpoint = endpoint
            self._targets[endpoint.place] = target

    def admit(self, now_s: float) -> Refusal | None:
        """Whether another request may be sent at all; None: yes."""
        del now_s
        return None if self._targets else Refusal.NO_ENDPOINT

    def pick(self, now_s: float, key: int | None = None, tried: Collection[Target] = ()) -> Target | None:
        """The endpoint for the next try; ``key`` is a hash for consistent balancing. None: none is left."""
        del now_s, key
        usable = [one for one in self._targets.values() if one.endpoint.ready and one not in tried]
        if not usable:
            return None
        self._next += 1
        return usable[self._next % len(usable)]

    def began(self, target: Target, now_s: float) -> None:
        """A request or connection is on its way to it."""
        del now_s
        target.active += 1

    def ended(self, target: Target, outcome: Outcome, now_s: float, took_s: float) -> None:
        """How it went; ``took_s`` until the response began, or the connection stood."""
        del outcome, now_s, took_s
        target.active -= 1


class Upstreams:
    """All upstreams of a process; planes look them up by port at each use, so that a change is seen at once."""

    def __init__(self, rng: Random) -> None:
        self._rng = rng
        self._all: dict[PortKey, Upstream] = {}

    def get(self, key: PortKey) -> Upstream | None:
        """The upstream of a port; None: there is none (any more)."""
        return self._all.get(key)

    def all(self) -> Iterable[Upstream]:
        """Every one."""
        return self._all.values()

    def apply(self, changed: Iterable[BackendGroup], gone: Iterable[PortKey]) -> None:
        """Take what is new or other, drop what is gone."""
        for group in changed:
            known = self._all.get(group.key)
            if known is None:
                self._all[group.key] = Upstream(group, self._rng)
            else:
                known.update(group)
        for key in gone:
            self._all.pop(key, None)
