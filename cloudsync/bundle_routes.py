"""Bundles over HTTPS, whole or from some byte on, to enrolled gateways that show their certificates."""

from __future__ import annotations

from typing import Annotated, Protocol

from fastapi import APIRouter, Path, Request
from fastapi.responses import FileResponse

from cloudsync.bundles import BUNDLES_PATH, BundleFolder
from cloudsync.http_errors import Forbidden, NotThere, Unauthorized
from cloudsync.peer_certificate import certificate_of


class Admission(Protocol):
    """Who may have them."""

    def admits(self, gateway: str, serial: int) -> bool:
        """Whether this gateway is enrolled, and this certificate of it is not revoked."""


def bundle_router(folder: BundleFolder, admission: Admission) -> APIRouter:
    """The routes."""
    made = APIRouter(tags=["bundles"])

    @made.api_route(
        f"{BUNDLES_PATH}/{{sha256}}",
        methods=["GET", "HEAD"],
        summary="A bundle of a release, for a gateway's certificate.",
        response_class=FileResponse,
    )
    async def bundle(request: Request, sha256: Annotated[str, Path(pattern="^[0-9a-f]{64}$")]) -> FileResponse:
        shown = certificate_of(request)
        if shown is None:
            message = "bundles are for gateways that show their certificates"
            raise Unauthorized(message, remedy="Ask with the certificate in the gateway's keys.")
        if not admission.admits(shown.gateway, shown.serial):
            message = f"gateway {shown.gateway} is not known, or was revoked"
            raise Forbidden(message, remedy="`edgetwin join` with a new token lets it in again.")
        path = folder.path(sha256)
        if not path.is_file():
            message = f"there is no bundle {sha256}"
            raise NotThere(message, remedy="`edgetwin cloud bundle list` shows those that there are.")
        return FileResponse(path, media_type="application/octet-stream", headers={"Cache-Control": "no-store"})

    return made
