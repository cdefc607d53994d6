"""Joining and renewal over HTTPS. The gateway has no certificate yet, or one that has ended, so none is asked for."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from cloudsync.http_errors import TooMany, body_of
from cloudsync.identity.rate import RateLimit
from cloudsync.identity.service import Identities
from twin.wire.codec import decode
from twin.wire.enrolment import (
    CA_PATH,
    JOIN_PATH,
    MAX_BYTES,
    RENEW_PATH,
    REVOKED_PATH,
    Enrolled,
    JoinRequest,
    RenewRequest,
)


def router(identities: Identities, limit: RateLimit, ca: str) -> APIRouter:
    """The routes."""
    made = APIRouter(tags=["identity"])

    @made.get(CA_PATH, summary="The CA's certificate; check its fingerprint against a join token.")
    async def authority() -> Response:
        return Response(ca, media_type="application/x-pem-file")

    @made.post(JOIN_PATH, summary="A gateway's first certificate, for a join token and a certificate request.")
    async def join(request: Request) -> Enrolled:
        where = _allowed(request, limit)
        asked = decode(JoinRequest, await body_of(request, MAX_BYTES), what="join request", max_bytes=MAX_BYTES)
        return await identities.join(asked, where=where)

    @made.post(RENEW_PATH, summary="A new certificate for the old one, signed with the old key.")
    async def renew(request: Request) -> Enrolled:
        where = _allowed(request, limit)
        asked = decode(RenewRequest, await body_of(request, MAX_BYTES), what="renewal", max_bytes=MAX_BYTES)
        return await identities.renew(asked, where=where)

    @made.get(REVOKED_PATH, summary="The revoked certificates of gateways: a list that the CA has signed.")
    async def revoked(request: Request) -> Response:
        _allowed(request, limit)
        return Response(await identities.revocations(), media_type="application/x-pem-file")

    return made


def _allowed(request: Request, limit: RateLimit) -> str:
    where = request.client.host if request.client is not None else "unknown"
    if not limit.allows(where):
        message = f"too many requests from {where}"
        raise TooMany(message, remedy="Wait a minute, or raise web.joins_per_minute.")
    return where
