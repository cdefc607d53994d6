"""get, set, query, explain, history, status and audit on the cloud's store and hub."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final

from cloudsync.commands import put_command
from cloudsync.hub import Hub
from cloudsync.sessions import is_online, is_unacked
from cloudsync.store import AuditEntry, CloudStore, GatewayState
from cloudsync.writing import check, set_desired
from twin.api import Caller, Served
from twin.clock import Clock
from twin.errors import CommandEnded, InvalidMessage, UnknownTwin
from twin.exchange import Command, CommandDone, Outcome
from twin.history_verb import history_query, history_reply
from twin.model import TwinKey
from twin.query.verb import planned, query_reply
from twin.view import explanation, twin_body
from twin.watches import Filter
from twin.wire.api import (
    ExplainReply,
    ExplainRequest,
    GetRequest,
    HistoryReply,
    HistoryRequest,
    QueryReply,
    QueryRequest,
    SetReply,
    SetRequest,
    StatusRequest,
    TwinList,
    Verb,
)
from twin.wire.cloud_api import AuditBody, AuditReply, AuditRequest, CloudStatusReply, GatewayBody

LATE_MS: Final = 2_000
"""How long after its expiry a command is waited for: its gateway may have done it in time."""

_POLL_S: Final = 0.05
_SHOWN: Final = 200


class CloudVerbs:
    """Served by every worker; what one answers any other would."""

    def __init__(self, store: CloudStore, hub: Hub, clock: Clock, *, new_id: Callable[[], str], version: str) -> None:
        self._store = store
        self._hub = hub
        self._clock = clock
        self._new_id = new_id
        self._version = version

    def verbs(self) -> dict[Verb, Served[Any]]:
        """What an ApiServer is to serve."""
        return {
            Verb.GET: Served(GetRequest, self.get),
            Verb.SET: Served(SetRequest, self.set),
            Verb.QUERY: Served(QueryRequest, self.query),
            Verb.EXPLAIN: Served(ExplainRequest, self.explain),
            Verb.HISTORY: Served(HistoryRequest, self.history),
            Verb.STATUS: Served(StatusRequest, self.status),
            Verb.AUDIT: Served(AuditRequest, self.audit),
        }

    async def get(self, request: GetRequest, _: Caller) -> TwinList:
        """One twin, or a page of them."""
        wanted = Filter.of(request)
        if wanted.key is not None:
            return TwinList(twins=[twin_body(await self._store.twin(wanted.key))])
        after = TwinKey.parse(request.after) if request.after else None
        found = await self._store.twins(
            kind=wanted.kind,
            namespace=wanted.namespace,
            gateway=wanted.gateway,
            after=after,
            limit=request.limit + 1,
        )
        page = found[: request.limit]
        return TwinList(
            twins=[twin_body(one) for one in page], after=str(page[-1].spec.key) if len(found) > len(page) else ""
        )

    async def set(self, request: SetRequest, caller: Caller) -> SetReply:
        """Desired values, answered when they are on disk; or a command, answered when its gateway has done it."""
        key = TwinKey.parse(request.twin)
        if not request.desired and not request.unset:
            text = f"request set of {key} names no property"
            raise InvalidMessage(text, remedy='Send {"twin": ..., "desired": {"property": value}}.')
        gateway = await self._store.gateway_of(key)
        if request.expires_ms:
            return await self._command(key, gateway, request, caller.account)
        async with self._hub.change(gateway) as turn:
            version = await set_desired(
                turn, key, request.desired, unset=request.unset, by=caller.account, version=request.version
            )
            what = shown_changes(request)
            await turn.tx.audit(AuditEntry(turn.now_ms, caller.account, "set", str(key), what))
        return SetReply(version=version)

    async def query(self, request: QueryRequest, _: Caller) -> QueryReply:
        """Rows of the twins that fit."""
        plan, after = planned(request)
        return query_reply(await self._store.answer(plan, rows=request.limit, after=after))

    async def explain(self, request: ExplainRequest, _: Caller) -> ExplainReply:
        """Why a property has the value it has."""
        document = await self._store.twin(TwinKey.parse(request.twin))
        return explanation(document, document.spec.key, request.property)

    async def history(self, request: HistoryRequest, _: Caller) -> HistoryReply:
        """One page of the readings that the gateway has sent."""
        document = await self._store.twin(TwinKey.parse(request.twin))
        page = await self._store.history(history_query(document, request))
        return history_reply(document, request, page)

    async def status(self, request: StatusRequest, _: Caller) -> CloudStatusReply:
        """A page of the gateways, or one of them."""
        wanted = [request.gateway] if request.gateway else None
        found = sorted(await self._store.gateways(wanted), key=lambda one: one.gateway)
        rest = [one for one in found if one.gateway > request.after]
        page = rest[: request.limit]
        now_ms = self._clock.now_us() // 1000
        return CloudStatusReply(
            version=self._version,
            gateways=[_gateway_body(one, now_ms) for one in page],
            after=page[-1].gateway if len(rest) > len(page) else "",
        )

    async def audit(self, request: AuditRequest, _: Caller) -> AuditReply:
        """Who changed what."""
        found = await self._store.audit_log(since=request.since, limit=request.limit, account=request.account)
        bodies = [
            AuditBody(
                at=one.at,
                account=one.account,
                action=one.action,
                subject=one.subject,
                what=one.what,
                outcome=one.outcome,
            )
            for one in found
        ]
        return AuditReply(entries=bodies)

    async def _command(self, key: TwinKey, gateway: str, request: SetRequest, account: str) -> SetReply:
        if request.unset:
            text = f"a command to {key} cannot unset properties"
            raise InvalidMessage(text, remedy="Unset them without an expiry.")
        command_id = self._new_id()
        async with self._hub.change(gateway) as turn:
            document = await turn.tx.document(key)
            if document is None:
                text = f"there is no twin {key} at gateway {gateway}"
                raise UnknownTwin(text, remedy="`edgetwin cloud get` lists the twins.")
            check(document, request.desired, version=request.version)
            expires_at = turn.now_ms + request.expires_ms
            await put_command(turn, Command("", command_id, expires_at, key, request.desired, account))
            what = f"{shown_changes(request)} within {request.expires_ms} ms"
            await turn.tx.audit(AuditEntry(turn.now_ms, account, "command", str(key), what))
        done = await self._end_of(gateway, command_id, (request.expires_ms + LATE_MS) / 1000)
        if done is not None and done.outcome is Outcome.DONE:
            return SetReply(command=command_id)
        raise _ended(key, gateway, done)

    async def _end_of(self, gateway: str, command_id: str, wait_s: float) -> CommandDone | None:
        until_s = self._clock.monotonic_s() + wait_s
        while self._clock.monotonic_s() < until_s:
            found = await self._store.command(gateway, command_id)
            if found is not None and found.done is not None:
                return found.done
            await asyncio.sleep(_POLL_S)
        return None


def shown_changes(request: SetRequest) -> str:
    """What was asked for, in one line for people."""
    changes = [*(f"{name}={value!r}" for name, value in request.desired.items()), *(f"-{one}" for one in request.unset)]
    text = " ".join(changes)
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 1]}…"


def _ended(key: TwinKey, gateway: str, done: CommandDone | None) -> CommandEnded:
    if done is None:
        text = f"gateway {gateway} has not said whether it carried out the command to {key}"
        return CommandEnded(
            text, remedy="It begins no more. `edgetwin cloud status` shows whether the gateway is there."
        )
    if done.outcome is Outcome.EXPIRED:
        text = f"the command to {key} had expired when gateway {gateway} got it; nothing was written"
        return CommandEnded(text, remedy="Give it more time, or set the values without an expiry.")
    return CommandEnded(done.message or f"gateway {gateway} refused the command to {key}", remedy=done.remedy)


def _gateway_body(state: GatewayState, now_ms: int) -> GatewayBody:
    return GatewayBody(
        gateway=state.gateway,
        online=is_online(state, now_ms),
        heard_at=max(0, state.heard_at),
        session=state.session,
        mending=state.forked,
        unacked=is_unacked(state),
        commands=state.waiting,
    )
