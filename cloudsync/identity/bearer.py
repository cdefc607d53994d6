"""Who asks over HTTPS: the user of an API token."""

from __future__ import annotations

from typing import NamedTuple

from fastapi import Request

from cloudsync.http_errors import TooMany, Unauthorized
from cloudsync.identity.rate import RateLimit
from cloudsync.identity.roles import Role
from cloudsync.identity.secret import hashed
from cloudsync.identity.store import IdentityStore

_REMEDY = "Send the header `Authorization: Bearer <api_token of the credentials file>`."


class Caller(NamedTuple):
    """A user."""

    name: str
    role: Role


class Bearer:
    """Finds the user of a request. ``Depends(bearer)`` in a route."""

    def __init__(self, store: IdentityStore, failures: RateLimit) -> None:
        self._store = store
        self._failures = failures
        """How often one address may come with a token that is not known."""

    async def __call__(self, request: Request) -> Caller:
        """Raises Unauthorized, TooMany."""
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not token:
            message = "this needs an API token"
            raise Unauthorized(message, remedy=_REMEDY)
        account = await self._store.user_of(hashed(token.strip()))
        if account is None or account.role is None:
            where = request.client.host if request.client is not None else "unknown"
            if not self._failures.allows(where):
                message = f"too many unknown API tokens from {where}"
                raise TooMany(message, remedy="Wait a minute, and check the token.")
            message = "the API token is not known, or was revoked"
            raise Unauthorized(message, remedy="An admin makes one: `edgetwin cloud user add`.")
        return Caller(account.name, account.role)
