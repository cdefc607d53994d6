"""Who is known and not revoked, as plain look-ups: a copy in memory that is never more than a second behind."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from types import TracebackType
from typing import Final, Self

from cloudsync.identity.model import Account, AccountKind
from cloudsync.identity.roles import Role
from cloudsync.identity.sql_store import identity_store
from cloudsync.identity.store import IdentityStore
from twin.errors import StoreError

POLL_S: Final = 0.5
TIMEOUT_S: Final = 5.0

log = logging.getLogger(__name__)


class Directory:
    """Follows the identity store. While that does not answer, what was known stands."""

    def __init__(self, store: IdentityStore) -> None:
        self._store = store
        self._accounts: dict[str, Account] = {}
        self._revision = 0
        self._has_read = False
        self._task: asyncio.Task[None] | None = None
        self.failing = False
        """Whether the store has not answered lately."""
        self.on_change: Callable[[tuple[Account, ...]], None] = lambda _: None
        """Called after each change, with the accounts that may have a session which must end.

        Those that were known before and are another now, and those that have come and gone between two looks.
        """

    @classmethod
    def at(cls, url: str) -> Directory:
        """On the database of a store's URL."""
        return cls(identity_store(url))

    async def __aenter__(self) -> Self:
        """Connect, read all, and begin to follow. Raises StoreError."""
        await self._store.__aenter__()
        try:
            await self.refresh()
        except BaseException:
            await self._store.__aexit__(None, None, None)
            raise
        self._task = asyncio.create_task(self._follow(), name="directory")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop and let go."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})
        await self._store.__aexit__(kind, error, trace)

    def gateway(self, name: str) -> bool:
        """Whether a gateway of this name is enrolled and not revoked."""
        account = self._accounts.get(name)
        return account is not None and account.kind is AccountKind.GATEWAY and account.active

    async def known(self, gateway: str) -> bool:
        """The same for callers that wait."""
        return self.gateway(gateway)

    def role(self, name: str) -> Role | None:
        """The role of an active user."""
        account = self._accounts.get(name)
        return account.role if account is not None and account.active else None

    def accounts(self) -> tuple[Account, ...]:
        """All, those that are revoked included."""
        return tuple(self._accounts.values())

    @property
    def revision(self) -> int:
        """How far this copy is."""
        return self._revision

    async def refresh(self) -> None:
        """Look now. Raises StoreError."""
        changes = await self._store.changes(self._revision)
        if changes.revision != self._revision:
            found = changes.accounts
            gone_meanwhile = self._has_read  # those of before the start have no session
            other = tuple(one for one in found if one.name in self._accounts or (gone_meanwhile and not one.active))
            self._accounts.update((account.name, account) for account in found)
            self._revision = changes.revision
            self.on_change(other)
        self._has_read = True

    async def _follow(self) -> None:
        while True:
            await asyncio.sleep(POLL_S)
            try:
                async with asyncio.timeout(TIMEOUT_S):
                    await self.refresh()
            except (StoreError, TimeoutError) as error:
                log.log(logging.DEBUG if self.failing else logging.WARNING, "identities are not followed: %s", error)
                self.failing = True
            else:
                if self.failing:
                    log.info("identities are followed again")
                self.failing = False
