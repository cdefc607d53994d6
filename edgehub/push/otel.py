"""A push by OpenTelemetry's own protocol over HTTP: each reading is a point of a gauge named as its property.

What is not a number is no gauge, and is refused; a reading without any value is a point that says so.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final

from edgehub.push.http import http_client
from edgehub.push.http_answers import outcome_of
from edgehub.push.line_protocol import time_ns
from edgehub.push.target import DELIVERED, Broken, Delivered, Outcome, Place, PushType, Reading, Refused, Target
from twin.manifest.pushes import OtelPush

if TYPE_CHECKING:
    import httpx

PATH: Final = "/v1/metrics"
SCOPE: Final = "edgetwin"
NO_VALUE: Final = 1  # DATA_POINT_FLAGS_NO_RECORDED_VALUE_MASK
MAX_INT64: Final = 2**63 - 1


class OtelTarget:
    """Sends to one collector."""

    def __init__(self, client: httpx.AsyncClient, url: str, gateway: str, words: Any) -> None:
        self._client = client
        self._url = url
        self._gateway = gateway
        self._words = words
        """The messages of opentelemetry-proto, which has no types."""

    async def send(self, batch: Sequence[Reading]) -> Outcome:
        """Deliver a batch."""
        good = next((place for place, one in enumerate(batch) if not is_gauge(one)), len(batch))
        if good:
            outcome = await self._send(batch[:good])
            if not isinstance(outcome, Delivered):
                return outcome
        if good == len(batch):
            return DELIVERED
        return Refused(f"{batch[good].property} is no number, and no gauge can hold it", taken=good)

    async def _send(self, batch: Sequence[Reading]) -> Outcome:
        answer = await self._client.post(
            self._url,
            content=self._request(batch).SerializeToString(),
            headers={"Content-Type": "application/x-protobuf"},
        )
        outcome = outcome_of(answer.status_code, answer.headers.get("Retry-After", ""), answer.text)
        if not isinstance(outcome, Delivered):
            return outcome
        reply = self._words.ExportMetricsServiceResponse()
        try:
            reply.ParseFromString(answer.content)
        except Exception:  # noqa: BLE001  a collector that answers otherwise, in JSON for instance, has it all the same
            return DELIVERED
        if reply.partial_success.rejected_data_points:
            return Refused(reply.partial_success.error_message or "the collector rejects some of it")
        return DELIVERED

    def _request(self, batch: Sequence[Reading]) -> Any:
        request = self._words.ExportMetricsServiceRequest()
        resources: dict[tuple[str, str], Any] = {}
        metrics: dict[tuple[str, str, str, str], Any] = {}
        for one in batch:
            device = (one.namespace, one.device)
            if device not in resources:
                resources[device] = self._resource(request, one)
            key = (*device, one.property, one.unit)
            if key not in metrics:
                metrics[key] = resources[device].metrics.add(name=one.property, unit=one.unit)
            self._add(metrics[key].gauge.data_points.add(), one)
        return request

    def _resource(self, request: Any, reading: Reading) -> Any:
        resource = request.resource_metrics.add()
        said = {
            "service.name": SCOPE,
            "service.instance.id": self._gateway,
            "edgetwin.namespace": reading.namespace,
            "edgetwin.device": reading.device,
        }
        _say(resource.resource, said)
        scope = resource.scope_metrics.add()
        scope.scope.name = SCOPE
        return scope

    def _add(self, point: Any, reading: Reading) -> None:
        point.time_unix_nano = max(0, time_ns(reading))
        _say(point, {"quality": reading.quality.value, "reason": reading.reason.value})
        value = reading.value
        if value is None:
            point.flags = NO_VALUE
        elif isinstance(value, int) and abs(value) <= MAX_INT64:
            point.as_int = int(value)
        elif isinstance(value, int | float):
            point.as_double = float(value)


def is_gauge(reading: Reading) -> bool:
    """Whether a gauge can hold it: a number, true or false, or nothing."""
    value = reading.value
    return value is None or isinstance(value, bool | float) or (isinstance(value, int) and value.bit_length() < 1024)


def _say(place: Any, attributes: dict[str, str]) -> None:
    for name, text in attributes.items():
        if text:
            place.attributes.add(key=name).value.string_value = text


@asynccontextmanager
async def _opened(config: OtelPush, place: Place) -> AsyncIterator[Target]:
    try:
        from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2  # memory of such a push alone
    except ImportError:
        message = "install edgetwin[push] for pushes by OpenTelemetry"
        raise Broken(message) from None
    url = config.url if config.url.rstrip("/").endswith(PATH) else config.url.rstrip("/") + PATH
    async with http_client(config.headers, config.token, config.ca, place.timeout_s) as client:
        yield OtelTarget(client, url, place.gateway, metrics_service_pb2)


PUSH: Final = PushType(OtelPush, _opened)
