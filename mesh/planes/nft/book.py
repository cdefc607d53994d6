"""What the nftables plane carries, and what follows from a change: who is touched, what the kernel holds, who is cut.

Decides only; the plane tells the kernel, and notes here what came of it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

from mesh.model.programme import Frontend, ProgrammeDelta
from mesh.model.services import Plane, PortKey
from mesh.planes.nft.doors import Doors, Spot, counted_by
from mesh.planes.nft.rules import Piece, piece_of
from mesh.planes.nft.shares import Cut, Front, Pool, cuts_of, front_of, pool_of, unable
from mesh.upstream import Upstreams

NOTHING = Piece()


@dataclass(frozen=True, slots=True)
class Step:
    """What frontends are to become, as far as the kernel can carry them."""

    frontends: Mapping[PortKey, Frontend | None]
    """None: not to be carried here."""
    fronts: Mapping[PortKey, Front | None]
    moved: frozenset[PortKey] = frozenset()
    """Those that another plane carries from now on."""
    problems: Mapping[PortKey, str] = field(default_factory=dict)

    @property
    def pieces(self) -> dict[PortKey | None, Piece]:
        """What the kernel has to hold for each."""
        return {key: piece_of(front) if front else NOTHING for key, front in self.fronts.items()}


class Book:
    """The frontends of the plane, each with what was last said to the kernel for it."""

    def __init__(self, upstreams: Upstreams) -> None:
        self.pieces: dict[PortKey | None, Piece] = {}
        """What the kernel holds, by frontend; None: for all of them."""
        self._upstreams = upstreams
        self._frontends: dict[PortKey, Frontend] = {}
        self._fronts: dict[PortKey, Front] = {}
        self._users: defaultdict[PortKey, set[PortKey]] = defaultdict(set)
        """Which frontends a port is behind."""
        self._moved: dict[PortKey, Front] = {}
        """Frontends that another plane carries now; connections of theirs are still here."""
        self._in_use: dict[PortKey, tuple[object, ...]] = {}

    # -- what follows ----------------------------------------------------------------------------------------------

    def step_of(self, delta: ProgrammeDelta, now_s: float) -> Step:
        """What follows from a change of the programme."""
        wanted: dict[PortKey, Frontend | None] = dict.fromkeys(delta.gone_frontends)
        wanted |= {one.key: one if one.plane is Plane.NFTABLES else None for one in delta.frontends}
        changed = {group.key for group in delta.backends} | set(delta.gone_backends)
        touched = {user for key in changed for user in self._users.get(key, ())} - wanted.keys()
        wanted |= {key: self._frontends[key] for key in touched}
        moved = frozenset(one.key for one in delta.frontends if one.plane is not Plane.NFTABLES)
        return self._step(wanted, now_s, moved)

    def step_of_upstreams(self, now_s: float) -> Step:
        """What follows from other endpoints being in use than were when the rules were written."""
        other: set[PortKey] = set()
        for key, users in self._users.items():
            upstream = self._upstreams.get(key)
            if upstream is not None and upstream.in_use(now_s) is not self._in_use.get(key):
                other |= users
        return self._step({key: self._frontends[key] for key in other}, now_s)

    def _step(
        self, wanted: Mapping[PortKey, Frontend | None], now_s: float, moved: frozenset[PortKey] = frozenset()
    ) -> Step:
        keys = {one.port for to in wanted.values() if to for rule in to.rules[:1] for one in rule.rule.backends}
        pools = {key: self._pool(key, now_s) for key in keys}
        fronts: dict[PortKey, Front | None] = {}
        problems: dict[PortKey, str] = {}
        for key, frontend in wanted.items():
            front = front_of(frontend, pools) if frontend else None
            if front and (why := unable(front)):
                problems[key] = f"{key}: {why}"
            elif front or key in self._fronts:
                fronts[key] = front
        return Step(wanted, fronts, moved, problems)

    # -- what came of it -------------------------------------------------------------------------------------------

    def done(self, step: Step, failed: Collection[PortKey]) -> set[Cut]:
        """Note what the kernel has taken, all but ``failed``; whose connections are dead by it."""
        cuts: set[Cut] = set()
        for key, front in step.fronts.items():
            if key in failed:
                continue
            before = self._fronts.get(key)
            if before and front is None and key in step.moved:
                self._moved[key] = before
            elif before:
                cuts.update(cuts_of(before, front))
            self._forget(key)
            frontend = step.frontends[key]
            if front and frontend:
                self._remember(frontend, front)
        return cuts

    def done_elsewhere(self, delta: ProgrammeDelta, now_s: float) -> set[Cut]:
        """Whose connections are dead that were opened here before their frontend moved to another plane."""
        for key in delta.gone_frontends:
            self._moved.pop(key, None)
        changed = {group.key for group in delta.backends} | set(delta.gone_backends)
        cuts: set[Cut] = set()
        for key, before in list(self._moved.items()):
            if not changed.isdisjoint(pool.key for pool in before.pools):
                pools = tuple(self._pool(pool.key, now_s) for pool in before.pools)
                self._moved[key] = Front(before.key, before.addresses, before.node_port, pools=pools)
                cuts.update(cuts_of(before, self._moved[key]))
        return cuts

    def holds(self, pieces: Mapping[PortKey | None, Piece]) -> None:
        """The kernel holds these now."""
        for key, piece in pieces.items():
            if piece == NOTHING:
                self.pieces.pop(key, None)
            else:
                self.pieces[key] = piece

    def with_pieces(self, pieces: Mapping[PortKey | None, Piece]) -> Iterable[Piece]:
        """All that the kernel would hold with these."""
        return {**self.pieces, **pieces}.values()

    # -- what is counted -------------------------------------------------------------------------------------------

    @property
    def doors(self) -> Doors:
        """Where clients come in, and came in before."""
        return Doors([*self._moved.values(), *self._fronts.values()])

    @property
    def counted(self) -> Mapping[tuple[str, bytes], Spot]:
        """Which endpoint the kernel's counters belong to, by set and key."""
        owners: dict[tuple[str, bytes], Spot] = {}
        for front in self._fronts.values():
            owners |= counted_by(front)
        return owners

    def _pool(self, key: PortKey, now_s: float) -> Pool:
        upstream = self._upstreams.get(key)
        if upstream is None:
            return Pool(key)
        self._in_use[key] = upstream.in_use(now_s)
        return pool_of(upstream, now_s)

    def _remember(self, frontend: Frontend, front: Front) -> None:
        self._moved.pop(frontend.key, None)
        self._frontends[frontend.key] = frontend
        self._fronts[frontend.key] = front
        for pool in front.pools:
            self._users[pool.key].add(frontend.key)

    def _forget(self, key: PortKey) -> None:
        self._frontends.pop(key, None)
        front = self._fronts.pop(key, None)
        for pool in front.pools if front else ():
            self._users[pool.key].discard(key)
            if not self._users[pool.key]:
                del self._users[pool.key]
                self._in_use.pop(pool.key, None)
