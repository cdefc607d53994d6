"""The identities of the cloud on this machine, for commands: they need no process of it to run."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from cloudsync.identity.audit import audit_log
from cloudsync.identity.folder import GATEWAYS, USERS, CloudFolder, state_folder
from cloudsync.identity.service import Identities
from cloudsync.identity.sql_store import SqlIdentityStore, identity_store
from cloudsync.settings import load_settings
from twin.clock import SystemClock


@asynccontextmanager
async def local_identities(config: Path | None) -> AsyncIterator[tuple[Identities, SqlIdentityStore]]:
    """The identities of the local cloud. Raises NotInitialised."""
    settings = load_settings(config, os.environ).settings
    folder = CloudFolder(state_folder(os.environ))
    gateways, users = folder.authority(GATEWAYS), folder.authority(USERS)
    url, clock = settings.store.place(folder), SystemClock()
    async with AsyncExitStack() as stack:
        store = await stack.enter_async_context(identity_store(url))
        audit = await stack.enter_async_context(audit_log(url, clock))
        made = Identities(
            store, gateways, users, servers=settings.servers, lives=settings.identity.lives, clock=clock, audit=audit
        )
        yield made, store
