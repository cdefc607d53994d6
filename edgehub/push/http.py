"""A push by HTTP: a request for each batch, or, in KubeEdge's shape, for each reading."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from edgehub.push.http_answers import outcome_of
from edgehub.push.own_words import OwnWords
from edgehub.push.payload import batch_json, kubeedge_form
from edgehub.push.secret import secret_text
from edgehub.push.target import DELIVERED, Broken, Delivered, Outcome, Place, PushType, Reading, Target
from twin.manifest.pushes import HttpPush, Secret

if TYPE_CHECKING:
    import httpx

INSTALL: Final = "install edgetwin[push] for pushes by HTTP"
KEPT_CONNECTIONS: Final = 2


class HttpTarget:
    """Sends to one server."""

    def __init__(self, client: httpx.AsyncClient, config: HttpPush, gateway: str) -> None:
        self._client = client
        self._gateway = gateway
        self._config = config
        self._words = OwnWords(config)

    async def send(self, batch: Sequence[Reading]) -> Outcome:
        """Deliver a batch."""
        if self._config.shape == "json" and not any(one.route for one in batch):
            return await self._send(self._config.url, "application/json", batch_json(batch, self._gateway))
        for place, one in enumerate(batch):
            outcome = await self._send_one(one)
            if not isinstance(outcome, Delivered):
                return replace(outcome, taken=place)
        return DELIVERED

    async def _send_one(self, reading: Reading) -> Outcome:
        url = self._words.of(reading.route).url
        if self._config.shape == "json":
            return await self._send(url, "application/json", batch_json([reading], self._gateway))
        return await self._send(url, "application/x-www-form-urlencoded", kubeedge_form(reading))

    async def _send(self, url: str, kind: str, body: bytes) -> Outcome:
        answer = await self._client.request(self._config.method, url, content=body, headers={"Content-Type": kind})
        return outcome_of(answer.status_code, answer.headers.get("Retry-After", ""), answer.text)


@asynccontextmanager
async def http_client(
    headers: dict[str, str], token: Secret | None, ca: str | None, timeout_s: float, scheme: str = "Bearer"
) -> AsyncIterator[httpx.AsyncClient]:
    """A client with its secrets. Raises Broken."""
    try:
        import httpx  # memory that only such a push should pay
    except ImportError:
        raise Broken(INSTALL) from None
    said = dict(headers)
    if token is not None:
        said["Authorization"] = f"{scheme} {secret_text(token)}"
    try:
        verify = ssl.create_default_context(cafile=ca) if ca else True
    except OSError as error:
        message = f"the certificates in {ca} cannot be read: {error}"
        raise Broken(message) from None
    limits = httpx.Limits(max_connections=KEPT_CONNECTIONS, max_keepalive_connections=KEPT_CONNECTIONS)
    async with httpx.AsyncClient(
        headers=said, timeout=timeout_s, verify=verify, limits=limits, follow_redirects=False, trust_env=False
    ) as client:
        yield client


@asynccontextmanager
async def _opened(config: HttpPush, place: Place) -> AsyncIterator[Target]:
    async with http_client(config.headers, config.token, config.ca, place.timeout_s) as client:
        yield HttpTarget(client, config, place.gateway)


PUSH: Final = PushType(HttpPush, _opened)
