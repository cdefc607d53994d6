"""Waits until a gateway has told the cloud something of itself."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from cloudsync.ask.session import cloud_client
from hardware.errors import BootFailed
from twin.wire.api import WatchEvent

READY_S: Final = 30.0


@asynccontextmanager
async def watched(credentials: Path | None, *, devices: bool) -> AsyncIterator[AsyncIterator[WatchEvent]]:
    """What changes in the cloud from now on, of devices or of gateways themselves.

    Raises InvalidCredentials, LinkError.
    """
    async with cloud_client(credentials) as above, above.watch(kind="device" if devices else "gateway") as events:
        async with asyncio.timeout(READY_S):
            async for event in events:
                if event.ready:
                    break
        yield events


async def first_of(events: AsyncIterator[WatchEvent], gateway: str) -> str:
    """The twin of the first event that is news of this gateway. Raises BootFailed if the events end.

    What was there before says nothing of this start.
    """
    async for event in events:
        if event.initial or event.body is None:
            continue
        if event.body.gateway == gateway or event.twin.rpartition("/")[2] == gateway:
            return event.twin
    message = "the cloud ended the watch"
    raise BootFailed(message, remedy="Is it still up? edgetwin cloud status")
