"""Clients of the web process: one for each account that asks, all over one link."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from types import TracebackType
from typing import Final, Self

from twin.client import TwinClient
from twin.link import Link

MAX_CLIENTS: Final = 1000
"""Accounts at once; the one that has asked nothing for longest goes first."""


class Clients:
    """Asks in the name of accounts: the web process's own broker account may do so, and vouches for them."""

    def __init__(self, link: Link, name: str) -> None:
        self._link = link
        self._name = name
        self._clients: OrderedDict[str, TwinClient] = OrderedDict()
        self._opening = asyncio.Lock()

    async def __aenter__(self) -> Self:
        """Nothing to do until somebody asks."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop listening to replies."""
        while self._clients:
            _, client = self._clients.popitem()
            await client.__aexit__(kind, error, trace)

    async def of(self, account: str) -> TwinClient:
        """The client of one account. Raises LinkError if the broker does not let us listen."""
        async with self._opening:
            client = self._clients.get(account)
            if client is None:
                client = TwinClient(self._link, account=account, client=self._name, cloud=True)
                await client.__aenter__()
                self._clients[account] = client
                if len(self._clients) > MAX_CLIENTS:
                    _, oldest = self._clients.popitem(last=False)
                    await oldest.__aexit__(None, None, None)
            self._clients.move_to_end(account)
            return client
