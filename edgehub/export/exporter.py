"""Scrapes, converts and posts, again and again. Metrics are how it is now: what fails is not kept, the next goes."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from edgehub.export.rounds import Round
from edgehub.export.setup import ExportSetup, SourceSetup
from edgehub.push.http import http_client
from edgehub.push.http_answers import outcome_of
from edgehub.push.steps import wait_s
from edgehub.push.target import DELIVERED, Broken, Delivered, Later, Outcome, Refused
from twin.clock import Clock
from twin.link.backoff import Backoff
from twin.manifest.pushes import Secret

if TYPE_CHECKING:
    import httpx

    from edgehub.export.conversion import Memory, Scrape

PATH: Final = "/v1/metrics"
LONGEST_BYTES: Final = 16 * 1024 * 1024
MOST_AFTER_S: Final = 3600.0
"""The longest wait that a collector may ask for."""
_NONE: Final[Mapping[str, str]] = MappingProxyType({})
INSTALL: Final = "install edgetwin[push] for OpenTelemetry"


class Exporter:
    """One export. ``tell`` hears of each round."""

    def __init__(
        self, setup: ExportSetup, *, clock: Clock, backoff: Backoff, tell: Callable[[Round], None] = lambda _: None
    ) -> None:
        self._setup = setup
        self._clock = clock
        self._backoff = backoff
        self._tell = tell
        self._known: dict[str, Memory] = {one.url: {} for one in setup.sources}

    async def run(self) -> None:
        """Send every so often, for ever."""
        while True:
            began_s = self._clock.monotonic_s()
            done = await self.once()
            if isinstance(done.outcome, Later):
                await asyncio.sleep(wait_s(done.outcome, self._backoff.next_s(), MOST_AFTER_S))
                continue
            self._backoff.reset()  # also when it is refused for good: nothing is gained by being early
            await asyncio.sleep(max(0.0, self._setup.every_s - (self._clock.monotonic_s() - began_s)))

    async def once(self) -> Round:
        """Send how it is now."""
        at_ms = self._clock.now_us() // 1000
        try:
            done = await self._round(at_ms)
        except Broken as broken:
            done = Round(at_ms, 0, (), Later(str(broken)))
        self._tell(done)
        return done

    async def _round(self, at_ms: int) -> Round:
        read = await self._scrapes()
        scrapes = {url: one for url, one in read.items() if not isinstance(one, str)}
        silent = tuple((url, one) for url, one in read.items() if isinstance(one, str))
        if not scrapes:
            return Round(at_ms, 0, silent, Later("there is nothing to send"))
        outcome = await self._post(list(scrapes.values()))
        points = sum(one.points for one in scrapes.values())
        arrived = points if isinstance(outcome, Delivered) else outcome.taken
        for url, one in scrapes.items():
            self._known[url] = one.counted if arrived else one.unsent(self._known[url])
        return Round(at_ms, arrived, silent, outcome)

    async def _scrapes(self) -> dict[str, Scrape | str]:
        setup = self._setup
        async with self._client({}, setup.source_token_file) as client:
            found = await asyncio.gather(*(self._scrape(client, one) for one in setup.sources))
        return dict(zip(self._known, found, strict=True))

    async def _scrape(self, client: httpx.AsyncClient, source: SourceSetup) -> Scrape | str:
        """What an endpoint says, or why it says nothing."""
        try:
            from edgehub.export.conversion import Unreadable, scrape_of
        except ImportError:
            raise Broken(INSTALL) from None
        try:
            status, _, body = await self._asked(client, "GET", source.url)
        except _NoAnswer as why:
            return str(why)
        if status != 200:
            return f"HTTP {status}"
        try:
            return scrape_of(body, source.instance, self._clock.now_us() * 1000, self._known[source.url])
        except Unreadable as error:
            return str(error)

    async def _post(self, scrapes: list[Scrape]) -> Outcome:
        from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2 as words

        request = words.ExportMetricsServiceRequest(resource_metrics=[one.metrics for one in scrapes])
        async with self._client(self._setup.headers, self._setup.token_file) as client:
            kind = {"Content-Type": "application/x-protobuf"}
            try:
                status, retry_after, body = await self._asked(
                    client, "POST", url_of(self._setup.url), request.SerializeToString(), kind
                )
            except _NoAnswer as missing:
                return Later(str(missing))
        outcome = outcome_of(status, retry_after, body[:1000].decode(errors="replace"))
        if not isinstance(outcome, Delivered):
            return outcome
        reply = words.ExportMetricsServiceResponse()
        try:
            reply.ParseFromString(body)
        except Exception:  # noqa: BLE001  a collector that answers otherwise, in JSON for instance, has it all the same
            return DELIVERED
        if rejected := reply.partial_success.rejected_data_points:
            why = reply.partial_success.error_message or f"the collector rejects {rejected} points"
            return Refused(why, taken=max(0, sum(one.points for one in scrapes) - rejected))
        return DELIVERED

    @contextlib.asynccontextmanager
    async def _client(self, headers: dict[str, str], token_file: str) -> AsyncIterator[httpx.AsyncClient]:
        """A client of this round alone: tokens and certificates are read anew. Raises Broken."""
        token = Secret(file=token_file) if token_file else None
        async with contextlib.AsyncExitStack() as stack:
            opened = http_client(headers, token, self._setup.ca or None, self._setup.timeout_s)
            try:
                client = await stack.enter_async_context(opened)
            except UnicodeError:
                message = f"what is in {token_file} cannot be sent; a token is plain ASCII"
                raise Broken(message) from None
            yield client

    async def _asked(
        self, client: httpx.AsyncClient, method: str, url: str, content: bytes = b"", headers: Mapping[str, str] = _NONE
    ) -> tuple[int, str, bytes]:
        """Status, Retry-After and body, which has a bound. Raises _NoAnswer."""
        import httpx

        try:
            async with asyncio.timeout(self._setup.timeout_s):
                async with client.stream(method, url, content=content, headers=headers) as answer:
                    body = bytearray()
                    async for piece in answer.aiter_bytes():
                        body += piece
                        if len(body) > LONGEST_BYTES:
                            message = f"its answer is longer than {LONGEST_BYTES} bytes"
                            raise _NoAnswer(message)
        except TimeoutError:
            message = f"no answer within {self._setup.timeout_s:g} s"
            raise _NoAnswer(message) from None
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise _NoAnswer(str(error) or type(error).__name__) from None
        return answer.status_code, answer.headers.get("Retry-After", ""), bytes(body)


class _NoAnswer(Exception):
    """Nothing of use came back."""


def url_of(url: str) -> str:
    """Where a collector takes metrics: its address, with OTLP's own path unless it is there."""
    plain = url.rstrip("/")
    return plain if plain.endswith(PATH) else plain + PATH
