"""Where the sync with the cloud stands, for people: the states of a session, and what status shows of it.

OFF ──joined──> OFFLINE ──link up──> CONNECTING ──Welcome──> RESYNC ──both sides equal──> LIVE
                   ^                     ^  └─ busy: waits        │                         │
                   │                     └──── no word for a while, or asked for ───────────┤
                   └─ link down; fenced or revoked: stays away for as long as it was told ──┘
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from twin.clock import Clock
from twin.errors import StoreError

log = logging.getLogger(__name__)


class SyncState(StrEnum):
    """The states."""

    OFF = "off"  # no cloud is named
    OFFLINE = "offline"  # no connection to the cloud's broker
    CONNECTING = "connecting"  # connected, and no session yet
    RESYNC = "resync"  # both sides send what the other lacks
    LIVE = "live"  # both sides were equal; changes go at once


@dataclass(frozen=True, slots=True)
class Unsent:
    """What the cloud does not have on disk yet: how many leaves, and the tick of the oldest (0: none)."""

    leaves: int = 0
    oldest: int = 0


@dataclass(frozen=True, slots=True)
class Timing:
    """What the session goes by, in seconds."""

    digests_every_s: float = 6 * 3600.0
    ack_s: float = 5.0
    """Without an ack for so long, what was sent is sent again; after twice as long each time, up to ``ack_cap_s``."""
    ack_cap_s: float = 60.0
    hello_s: float = 5.0
    hello_tries: int = 3
    """Hellos without an answer after which the connection is made anew: it may be half open."""
    alive_s: float = 2.0
    silence_s: float = 30.0
    """The cloud says something every other second; after such a silence the session is begun anew."""
    quiet_s: float = 0.2
    """Nothing came for so long: the cloud's rows have all come, and twins can be compared."""
    look_s: float = 2.0
    """How often the files that name the cloud are looked at, and unsent leaves are counted."""
    retry_base_s: float = 0.5
    retry_cap_s: float = 60.0


class Stand:
    """Where one gateway stands; each change of state is logged once, and told."""

    def __init__(self, clock: Clock, on_state: Callable[[], None]) -> None:
        self._clock = clock
        self._on_state = on_state
        self._failing = False
        self.state = SyncState.OFF
        self.since_ms = clock.now_us() // 1000
        self.why = ""
        """What keeps it from being live."""
        self.alarm = ""
        """What the user has to see to; empty: nothing."""

    def enter(self, state: SyncState, why: str = "") -> None:
        """Be in a state from now on, or in the same for another reason."""
        self.why = why
        if state is self.state:
            return
        level = logging.INFO if SyncState.LIVE in (state, self.state) or state is SyncState.OFF else logging.DEBUG
        log.log(level, "sync with the cloud: %s -> %s%s", self.state, state, f" ({why})" if why else "")
        self.state = state
        self.since_ms = self._clock.now_us() // 1000
        self._on_state()

    def tell_failure(self, error: StoreError) -> None:
        """The store does not take or give something; tried again."""
        log.log(logging.DEBUG if self._failing else logging.WARNING, "the sync waits for the store: %s", error.message)
        self._failing = True
        self.why = error.message

    def store_works(self) -> None:
        """It gave what was asked of it."""
        self._failing = False
