"""What the mesh's process knows, and what follows from it. Pure: each thing that is learnt gives one step.

what the owner lists ─┐
what probes find      ├─> judged services ──compile──> programme
who is reached, votes ┘        └─> DNS
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass, field, replace
from typing import Final

from mesh.compile import Compiled, applied, change, compile_table
from mesh.difference import difference, table_difference
from mesh.grouping import port_key
from mesh.judging import VOTE_AGE_MS, Findings, Heard, Known, Spot, judged, next_ms
from mesh.model.policies import DEFAULT_POLICY, StaleRule
from mesh.model.programme import ProgrammeDelta
from mesh.model.services import Service, ServiceKey
from mesh.model.table import Table, TableChange

_NOTHING: Final = TableChange()


@dataclass(frozen=True, slots=True)
class Step:
    """What is other after something was learnt: services as they are judged now, and the programme."""

    services: tuple[Service, ...] = ()
    gone: tuple[ServiceKey, ...] = ()
    delta: ProgrammeDelta = field(default_factory=ProgrammeDelta)


class State:
    """All that is known. Times are milliseconds of the monotonic clock; ``begun`` says where and how."""

    def __init__(self, begun: Compiled, now_ms: int) -> None:
        self.listed = Table()
        self.compiled = begun
        self.known = Known(since_ms=now_ms)
        self._due_ms: int | None = None

    # -- what is learnt ------------------------------------------------------------------------------------------------

    def whole(self, table: Table, now_ms: int) -> Step:
        """Another table, in place of the one before."""
        return self.change(table_difference(self.listed, table), now_ms)

    def change(self, learnt: TableChange, now_ms: int) -> Step:
        """A change of the table."""
        before, known = self.listed, self.known
        self.listed = applied(before, learnt)
        touched = {one.key for one in learnt.services} | learnt.policies.keys() | {*learnt.gone_policies}
        try:
            self._forget(touched | {*learnt.gone_services})
            return self._judge(touched, now_ms, learnt)
        except BaseException:
            self.listed, self.known = before, known  # what is carried out goes on, and the next change builds on it
            raise

    def found(self, findings: Findings, now_ms: int) -> Step:
        """What probes of this gateway found anew."""
        watched = {spot: alive for spot, alive in findings.items() if self._is_watched(spot)}
        self.known = replace(self.known, here={**self.known.here, **watched})
        return self._judge({port.service for port, _ in watched}, now_ms)

    def voted(self, node: str, findings: Findings, at_ms: int, now_ms: int) -> Step:
        """What another gateway found, in place of what it said before."""
        before = self.known.others.get(node)
        touched = {port.service for port, _ in (*findings, *(before.findings if before else ()))}
        self.known = replace(self.known, others={**self.known.others, node: Heard(findings, at_ms)})
        return self._judge(touched, now_ms)

    def reached(self, peers: Set[str], now_ms: int, *, cloud: bool) -> Step:
        """Who is reached from now on."""
        known = self.known
        lost = {**known.peers_lost_ms, **dict.fromkeys(known.peers - peers, now_ms)}
        self.known = replace(
            known,
            cloud_lost_ms=None if cloud else now_ms if known.cloud_lost_ms is None else known.cloud_lost_ms,
            peers=frozenset(peers),
            peers_lost_ms={node: at for node, at in lost.items() if node not in peers},
        )
        return self._judge(self.listed.services.keys(), now_ms)

    def passed(self, now_ms: int) -> Step:
        """That time has passed."""
        if self._due_ms is None or now_ms < self._due_ms:
            return Step()
        others = self.known.others.items()
        fresh = {node: one for node, one in others if one.findings and now_ms - one.at_ms <= VOTE_AGE_MS}
        self.known = replace(self.known, others=fresh)
        return self._judge(self.listed.services.keys(), now_ms)

    def no_kernel(self, why: str) -> Step:
        """Whether this machine has nftables; empty: it has."""
        before = self.compiled
        self.compiled = compile_table(before.table, replace(before, no_kernel=why))
        return Step(delta=difference(before.programme, self.compiled.programme))

    # -- what follows --------------------------------------------------------------------------------------------------

    def _judge(self, keys: Set[ServiceKey], now_ms: int, learnt: TableChange = _NOTHING) -> Step:
        before = self.compiled.table.services
        services: list[Service] = []
        for key in keys:
            if (listed := self.listed.services.get(key)) is not None:
                found = judged(listed, self._rule(key), self.known, now_ms)
                if found != before.get(key):
                    services.append(found)
        self._see_ahead(keys, now_ms)
        seen = replace(learnt, services=tuple(services))
        if seen == _NOTHING:
            return Step()
        self.compiled, delta = change(self.compiled, seen)
        return Step(seen.services, learnt.gone_services, delta)

    def _see_ahead(self, keys: Iterable[ServiceKey], now_ms: int) -> None:
        """Look again once these may be other by time alone; looking too early does no harm."""
        services = self.listed.services
        rules = ((services[key], self._rule(key)) for key in keys if key in services)
        due = next_ms(rules, self.known, now_ms)
        if self._due_ms is None or self._due_ms <= now_ms or (due is not None and due < self._due_ms):
            self._due_ms = due

    def _rule(self, key: ServiceKey) -> StaleRule:
        return self.listed.policies.get(key, DEFAULT_POLICY).stale

    def _is_watched(self, spot: Spot) -> bool:
        port, place = spot
        service = self.listed.services.get(port.service)
        if service is None or self.listed.policies.get(port.service, DEFAULT_POLICY).health_check is None:
            return False
        return any(
            port_key(service, one) == port and any(each.place == place for each in one.endpoints)
            for one in service.ports
        )

    def _forget(self, keys: Set[ServiceKey]) -> None:
        """What was found of endpoints that nobody asks any more."""
        here: Mapping[Spot, bool] = self.known.here
        over = {spot for spot in here if spot[0].service in keys and not self._is_watched(spot)}
        if over:
            self.known = replace(self.known, here={spot: alive for spot, alive in here.items() if spot not in over})
