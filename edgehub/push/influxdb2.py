"""A push to InfluxDB by the way in of version 2, which 3, 1.8 and VictoriaMetrics have as well."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

from edgehub.push.http import http_client
from edgehub.push.http_answers import outcome_of
from edgehub.push.line_protocol import line_of
from edgehub.push.own_words import OwnWords
from edgehub.push.payload import filled
from edgehub.push.target import Outcome, Place, PushType, Reading, Target
from twin.manifest.pushes import Influxdb2Push

if TYPE_CHECKING:
    import httpx


class Influxdb2Target:
    """Writes to one bucket."""

    def __init__(self, client: httpx.AsyncClient, config: Influxdb2Push, gateway: str) -> None:
        self._client = client
        self._config = config
        self._words = OwnWords(config)
        self._gateway = gateway

    async def send(self, batch: Sequence[Reading]) -> Outcome:
        """Deliver a batch."""
        config = self._config
        answer = await self._client.post(
            f"{config.url.rstrip('/')}/api/v2/write",
            params={"org": config.org, "bucket": config.bucket, "precision": "ns"},
            content="\n".join(map(self._line, batch)).encode(),
            headers={"Content-Type": "text/plain; charset=utf-8"},
        )
        return outcome_of(answer.status_code, answer.headers.get("Retry-After", ""), answer.text)

    def _line(self, reading: Reading) -> str:
        words = self._words.of(reading.route)
        own = {
            "gateway": self._gateway,
            "namespace": reading.namespace,
            "device": reading.device,
            "property": reading.property,
        }
        tags = {name: filled(value, reading, self._gateway) for name, value in words.tags.items()}
        measurement, field = (filled(text, reading, self._gateway) for text in (words.measurement, words.field))
        return line_of(reading, measurement, {**own, **tags}, field)


@asynccontextmanager
async def _opened(config: Influxdb2Push, place: Place) -> AsyncIterator[Target]:
    async with http_client({}, config.token, config.ca, place.timeout_s, scheme="Token") as client:
        yield Influxdb2Target(client, config, place.gateway)


PUSH: Final = PushType(Influxdb2Push, _opened)
