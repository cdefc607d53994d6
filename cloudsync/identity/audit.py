"""The audit log of the cloud's store, for those who have no other business with the store."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from cloudsync.identity.service import Audit
from cloudsync.store.opening import open_store
from twin.clock import Clock


@asynccontextmanager
async def audit_log(url: str, clock: Clock) -> AsyncIterator[Audit]:
    """Open the store for lines of the audit log. Raises StoreError."""
    store = open_store(url, clock)
    await store.open()
    try:
        yield store.audit
    finally:
        await store.close()
