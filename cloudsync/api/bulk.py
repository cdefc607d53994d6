"""The verb set-where: desired values for every twin that fits a condition, gateway by gateway, with its progress."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any, Final

from cloudsync.hub import Hub
from cloudsync.store import AuditEntry, CloudStore
from cloudsync.writing import check, set_desired
from twin.api import Caller, Served, send_reply
from twin.clock import Clock
from twin.document import DELETED
from twin.errors import InvalidMessage, InvalidQuery, Refused
from twin.link import Link
from twin.model import TwinKey
from twin.wire.api import Verb
from twin.wire.cloud_api import RefusedTwin, SetWhereReply, SetWhereRequest
from twin.wire.messages import ErrorBody

MAX_TWINS: Final = 100_000
AT_ONCE: Final = 100
"""Twins of one transaction: short enough that reports of the same gateway do not wait for long."""
PROGRESS_S: Final = 0.5
ERRORS: Final = 20

_ROWS: Final = 5_000


class BulkSet:
    """Serves set-where."""

    def __init__(self, store: CloudStore, hub: Hub, link: Link, clock: Clock) -> None:
        self._store = store
        self._hub = hub
        self._link = link
        self._clock = clock

    def verbs(self) -> dict[Verb, Served[Any]]:
        """What an ApiServer is to serve."""
        return {Verb.SET_WHERE: Served(SetWhereRequest, self.set_where)}

    async def set_where(self, request: SetWhereRequest, caller: Caller) -> SetWhereReply:
        """Each twin that fits when this begins; the last reply, after those that show the progress."""
        if not request.desired and not request.unset:
            text = "request set-where names no property"
            raise InvalidMessage(text, remedy='Send {"where": ..., "desired": {"property": value}}.')
        found = await self._found(request.where)
        progress = _Progress(len(found), self._clock.monotonic_s())
        send_reply(self._link, caller, progress.reply())
        for gateway, group in groupby(found, key=lambda one: one[0]):
            keys = [key for _, key in group]
            for start in range(0, len(keys), AT_ONCE):
                some = keys[start : start + AT_ONCE]
                if request.dry_run:
                    await self._try(some, request, progress)
                else:
                    await self._write(gateway, some, request, caller, progress)
                if self._clock.monotonic_s() - progress.told_s >= PROGRESS_S:
                    progress.told_s = self._clock.monotonic_s()
                    send_reply(self._link, caller, progress.reply())
        return progress.reply(finished=True)

    async def _write(
        self, gateway: str, keys: Sequence[TwinKey], request: SetWhereRequest, caller: Caller, progress: _Progress
    ) -> None:
        refused: list[tuple[TwinKey, Refused]] = []
        async with self._hub.change(gateway) as turn:
            for key in keys:
                try:
                    await set_desired(turn, key, request.desired, unset=request.unset, by=caller.account)
                except Refused as error:
                    refused.append((key, error))
            done = len(keys) - len(refused)
            what = f"{done} twins where {request.where}: {_shown(request)}"
            await turn.tx.audit(AuditEntry(turn.now_ms, caller.account, "set-where", gateway, what[:400]))
        progress.add(done, refused)

    async def _try(self, keys: Sequence[TwinKey], request: SetWhereRequest, progress: _Progress) -> None:
        changes = {**request.desired, **dict.fromkeys(request.unset, DELETED)}
        refused: list[tuple[TwinKey, Refused]] = []
        for key in keys:
            try:
                check(await self._store.twin(key), changes)
            except Refused as error:
                refused.append((key, error))
        progress.add(len(keys) - len(refused), refused)

    async def _found(self, where: str) -> list[tuple[str, TwinKey]]:
        from twin.query.parse import parse  # sqlglot costs memory that only those who query should pay

        plan = parse(f"SELECT twin, gateway FROM twins WHERE {where}")
        if not plan.pageable:
            message = "the condition goes on with ORDER BY, LIMIT or GROUP BY"
            raise InvalidQuery(message, remedy="Give only what stands behind WHERE.")
        found: list[tuple[str, TwinKey]] = []
        after: TwinKey | None = None
        while True:
            answer = await self._store.answer(plan, rows=_ROWS, after=after)
            found += [(gateway, TwinKey.parse(twin)) for twin, gateway in answer.rows]
            if len(found) > MAX_TWINS:
                text = f"the condition fits more than {MAX_TWINS} twins"
                raise InvalidQuery(text, remedy="Narrow it, and set the others in another go.")
            after = answer.after
            if after is None:
                return sorted(found)


@dataclass(slots=True)
class _Progress:
    matched: int
    told_s: float
    done: int = 0
    refused: int = 0
    shown: int = 0
    errors: list[RefusedTwin] = field(default_factory=list)

    def add(self, done: int, refused: Sequence[tuple[TwinKey, Refused]]) -> None:
        self.done += done
        self.refused += len(refused)
        for key, error in refused[: max(0, ERRORS - self.shown)]:
            self.shown += 1
            body = ErrorBody(code=error.code, message=error.message, remedy=error.remedy)
            self.errors.append(RefusedTwin(twin=str(key), error=body))

    def reply(self, *, finished: bool = False) -> SetWhereReply:
        errors, self.errors = self.errors, []
        return SetWhereReply(
            matched=self.matched, done=self.done, refused=self.refused, errors=errors, finished=finished
        )


def _shown(request: SetWhereRequest) -> str:
    return " ".join([*(f"{name}={value!r}" for name, value in request.desired.items()), *request.unset])
