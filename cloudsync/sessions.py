"""Who gets a session, and where a new one begins. Pure functions of a gateway's state, its Hello and the time.

Who a gateway is says the run of its store: two with one id have two stores. The newest run that has the session keeps
it while it is heard of; a store that remembers that run is the same gateway, started again.
"""

from __future__ import annotations

from typing import Final

from cloudsync.store import GatewayState
from cloudsync.store.workloads import Presence
from twin.exchange import Hello, Run, Standing

LEASE_MS: Final = 6_000
"""A session that was silent for so long gives way to another gateway with the same id."""
FENCED_RETRY_S: Final = 30.0
"""When a second gateway with the same id may ask again; meanwhile it keeps off the broker."""
_HEARD_EVERY_MS: Final = 1_000


def is_fenced(state: GatewayState, hello: Hello, now_ms: int) -> bool:
    """Whether another gateway with this id is alive, so that this one must not write."""
    runs = {run.id for run in hello.standing.runs}
    return bool(state.run) and state.run not in runs and abs(now_ms - state.heard_at) < LEASE_MS


def is_repeated(state: GatewayState, hello: Hello) -> bool:
    """Whether this Hello, come twice, has begun the session that stands."""
    return state.session.startswith(f"{hello.nonce}.")


def standing_of(state: GatewayState) -> Standing:
    """Where the cloud stands, for the Welcome."""
    met = frozenset(run.id for run in state.met)
    return Standing(state.runs, met, state.cursor, max(state.top, state.cursor))


def begin(state: GatewayState, hello: Hello, session: str, now_ms: int) -> int | None:
    """Let a session begin; the first own tick that was given twice, if this store was restored or wiped.

    A mending that has not come to its end goes on, whatever the peer has met meanwhile: this store may have been
    restored from a backup of that time, with ticks beyond rows that it never got.
    """
    peer = hello.standing
    state.session, state.session_run = session, state.runs[-1].id
    state.peer, state.run = peer, peer.runs[-1].id
    state.heard_at = now_ms
    state.online = True
    state.compared = None
    state.agreed = False
    rewind(state, peer.cursor)
    state.tick = max(state.tick, peer.top)
    first = first_unmet(state.runs, peer.met)
    state.forked = state.forked or (first is not None and first <= peer.top)
    if not state.forked:
        return None
    return peer.top + 1 if first is None else first


def outlived(state: GatewayState) -> bool:
    """Whether the session is of an earlier start of this store: that may have been another store, since restored."""
    return bool(state.session) and state.session_run != state.runs[-1].id


def end(state: GatewayState) -> None:
    """Let the session stand no more; who the gateway is stays known."""
    state.session, state.peer = "", None


def rewind(state: GatewayState, position: int) -> None:
    """Send again from here."""
    state.position = state.acked = position
    state.introduced = False
    state.sent = ()


def meet(state: GatewayState, runs: tuple[Run, ...]) -> None:
    """Keep the gateway's runs whose rows were taken."""
    known = {run.id for run in state.met}
    state.met += tuple(run for run in runs if run.id not in known)


def first_unmet(runs: tuple[Run, ...], met: frozenset[str]) -> int | None:
    """The first tick of the runs that the peer has not met."""
    return min((run.first for run in runs if run.id not in met), default=None)


def heard(state: GatewayState, now_ms: int) -> None:
    """Renew the session's lease; not with each message, as each would be one more write."""
    if abs(now_ms - state.heard_at) >= _HEARD_EVERY_MS:
        state.heard_at = now_ms
        state.online = True


def is_online(state: GatewayState | Presence, now_ms: int) -> bool:
    """Whether the gateway is there: its will has not come, and it was heard of lately."""
    return state.online and abs(now_ms - state.heard_at) < 2 * LEASE_MS


def is_unacked(state: GatewayState) -> bool:
    """Whether something was sent that the gateway does not have on disk yet, as far as is known."""
    return bool(state.sent) or (bool(state.session) and state.position > state.acked)
