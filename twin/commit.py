"""Group commit without a timer: what arrives during one commit goes into the next.

change ──> open commit ──(nothing running)──> writing on a thread ──> told: stored, or failed
               ^ changes that arrive meanwhile wait here

Where storage wears out, what may wait does so for an interval, or until something comes that may not.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import Executor
from typing import Final

from twin.errors import StoreError
from twin.metrics.model import Times
from twin.store import Batch, Store

log = logging.getLogger(__name__)

MAX_WAITING: Final = 10_000
"""Readings that may wait in memory for the interval to be over."""


class Commit:
    """One transaction to be: its batch, and who wants to know when it is on disk."""

    __slots__ = ("_told", "batch", "ended", "failure")

    def __init__(self) -> None:
        self.batch = Batch()
        self.failure: StoreError | None = None
        self.ended = False
        self._told: list[Callable[[Commit], None]] = []

    @property
    def pending(self) -> bool:
        """Whether there is anything to write or anyone to tell."""
        return bool(self._told) or bool(self.batch)

    def on_end(self, callback: Callable[[Commit], None]) -> None:
        """Call back once it is on disk or has failed (``failure``)."""
        if self.ended:
            callback(self)
        else:
            self._told.append(callback)

    async def stored(self) -> None:
        """Wait until it is on disk. Raises the StoreError that kept it from there."""
        if not self.ended:
            waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._told.append(lambda _: None if waiter.done() else waiter.set_result(None))
            await waiter
        if self.failure is not None:
            raise self.failure

    def end(self, failure: StoreError | None) -> None:
        """Tell everyone."""
        self.failure = failure
        self.ended = True
        for callback in self._told:
            try:
                callback(self)
            except Exception:  # a supervisor boundary: one that cannot be told must not keep the others waiting
                log.exception("one of those who wait for a commit failed")
        self._told.clear()


class GroupCommit:
    """Writes commits one after the other on a thread; ``open`` is the one that collects.

    ``before`` is called on the loop just before a commit goes to the thread, ``after`` as soon as its fate is known,
    before anyone else is told.
    """

    def __init__(
        self,
        store: Store,
        executor: Executor,
        *,
        before: Callable[[Commit], None],
        after: Callable[[Commit, StoreError | None], None],
        interval_s: float = 0.0,
    ) -> None:
        self.open = Commit()
        self._store = store
        self._executor = executor
        self._before = before
        self._after = after
        self._running: asyncio.Task[None] | None = None
        self._wanted = False
        self._interval_s = interval_s
        self._timer: asyncio.TimerHandle | None = None
        self.times = Times()
        """How long commits took, those that failed too."""

    def start_soon(self, *, now: bool) -> None:
        """See to it that the open commit is written within the interval; at once without one, or if it is large."""
        if now or not self._interval_s or len(self.open.batch.readings) >= MAX_WAITING:
            self.start()
        elif self._timer is None and not self._wanted:
            self._timer = asyncio.get_running_loop().call_later(self._interval_s, self.start)

    def start(self) -> None:
        """See to it that the open commit is written; cheap to call for every change."""
        self._wanted = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._running is None:
            self._running = asyncio.get_running_loop().create_task(self._run(), name="group commit")

    def tail(self) -> Commit | None:
        """The commit after which all that was changed so far is on disk; None if it is already."""
        if self._running is None and not self.open.pending:
            return None
        self.start()
        return self.open

    async def settled(self) -> None:
        """Wait until all that was changed so far is on disk. Raises the StoreError that kept it from there."""
        commit = self.tail()
        if commit is not None:
            await commit.stored()

    async def close(self) -> None:
        """Write what is left, if the disk takes it."""
        if self.open.pending:
            self.start()
        while self._running is not None:
            await asyncio.shield(self._running)

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            # What a failed commit leaves in the open one waits for the next change, not to spin on a dead disk.
            while self._wanted and self.open.pending:
                self._wanted = False
                commit, self.open = self.open, Commit()
                failure: StoreError | None = None
                if commit.batch:
                    self._before(commit)
                    began_s = loop.time()
                    failure = await loop.run_in_executor(self._executor, self._write, commit.batch)
                    self.times.add(loop.time() - began_s)
                    self._after(commit, failure)
                commit.end(failure)
        finally:
            self._running = None

    def _write(self, batch: Batch) -> StoreError | None:
        try:
            self._store.write(batch)
        except StoreError as error:
            return error
        except Exception as error:  # a supervisor boundary: whatever it was, the batch is not on disk
            log.exception("the store failed in a way it does not promise")
            return StoreError(f"the store failed: {error!r}", remedy="The hub's log has the reason; please report it.")
        return None
