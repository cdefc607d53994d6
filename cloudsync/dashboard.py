"""The dashboard of a fleet: the page of ``twin.page``, for the users of the cloud, in the name of whoever is logged in.

A user logs in with the API token of its credentials file; its role says whether it may change anything, and a user that
is revoked is out with its next request.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path

from fastapi import FastAPI
from starlette.routing import Route

from cloudsync.identity.roles import Role, may
from cloudsync.identity.secret import hashed
from cloudsync.identity.store import IdentityStore
from twin.client import TwinClient
from twin.errors import NotAllowed
from twin.page.app import Page
from twin.page.sessions import Sessions
from twin.page.site import Visitor
from twin.wire.api import TwinBody
from twin.wire.cloud_api import CloudStatusReply

MOST_GATEWAYS = 1000
"""Gateways of the fleet's view."""

ClientOf = Callable[[str], Awaitable[TwinClient]]


def fleet_page(clients: ClientOf, store: IdentityStore, *, title: str, names: Iterable[str], sessions: Path) -> Page:
    """The page of all gateways, which answers under these names."""
    known = Sessions(lambda: time.time_ns() // 1_000_000, sessions)
    return Page(FleetSite(clients, title), Users(store), known, names=names, secure=True)


def add_page(app: FastAPI, page: Page) -> None:
    """Serve a page beside what an application serves already."""
    app.router.routes.extend(Route(path, page.app, include_in_schema=False) for path in page.paths)


class Users:
    """The users of a cloud, by their API tokens. A holder is the hash of one."""

    def __init__(self, store: IdentityStore) -> None:
        self._store = store

    async def admit(self, _: str, secret: str) -> str | None:
        """The holder of a login; None if there is no such token. Raises StoreError."""
        holder = hashed(secret.strip())
        return holder if await self.visitor(holder) is not None else None

    async def visitor(self, holder: str) -> Visitor | None:
        """Who that is; None once it was revoked. Raises StoreError."""
        account = await self._store.user_of(holder)
        if account is None or account.role is None:
            return None
        return Visitor(account.name, may(Role(account.role), "set"))


class FleetSite:
    """The gateways of a cloud."""

    fleet = True

    def __init__(self, clients: ClientOf, name: str) -> None:
        self._clients = clients
        self.name = name

    async def client(self, visitor: Visitor) -> TwinClient:
        """Who asks in the name of a user."""
        return await self._clients(visitor.name)

    async def status(self, visitor: Visitor) -> CloudStatusReply:
        """How the gateways are, the first of them."""
        return await (await self._clients(visitor.name)).cloud_status(limit=MOST_GATEWAYS)

    async def mesh(self, _: Visitor) -> None:
        """Who calls whom is known on each gateway only."""

    async def pod_log(self, pod: TwinBody, _container: str, _lines: int) -> str:
        """Logs stay on the gateways. Raises NotAllowed."""
        message = f"the log of {pod.twin} is on its gateway"
        raise NotAllowed(message, remedy=f"Ask on {pod.gateway or 'the gateway'}: `edgetwin logs`.")
