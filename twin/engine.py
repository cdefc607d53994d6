"""The twin engine: check a change, take it into memory and the open commit, tell watchers once it is on disk.

    report / set_desired ──> rules ──> slots with ticks ──> open commit ──> SQLite ──> answer, watchers

One owner, one event loop: every method but ``open`` and ``close`` is plain and quick, and returns the commit that
makes its change durable. Nothing may be answered before that commit has ended well.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Executor
from contextlib import suppress
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from twin.clock import Clock
from twin.commit import Commit, GroupCommit
from twin.delta import delta
from twin.document import DELETED, Leaf, Slot, SlotValue, TwinDocument, live
from twin.errors import NotTheReporter, Refused, StoreError, UnknownTwin, VersionMismatch
from twin.merge import known_tick
from twin.metrics.model import Times
from twin.model import Site, TwinKey, TwinSpec, Value
from twin.reading import PropertyMark, TakenReport, kept_readings, pushed_readings, same_quality, unchanged
from twin.replica import Replica
from twin.resident import ResidentTwin, newly_said
from twin.residents import OWNER, Residents
from twin.store import NoteKey, PushedReading, Store
from twin.tick import Ticker
from twin.validate import Rule, refusal
from twin.watching import DeltaWatcher, Watcher, Watchers

if TYPE_CHECKING:
    from twin.outbound import Outlets  # memory that only gateways with pushes should pay

log = logging.getLogger(__name__)

_NOTHING: Final[Mapping[str, SlotValue]] = {}


@dataclass(frozen=True, slots=True)
class Reported:
    """What became of a report: the commit that holds the accepted part, and why the rest, or all, was refused."""

    commit: Commit
    refused: Refused | None = None
    nothing_taken: bool = False


class TwinEngine:
    """All twins of one site, in memory and in one store."""

    def __init__(
        self, store: Store, *, clock: Clock, executor: Executor, site: Site = Site.EDGE, commit_interval_s: float = 0.0
    ) -> None:
        """``commit_interval_s``: how long reports may wait for their commit; all else is committed at once."""
        self._store = store
        self._clock = clock
        self.site = site
        self._residents = Residents()
        self._twins = self._residents.known
        self._by_id, self._ticker = self._residents.by_id, Ticker()
        self._commits = GroupCommit(
            store, executor, before=self._seal, after=self._settle, interval_s=commit_interval_s
        )
        self.replica = Replica(self._residents, self._ticker, self._commits, store, clock, executor, site)
        """The same twins as the other site sees them."""
        self._watchers = Watchers(self._by_id)
        self.failure: StoreError | None = None
        """What keeps the store from taking changes right now; None when the last commit went well."""
        self.outlets: Outlets = {}
        """Where readings go beside the twins: into queues of the store, in the commit of their leaves."""

    def open(self) -> None:
        """Take all twins from the store into memory."""
        self._residents.remember(self._store.notes(OWNER))
        rows, tick = self._store.load()
        for row in rows:
            self._residents.load(row).said = row.spec.desired
        self._read_leaves(None)
        self._ticker.last = max(self._ticker.last, tick)

    async def close(self) -> None:
        """Write what is left."""
        await self._commits.close()

    # -- twins ---------------------------------------------------------------------------------------------------

    def define(self, spec: TwinSpec, *, theirs: bool = False) -> Commit:
        """Make a twin, or give it a new spec. Another uid makes a new, empty twin in place of the old one.

        ``theirs``: the other site wrote the document, and writes what it desires too.
        """
        commit = self._commits.open
        twin = self._twins.get(spec.key)
        same_twin = twin is not None and twin.spec.uid == spec.uid
        said_now = {} if theirs else newly_said(spec, twin.spec.desired if twin is not None and same_twin else {})
        if twin is not None and twin.spec == spec and not said_now:
            return self._join()
        twin = self._residents.define(spec, commit.batch)
        if theirs:
            twin.said = spec.desired
        if said_now or not spec.open:  # the first update of a shadow makes version 1
            self._write_desired(twin, said_now, by="document")
        commit.batch.twins[twin.id] = twin.row
        return self._join()

    @property
    def last_tick(self) -> int:
        """The last tick that was given."""
        return self._ticker.last

    def remove(self, key: TwinKey) -> Commit:
        """Delete a twin with all its leaves. Raises UnknownTwin.

        What the other site still sends of it waits aside, unseen, in case a document with the same uid comes back.
        """
        self._residents.drop(self._known(key), self._commits.open.batch)
        return self._join()

    def __iter__(self) -> Iterator[TwinKey]:
        """All twins, in order."""
        return iter(sorted(self._twins))

    def __len__(self) -> int:
        return len(self._twins)

    def __contains__(self, key: TwinKey) -> bool:
        return key in self._twins

    def document(self, key: TwinKey) -> TwinDocument:
        """The twin as it stands now. Raises UnknownTwin. To answer with it, wait for ``settled`` first."""
        twin = self._known(key)
        return TwinDocument(twin.spec, twin.version, dict(twin.desired), live(twin.reported))

    def reported(self, key: TwinKey) -> Mapping[str, Slot]:
        """What is reported as it stands now, tombstones too; not to be kept, for it goes on. Raises UnknownTwin."""
        return self._known(key).reported

    def reports(self, key: TwinKey) -> int:
        """How many reports with a value came since the start, also those that changed nothing. Raises UnknownTwin."""
        return self._known(key).reports

    def spec(self, key: TwinKey) -> TwinSpec:
        """What the documents say of the twin. Raises UnknownTwin."""
        return self._known(key).spec

    def rules(self, key: TwinKey) -> Mapping[str, Rule]:
        """What the documents ask of the twin's properties, made ready for many checks. Raises UnknownTwin."""
        return self._known(key).rules

    def version(self, key: TwinKey) -> int:
        """The twin's version as it stands now. Raises UnknownTwin."""
        return self._known(key).version

    def delta(self, key: TwinKey) -> dict[str, Slot]:
        """What is desired and not yet reported. Raises UnknownTwin."""
        twin = self._known(key)
        return delta(twin.desired, twin.reported, twin.spec.properties)

    # -- changes -------------------------------------------------------------------------------------------------

    def report(
        self,
        key: TwinKey,
        values: Mapping[str, Value],
        marks: Mapping[str, PropertyMark],
        *,
        at: int,
        by: str,
        times: Mapping[str, int] = MappingProxyType({}),
    ) -> Reported:
        """Take readings of one device; ``by`` is the reporter's account.

        ``at`` is their time at the source in milliseconds, ``times`` that of the properties where it is another. When
        they came here is in their ticks.

        A property that breaks its rule is refused alone, the others are taken. Raises UnknownTwin, and NotTheReporter
        in the cloud: only the device side writes reported.
        """
        twin = self._reporting(key)
        commit = self._commits.open
        rules, any_rule = twin.rules, twin.any_rule
        reported, desired, twin_id = twin.reported, twin.desired, twin.id
        changed = commit.batch.reported
        refused: list[str] | None = None
        first = tick = self._ticker.floor(self._clock.now_us())
        for name, value in values.items():
            rule = rules.get(name, any_rule)
            if (
                rule is None or not (rule.plain and type(value) in rule.types and rule.low <= value <= rule.high)  # type: ignore[operator]  # plain: numbers only
            ) and (broken := twin.violation(name, value)):
                refused = [*(refused or ()), broken]
                continue
            assert rule is not None
            last = reported.get(name)
            mark = marks.get(name) if marks else None
            read_at = times.get(name, at) if times else at
            alike = last is not None and last.by == by and same_quality(last, mark)
            if alike and last is not None and unchanged(last, value, read_at, rule):
                continue
            tick += 1
            if mark is None:
                slot = Slot(value, tick, 0, by, read_at)
            else:
                slot = Slot(value, tick, 0, by, read_at, mark.quality, mark.reason)
            reported[name] = slot
            changed[twin_id, name] = slot
            if name in desired:
                twin.delta_touched = True
        for name in marks.keys() - values.keys() if marks else ():
            last = reported.get(name)
            mark = marks[name]
            if name not in rules and any_rule is None:
                refused = [*(refused or ()), twin.violation(name, None)]
            elif last is None or not same_quality(last, mark):
                tick += 1
                value = None if last is None or last.value is DELETED else last.value
                read_at = times.get(name, at)
                reported[name] = changed[twin_id, name] = Slot(value, tick, 0, by, read_at, mark.quality, mark.reason)
        if tick != first:
            self._ticker.last = tick
            twin.version += 1
            commit.batch.versions[twin_id] = twin.version
        twin.reports += bool(values)
        ways = self.outlets.get(key)
        if twin.kept or ways:
            report = TakenReport(values, marks, times, first, at, by)
            commit.batch.readings.extend(kept_readings(twin, report, self._ticker))
            commit.batch.pushed.extend(pushed_readings(twin, ways or {}, report, self._ticker))
        self._commits.start_soon(now=twin.delta_touched)  # somebody waits for what they desire
        if refused is None:
            return Reported(commit)
        return Reported(commit, refusal(key, refused), len(refused) == len(values.keys() | marks.keys()))

    def set_desired(
        self,
        key: TwinKey,
        values: Mapping[str, Value],
        *,
        unset: Iterable[str] = (),
        by: str,
        version: int | None = None,
    ) -> Commit:
        """Write desired values, all or none, and delete those of ``unset``.

        Raises UnknownTwin, VersionMismatch if ``version`` is not the current one, UnknownProperty or InvalidValue
        naming every property that is wrong.
        """
        changes: dict[str, SlotValue] = {**values, **dict.fromkeys(unset, DELETED)}
        return self.update(key, desired=changes, by=by, version=version)

    def update(
        self,
        key: TwinKey,
        *,
        desired: Mapping[str, SlotValue] = _NOTHING,
        reported: Mapping[str, SlotValue] = _NOTHING,
        by: str,
        version: int | None = None,
    ) -> Commit:
        """Write both halves as one version, all or none; DELETED deletes, and nothing is held back as unchanged.

        Raises as ``set_desired`` does, and as ``report`` if there is any ``reported``.
        """
        twin = self._reporting(key) if reported else self._known(key)
        if version is not None and version != twin.version:
            message = f"{key} is at version {twin.version}, not {version}"
            raise VersionMismatch(message, remedy="Get the twin again and decide anew.")
        broken = [text for name, value in desired.items() if (text := twin.not_settable(name, value))]
        broken += [text for name, value in reported.items() if (text := twin.not_reportable(name, value))]
        if broken:
            raise refusal(key, broken)
        self._write_reported(twin, reported, by=by)
        self._write_desired(twin, desired, by=by)
        if not desired and not reported:  # no leaf of it will hold the new version
            self._commits.open.batch.twins[twin.id] = twin.row
        return self._join()

    # -- notes ---------------------------------------------------------------------------------------------------

    def notes(self, owner: str) -> dict[str, str]:
        """What the owner keeps beside the twins, as it is on disk, by name; for its start. Raises StoreError."""
        return self._store.notes(owner)

    def note(self, owner: str, name: str, text: str | None) -> Commit:
        """Keep a note in the commit that collects now, with the leaves changed since it was begun; None deletes it.

        If the commit fails the note is lost, and its owner, who waits for the commit, has to go back to the one before.
        """
        self._commits.open.batch.notes[NoteKey(owner, name)] = text
        return self._join()

    # -- waiting and watching ------------------------------------------------------------------------------------

    def on_disk(self, key: TwinKey) -> bool:
        """Whether the twin in memory holds nothing that the open commit has still to write; for watchers."""
        twin = self._twins.get(key)
        return twin is None or twin.id not in self._commits.open.batch.versions

    @property
    def commit_times(self) -> Times:
        """How long commits took since the start."""
        return self._commits.times

    def tail(self) -> Commit | None:
        """The commit after which all that was changed so far is on disk; None if it is already."""
        return self._commits.tail()

    async def settled(self) -> None:
        """Wait until all that was changed so far is on disk. Raises the StoreError that kept it from there."""
        await self._commits.settled()

    async def decided(self) -> None:
        """Wait until each change so far is on disk, or undone because it could not be: reading needs no more."""
        with suppress(StoreError):
            await self.settled()

    def watch(self, watcher: Watcher) -> Callable[[], None]:
        """Tell the watcher of every change once it is on disk; returns how to stop."""
        return self._watchers.add(watcher)

    def watch_deltas(self, watcher: DeltaWatcher) -> Callable[[], None]:
        """Tell the watcher, after a commit, of each twin whose delta may have changed; returns how to stop."""
        return self._watchers.add_for_deltas(watcher)

    def watch_commits(self, watcher: Callable[[], None]) -> Callable[[], None]:
        """Tell the watcher of each commit that is, or may be, on disk; returns how to stop."""
        return self._watchers.add_for_commits(watcher)

    # -- inside --------------------------------------------------------------------------------------------------

    def _known(self, key: TwinKey) -> ResidentTwin:
        twin = self._twins.get(key)
        if twin is None:
            message = f"{key} is not known here"
            raise UnknownTwin(message, remedy="`edgetwin get` lists the twins; `edgetwin apply` adds one.")
        return twin

    def _reporting(self, key: TwinKey) -> ResidentTwin:
        if self.site is not Site.EDGE:
            message = f"{key}: only its gateway writes reported"
            raise NotTheReporter(message, remedy="Write desired instead.")
        return self._known(key)

    def _write_desired(self, twin: ResidentTwin, changes: Mapping[str, SlotValue], *, by: str) -> None:
        batch = self._commits.open.batch
        now_us = self._clock.now_us()
        for name, value in changes.items():
            leaf = twin.desired.get(name, Leaf())
            slot = Slot(value, self._ticker.take(now_us), known_tick(leaf, self.site), by, now_us // 1000)
            twin.desired[name] = leaf.with_slot(self.site, slot)
            batch.desired[twin.id, name, self.site] = slot
        twin.version += 1
        twin.delta_touched = True
        batch.versions[twin.id] = twin.version

    def _write_reported(self, twin: ResidentTwin, changes: Mapping[str, SlotValue], *, by: str) -> None:
        now_us = self._clock.now_us()
        twin.reports += bool(changes)
        batch, ways = self._commits.open.batch, self.outlets.get(twin.spec.key, {})
        for name, value in changes.items():
            slot = Slot(value, self._ticker.take(now_us), 0, by, now_us // 1000)
            twin.reported[name] = batch.reported[twin.id, name] = slot
            batch.pushed.extend(PushedReading(twin.spec.key, name, way, slot) for way in ways.get(name, ()))

    def _join(self) -> Commit:
        self._commits.start()
        return self._commits.open

    def _seal(self, commit: Commit) -> None:
        commit.batch.tick = self._ticker.last
        self._residents.seal(commit.batch)

    def _settle(self, commit: Commit, failure: StoreError | None) -> None:
        if failure is not None:
            self._undo(commit, failure)
            return
        if self.failure is not None:
            log.info("the store takes changes again")
            self.failure = None
        batch = commit.batch
        for row in batch.twins.values():
            self._by_id[row.id].said = row.spec.desired
        self._watchers.tell(batch)
        self._watchers.tell_deltas(batch.versions, but=self._unstored())
        for twin_id in batch.dropped:
            del self._by_id[twin_id]
        self._watchers.tell_commit()

    def _unstored(self) -> frozenset[int]:
        """Twins with a desired value that is not on disk yet: it must reach no device before its commit."""
        return frozenset(twin_id for twin_id, _, _ in self._commits.open.batch.desired)

    def _undo(self, commit: Commit, failure: StoreError) -> None:
        """Go back to what is on disk, with the changes that waited behind the failed commit; all are refused.

        Twins that were made or dropped go into the next commit again, with what their documents desire: those are
        durable in the registry.
        """
        if self.failure is None:
            log.error("the store does not take changes, all are refused until it does: %s", failure)
        self.failure = failure
        waiting = self._commits.open
        lost = {*commit.batch.versions, *waiting.batch.versions}
        self._commits.open = Commit()
        kept = self._commits.open.batch
        for batch in (commit.batch, waiting.batch):
            kept.twins.update(batch.twins)
            kept.dropped |= batch.dropped
        for twin_id in lost:
            self._by_id[twin_id].forget()
        try:
            self._read_leaves(lost)
        except StoreError as error:
            log.error("nor can it be read: %s", error)
        for twin_id in kept.dropped:
            kept.twins.pop(twin_id, None)
            kept.versions[twin_id] = self._by_id[twin_id].version
        for twin_id in kept.twins:
            twin = self._by_id[twin_id]
            self._write_desired(twin, newly_said(twin.spec, twin.said), by="document")
            kept.twins[twin_id] = twin.row
        self._watchers.tell(commit.batch)
        self._watchers.tell_deltas(lost - kept.dropped, but=self._unstored())
        self._watchers.tell_commit()  # a write that failed at its end may be on disk all the same
        waiting.end(failure)

    def _read_leaves(self, twins: Iterable[int] | None) -> None:
        tops = self._residents.take(self._store.leaves(twins))
        # Counted too, for the stored tick may be damaged.
        self._ticker.last = max(self._ticker.last, tops[self.site])
        self.replica.peer_last = max(self.replica.peer_last, tops[self.site.peer])
