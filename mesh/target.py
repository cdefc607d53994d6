"""One endpoint as its upstream sees it: how busy it is, and what is held against it.

in use ──failures──> ejected ──time is over──> on trial ──it answers──> in use
                        ^                         │
                        └───────it fails──────────┘   each time for longer
"""

from __future__ import annotations

import math
from enum import Enum
from typing import Final

from mesh.model.services import Endpoint


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


class Trial(Enum):
    """Where an endpoint that comes back stands."""

    NONE = 0
    WAITING = 1
    RUNNING = 2


_NONE: Final = Trial.NONE
"""Asked for at each answer; a look into the Enum takes longer than the rest."""


class Target:
    """One endpoint, with what is known of it. ``known_s`` is since when; its weight grows from then on (warm-up)."""

    __slots__ = (
        "active",
        "ejected_until_s",
        "ejections",
        "endpoint",
        "failures",
        "gateway_errors",
        "known_s",
        "level",
        "local_failures",
        "marked",
        "place",
        "points",
        "probe_failed",
        "returned_s",
        "server_errors",
        "trial",
        "weight",
    )

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        self.place = endpoint.place
        self.active = 0
        self.weight = float(endpoint.weight)
        self.level = 0
        self.known_s: float | None = None
        self.probe_failed = False
        self.marked = False
        """Something is held against it: any of the counts, an ejection, a trial. The hot path looks at this alone."""
        self.failures = 0
        """Tries that it did not answer, since it is known."""
        self.server_errors = 0
        self.gateway_errors = 0
        self.local_failures = 0
        self.ejections = 0
        self.ejected_until_s = -math.inf
        self.returned_s = -math.inf
        self.trial = Trial.NONE
        self.points: tuple[int, ...] = ()
        """Its places on the ring of consistent hashing, once asked for."""

    def __repr__(self) -> str:
        return f"Target({self.endpoint.place})"

    @property
    def ejected(self) -> bool:
        """Left out because of what it answered; over once its upstream sees that the time has come."""
        return self.ejected_until_s > -math.inf

    @property
    def out(self) -> bool:
        """Nothing is sent to it while others are in."""
        return self.ejected or self.probe_failed
