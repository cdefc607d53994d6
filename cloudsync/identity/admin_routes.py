"""What an admin does over HTTPS: join tokens, gateways and users, as `edgetwin cloud token, gateway, user` do."""

import time
from dataclasses import asdict
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Request
from pydantic import Field

from cloudsync.http_errors import Forbidden, body_of
from cloudsync.identity.bearer import Bearer, Caller
from cloudsync.identity.model import AccountKind
from cloudsync.identity.roles import Role
from cloudsync.identity.service import MAX_TTL_S, Identities
from cloudsync.identity.store import IdentityStore
from twin.wire.codec import decode
from twin.wire.enrolment import MAX_BYTES
from twin.wire.messages import Wire

PREFIX: Final = "/api/v1/identity"
_KINDS: Final = {"gateways": AccountKind.GATEWAY, "users": AccountKind.USER}
_JSON: Final = "application/json"


class TokenBody(Wire):
    """For which gateway (empty: any), and for how long."""

    gateway: Annotated[str, Field(max_length=63)] = ""
    ttl_s: Annotated[int, Field(ge=1, le=MAX_TTL_S)] = 3600


class UserBody(Wire):
    """Who, and what for. ``replace`` gives one that is there new credentials."""

    name: Annotated[str, Field(min_length=1, max_length=63)]
    role: Role
    replace: bool = False


# Annotations are read by FastAPI inside of the function, so they are not left as text here.
def admin_router(identities: Identities, store: IdentityStore, bearer: Bearer) -> APIRouter:
    """The routes. Each needs the API token of an admin."""

    async def admin(request: Request, caller: Annotated[Caller, Depends(bearer)]) -> Caller:
        if caller.role is not Role.ADMIN:
            await identities.deny(caller.name, f"{request.method} {request.url.path}"[:200])
            message = f"{caller.name} is {caller.role}; this needs an admin"
            raise Forbidden(message, remedy="Ask an admin to do it, or to give you the role.")
        return caller

    made = APIRouter(prefix=PREFIX, tags=["identity"])
    by = Annotated[Caller, Depends(admin)]

    @made.get("/tokens", summary="All join tokens, without their secrets.")
    async def tokens(_: by) -> dict[str, Any]:
        now = time.time_ns() // 1_000_000
        return {"tokens": [asdict(one) | {"state": one.state(now)} for one in await store.tokens()]}

    @made.post("/tokens", summary="A join token; its text is shown once.", openapi_extra=_takes(TokenBody))
    async def create_token(request: Request, caller: by) -> dict[str, Any]:
        asked = decode(TokenBody, await body_of(request, MAX_BYTES), what="token", max_bytes=MAX_BYTES)
        token, text = await identities.create_token(asked.gateway, asked.ttl_s, by=caller.name)
        return {"id": token.id, "gateway": token.gateway, "expires_at": token.expires_at, "token": text}

    @made.delete("/tokens/{token_id}", summary="End a token that was not used.")
    async def revoke_token(token_id: str, caller: by) -> dict[str, str]:
        await identities.revoke_token(token_id[:64], by=caller.name)
        return {"revoked": token_id}

    @made.post("/users", summary="A user; the credentials are shown once.", openapi_extra=_takes(UserBody))
    async def add_user(request: Request, caller: by) -> dict[str, Any]:
        asked = decode(UserBody, await body_of(request, MAX_BYTES), what="user", max_bytes=MAX_BYTES)
        made = await identities.add_user(asked.name, asked.role, by=caller.name, replace=asked.replace)
        return made.model_dump(mode="json")

    for path, kind in _KINDS.items():
        _add_kind(made, path, kind, identities, store, by)
    return made


def _add_kind(
    made: APIRouter, path: str, kind: AccountKind, identities: Identities, store: IdentityStore, by: Any
) -> None:
    @made.get(f"/{path}", summary=f"All {path}, those that are revoked included.", name=f"list_{path}")
    async def accounts(_: by) -> dict[str, Any]:
        ends = await store.ends(kind)
        found = [one for one in (await store.changes(0)).accounts if one.kind is kind]
        return {path: [asdict(one) | {"ends_at": ends.get(one.name, 0)} for one in found]}

    @made.delete(f"/{path}/{{name}}", summary=f"Shut a {kind} out.", name=f"revoke_{kind}")
    async def revoke(name: str, caller: by) -> dict[str, str]:
        account = await identities.revoke(name[:64], kind, by=caller.name)
        return {"revoked": account.name}


def _takes(model: type[Wire]) -> dict[str, Any]:
    return {"requestBody": {"required": True, "content": {_JSON: {"schema": model.model_json_schema()}}}}
