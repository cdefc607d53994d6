"""The API of one worker, put together: the door, the verbs behind it, and who follows changes for them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Final, Self

from cloudsync.api.aws import CloudShadows
from cloudsync.api.bulk import BulkSet
from cloudsync.api.door import cloud_door
from cloudsync.api.following import Follower
from cloudsync.api.peers import Peers
from cloudsync.api.verbs import CloudVerbs
from cloudsync.api.watching import Watches
from cloudsync.api.workloads import WorkloadsVerb
from cloudsync.applying import Applying
from cloudsync.hub import Hub
from cloudsync.identity.roles import Role
from cloudsync.store import AuditEntry, CloudStore
from twin.api import ApiServer, Caller, Served, VerbTimes
from twin.clock import Clock
from twin.errors import StoreError
from twin.link import Link
from twin.sealing import Sealer
from twin.wire.api import ApplyReply, ApplyRequest, Verb

DENIED_EVERY_S: Final = 60.0
"""A denial of the same verb to the same account is written into the audit log once in so long."""

_REMEMBERED: Final = 10_000

log = logging.getLogger(__name__)


class Api:
    """All that apps may ask a worker, by our verbs and by AWS's topics.

    ``known`` says whether a gateway has joined; ``worker`` is a name that no other worker has; ``sealer`` for Secrets.
    """

    def __init__(
        self,
        store: CloudStore,
        hub: Hub,
        link: Link,
        clock: Clock,
        role_of: Callable[[str], Role | None],
        *,
        new_id: Callable[[], str],
        version: str,
        known: Callable[[str], Awaitable[bool]],
        worker: str,
        sealer: Sealer,
    ) -> None:
        self._store = store
        self._clock = clock
        self.follower = Follower(store, link)
        self._watches = Watches(store, self.follower, link, clock)
        self._peers = Peers(link, worker, clock)
        self._shadows = CloudShadows(store, hub, link, clock, self.follower, self._peers)
        self._denied: dict[tuple[str, str], float] = {}
        self._audits: set[asyncio.Task[None]] = set()
        self._stack = AsyncExitStack()
        self._applying = Applying(hub, store, known=known, new_uid=new_id, sealer=sealer)
        self._server = ApiServer(
            link,
            {
                **CloudVerbs(store, hub, clock, new_id=new_id, version=version).verbs(),
                **BulkSet(store, hub, link, clock).verbs(),
                **self._watches.verbs(),
                **WorkloadsVerb(store, clock).verbs(),
                Verb.APPLY: Served(ApplyRequest, self._apply),
            },
            door=cloud_door(role_of, self._on_denied),
        )

    @property
    def verbs(self) -> VerbTimes:
        """How long requests took."""
        return self._server.verbs

    async def __aenter__(self) -> Self:
        """Begin to answer."""
        await self.follower.open()
        self._stack.push_async_callback(self.follower.close)
        await self._watches.open()
        self._stack.push_async_callback(self._watches.close)
        await self._stack.enter_async_context(self._peers)
        await self._stack.enter_async_context(self._shadows)
        await self._server.open()
        self._stack.push_async_callback(self._server.close)
        return self

    async def __aexit__(self, *exc: object) -> None:
        """Stop; what is under way is given up."""
        await self._stack.aclose()
        for task in self._audits:
            task.cancel()
        await asyncio.gather(*self._audits, return_exceptions=True)

    async def _apply(self, request: ApplyRequest, caller: Caller) -> ApplyReply:
        return await self._applying.apply(request, by=caller.account)

    def _on_denied(self, account: str, verb: str) -> None:
        now_s = self._clock.monotonic_s()
        if now_s - self._denied.get((account, verb), -DENIED_EVERY_S) < DENIED_EVERY_S:
            return
        if len(self._denied) >= _REMEMBERED:
            self._denied.clear()
        self._denied[account, verb] = now_s
        task = asyncio.get_running_loop().create_task(self._audit_denial(account, verb))
        self._audits.add(task)
        task.add_done_callback(self._audits.discard)

    async def _audit_denial(self, account: str, verb: str) -> None:
        entry = AuditEntry(self._clock.now_us() // 1000, account, verb, "", "its role does not allow it", "denied")
        try:
            await self._store.audit(entry)
        except StoreError as error:
            log.warning("the denial of %s to %s is not in the audit log: %s", verb, account, error)
