"""Which gateways are enrolled, with certificates that are not revoked; for servers that look at these themselves."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Final

from cloudsync.identity.directory import Directory
from cloudsync.identity.model import AccountKind
from cloudsync.identity.store import IdentityStore
from twin.errors import StoreError

LOOK_S: Final = 0.5
TIMEOUT_S: Final = 5.0

log = logging.getLogger(__name__)


class Enrolled:
    """Admits gateways by their certificates. While the store does not answer, what was known stands."""

    def __init__(self, directory: Directory, store: IdentityStore) -> None:
        self._directory = directory
        self._store = store
        self._revoked: frozenset[int] = frozenset()
        self._revision = -1

    def admits(self, gateway: str, serial: int) -> bool:
        """Whether this gateway is enrolled, and this certificate of it is not revoked."""
        return self._directory.gateway(gateway) and serial not in self._revoked

    async def refresh(self) -> bool:
        """Read the revoked certificates if anything has changed; whether it has. Raises StoreError."""
        revision = self._directory.revision
        if revision == self._revision:
            return False
        revoked = await self._store.revoked(AccountKind.GATEWAY, int(time.time() * 1000))
        self._revoked = frozenset(int(one.serial, 16) for one in revoked)
        self._revision = revision
        return True

    async def follow(self, tell: Callable[[], None] = lambda: None) -> None:
        """Look for revocations, and tell of each change, until cancelled."""
        while True:
            await asyncio.sleep(LOOK_S)
            try:
                async with asyncio.timeout(TIMEOUT_S):
                    changed = await self.refresh()
            except (StoreError, TimeoutError) as error:
                log.debug("revocations are not followed: %s", error)
                continue
            if changed:
                tell()
