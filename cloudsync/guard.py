"""Keeps the brokers in agreement with the identities: rights of users, revoked certificates, live sessions that end.

identity store ──revision──> sign the lists ──> files of each broker, SIGHUP ──> kick
                                  └──────────> the store, for brokers of machines that cannot sign
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Final

from cloudsync.access import gateways_acl, users_acl
from cloudsync.brokers import OwnBroker
from cloudsync.identity.ca import DAY_MS
from cloudsync.identity.directory import Directory
from cloudsync.identity.errors import NotInitialised
from cloudsync.identity.folder import GATEWAYS, USERS, CloudFolder, list_file
from cloudsync.identity.model import Account, AccountKind
from cloudsync.identity.store import IdentityStore
from twin.clock import Clock
from twin.errors import EdgetwinError
from twin.private_file import write_private

SIGNED_ANEW_S: Final = 24 * 3600.0
KICKS_S: Final = (0.2, 0.8, 2.0)
"""After the brokers were told. The first may come before a broker has reread its list, and the client be back."""
TIMEOUT_S: Final = 10.0

_KINDS: Final = {GATEWAYS: AccountKind.GATEWAY, USERS: AccountKind.USER}

log = logging.getLogger(__name__)


class Guard:
    """One for all own brokers. ``keep`` runs until cancelled."""

    def __init__(
        self,
        store: IdentityStore,
        directory: Directory,
        folder: CloudFolder,
        brokers: Sequence[OwnBroker],
        *,
        clock: Clock,
        export: bool = False,
    ) -> None:
        self._store = store
        self._directory = directory
        self._folder = folder
        self._brokers = brokers
        self._clock = clock
        self._signs = folder.has_authority()
        self._export = export
        self._changed = asyncio.Event()
        self._gone: dict[str, Account] = {}
        self._lists: dict[str, str] = {}
        self._said: tuple[object, ...] = ()
        self._kicks: set[asyncio.Task[None]] = set()
        directory.on_change = self._note

    async def revoked(self) -> dict[str, str]:
        """The lists of revoked certificates as they are now, by authority. Raises StoreError, NotInitialised."""
        if not self._signs:
            found = await self._store.published()
            missing = [name for name in _KINDS if list_file(name) not in found]
            if missing:
                message = f"no list of revoked certificates of {' and '.join(missing)} was published yet"
                raise NotInitialised(message, remedy="Start the cloud that has the CA first.")
            return {name: found[list_file(name)] for name in _KINDS}
        now = self._clock.now_us() // 1000
        revoked = {name: await self._store.revoked(kind, now) for name, kind in _KINDS.items()}
        # Publishing raises the revision, which leads here again: what is the same is not signed anew.
        said = (now // DAY_MS, *(tuple(one.serial for one in issued) for issued in revoked.values()))
        if said != self._said:
            made = {
                name: self._folder.authority(name).revocations(issued, now=now, number=now)
                for name, issued in revoked.items()
            }
            for name, text in made.items():
                write_private(self._folder.ca / list_file(name), text)
            await self._store.publish([(list_file(name), text) for name, text in made.items()])
            self._said, self._lists = said, made
        return self._lists

    def look(self) -> None:
        """Have the brokers reread their files soon."""
        self._changed.set()

    async def keep(self) -> None:
        """Follow the identities until cancelled."""
        try:
            while True:
                with suppress(TimeoutError):
                    async with asyncio.timeout(SIGNED_ANEW_S):
                        await self._changed.wait()
                self._changed.clear()
                try:
                    async with asyncio.timeout(TIMEOUT_S):
                        await self._renew()
                except (EdgetwinError, OSError, TimeoutError) as error:
                    log.warning("the brokers do not have the newest revocations yet: %s", error)
                    await asyncio.sleep(1.0)
                    self._changed.set()
        finally:
            for task in self._kicks:
                task.cancel()

    def _note(self, changed: tuple[Account, ...]) -> None:
        self._gone |= {account.name: account for account in changed}
        self._changed.set()

    def write_export(self, lists: Mapping[str, str]) -> None:
        """Lay out what somebody else's broker needs: its own way of rereading them is its operator's to know."""
        if not self._export:
            return
        place = self._folder.export
        place.mkdir(mode=0o700, exist_ok=True)
        write_private(place / "gateways.acl", gateways_acl())
        write_private(place / "users.acl", users_acl(self._directory.accounts()))
        for name, text in lists.items():
            write_private(place / list_file(name), text)
            write_private(place / f"{name}.pem", self._folder.certificate(name).read_text(encoding="ascii"))

    async def _renew(self) -> None:
        lists = await self.revoked()
        self.write_export(lists)
        gone, self._gone = self._gone, {}
        for broker in self._brokers:
            broker.renew(self._directory.accounts(), lists[GATEWAYS if broker.named else USERS])
        for account in gone.values():
            log.info(
                "%s %s %s: its sessions end", account.kind, account.name, "changed" if account.active else "is revoked"
            )
        if gone:
            task = asyncio.create_task(self._kick(tuple(gone.values())), name="kick")
            self._kicks.add(task)
            task.add_done_callback(self._kicks.discard)

    async def _kick(self, accounts: tuple[Account, ...]) -> None:
        before_s = 0.0
        for at_s in KICKS_S:
            await asyncio.sleep(at_s - before_s)
            before_s = at_s
            for account in accounts:
                for broker in self._brokers:
                    if broker.named == (account.kind is AccountKind.GATEWAY):
                        await broker.kick(account.name)
