"""The cloud on this machine, for commands: they need no process of it to run."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from cloudsync.identity.audit import audit_log
from cloudsync.identity.directory import Directory
from cloudsync.identity.folder import GATEWAYS, USERS, CloudFolder, state_folder
from cloudsync.identity.service import Identities
from cloudsync.identity.sql_store import SqlIdentityStore, identity_store
from cloudsync.settings import load_settings
from cloudsync.store import CloudStore
from cloudsync.store.opening import open_store
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


@dataclass(frozen=True, slots=True)
class LocalCloud:
    """Where the cloud keeps what it knows."""

    store: CloudStore
    folder: CloudFolder
    url: str
    """Of its web server, for gateways."""
    known: Callable[[str], Awaitable[bool]]
    """Whether a gateway is enrolled and not revoked."""
    now_ms: Callable[[], int]


@asynccontextmanager
async def local_cloud(config: Path | None) -> AsyncIterator[LocalCloud]:
    """The store of the local cloud. Raises NotInitialised, StoreError."""
    settings = load_settings(config, os.environ).settings
    folder = CloudFolder(state_folder(os.environ))
    folder.authority(GATEWAYS)
    url, clock = settings.store.place(folder), SystemClock()
    async with AsyncExitStack() as stack:
        directory = await stack.enter_async_context(Directory.at(url))
        store = open_store(url, clock)
        await store.open()
        stack.push_async_callback(store.close)
        yield LocalCloud(store, folder, settings.servers.url, directory.known, lambda: clock.now_us() // 1000)
