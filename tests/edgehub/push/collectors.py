"""Doubles of InfluxDB and of an OpenTelemetry collector: real sockets, strict readers that share no code with ours.

InfluxDB's lines are read by PyPI's line-protocol-parser, OTLP by the messages of opentelemetry-proto.
"""

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from urllib.parse import parse_qs, urlsplit

from line_protocol_parser import LineFormatError, parse_line
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)

from tests.edgehub.push.servers import Moody, Request, moody_server

LINE = re.compile(r'(?:"(?:\\.|[^"\\])*"|[^"\n])+')
"""A line, which ends at the first line feed outside of quotes."""


@dataclass
class Bucket:
    """What a strict InfluxDB has: it knows its token, org and bucket, and a field keeps the type of its first value."""

    points: list[dict] = field(default_factory=list)
    types: dict[tuple[str, str], type] = field(default_factory=dict)

    def take(self, request: Request) -> tuple[int, dict[str, str], bytes]:
        asked = parse_qs(urlsplit(request.path).query)
        if urlsplit(request.path).path != "/api/v2/write" or asked.get("bucket") != ["readings"]:
            return 404, {}, b'{"code":"not found","message":"bucket not found"}'
        if request.headers.get("authorization") != "Token not-a-secret":
            return 401, {}, b'{"code":"unauthorized"}'
        if asked.get("org") != ["plant"] or asked.get("precision") != ["ns"]:
            return 400, {}, b"org or precision"
        try:
            points = [parse_line(line) for line in LINE.findall(request.body.decode())]
        except (LineFormatError, UnicodeDecodeError) as error:
            return 400, {}, str(error).encode()
        for point in points:
            for name, value in point["fields"].items():
                if self.types.setdefault((point["measurement"], name), type(value)) is not type(value):
                    return 422, {}, b"field type conflict"
        self.points += points
        return 204, {}, b""


@dataclass
class Collected:
    """What a collector has."""

    requests: list[ExportMetricsServiceRequest] = field(default_factory=list)

    def take(self, request: Request) -> tuple[int, dict[str, str], bytes]:
        if request.path != "/v1/metrics" or request.headers["content-type"] != "application/x-protobuf":
            return 404, {}, b""
        said = ExportMetricsServiceRequest()
        said.ParseFromString(request.body)
        self.requests.append(said)
        answer = ExportMetricsServiceResponse().SerializeToString()
        return 200, {"Content-Type": "application/x-protobuf"}, answer

    def points(self) -> list[tuple[str, str, object]]:
        found = []
        for request in self.requests:
            for resource in request.resource_metrics:
                names = {one.key: one.value.string_value for one in resource.resource.attributes}
                for scope in resource.scope_metrics:
                    for metric in scope.metrics:
                        for point in metric.gauge.data_points:
                            which = point.WhichOneof("value")
                            value = getattr(point, which) if which else None
                            found.append((names["edgetwin.device"], metric.name, value))
        return found


@asynccontextmanager
async def answering(taker: Bucket | Collected, port: int = 0) -> AsyncIterator[Moody]:
    async with moody_server(port) as moody:
        moody.answer = taker.take
        yield moody
