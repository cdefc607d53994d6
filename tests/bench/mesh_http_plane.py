"""An HTTP plane alone in a process, with all that a request can meet switched on: a child of mesh_http."""

from __future__ import annotations

import argparse
import asyncio
import time
from random import Random

from mesh.access_log import AccessLog
from mesh.model import (
    AppProtocol,
    Backend,
    BackendGroup,
    BoundRule,
    CircuitBreaker,
    Endpoint,
    Frontend,
    HttpMatch,
    KeyKind,
    KeyOf,
    MatchType,
    OutlierDetection,
    Plane,
    Policy,
    PortKey,
    ProgrammeDelta,
    RateLimit,
    Retry,
    RouteKey,
    RouteKind,
    Rule,
    ServiceKey,
    TokenBucket,
    ValueMatch,
)
from mesh.monitor import Monitor
from mesh.planes.http import HttpCarrier
from mesh.planes.http.metered import Metered
from mesh.planes.listeners import Listeners
from mesh.planes.userspace import Userspace
from mesh.upstream import Upstreams

_NEVER = TokenBucket(max_tokens=100_000_000, tokens_per_fill=100_000_000, fill_interval_ms=1_000)


def rules(shop: PortKey) -> tuple[BoundRule, ...]:
    """A few that do not match, and one that does."""
    other = (Backend(PortKey(ServiceKey("default", "other"), 80)),)
    limit = RateLimit(_NEVER, KeyOf(KeyKind.SOURCE))
    retry = Retry(attempts=2, codes=frozenset((502, 503)))
    matches = (
        HttpMatch("/admin", MatchType.EXACT),
        HttpMatch("/api/v2"),
        HttpMatch("/api", headers=(ValueMatch("x-version", "2"),)),
        HttpMatch("/api", method="DELETE"),
    )
    route = RouteKey(RouteKind.HTTP, "default", "shop")
    found = [BoundRule(Rule(other, (match,)), route, rate_limit=limit) for match in matches]
    rule = Rule((Backend(shop),), (HttpMatch("/api"),), request_ms=10_000, backend_request_ms=5_000, retry=retry)
    return (*found, BoundRule(rule, route, rate_limit=limit))


async def serve(port: int, endpoints: list[int]) -> None:
    shop = PortKey(ServiceKey("default", "shop"), 80)
    policy = Policy(outlier=OutlierDetection(), breaker=CircuitBreaker())
    group = BackendGroup(shop, tuple(Endpoint("127.0.0.1", one) for one in endpoints), policy)
    rng = Random(1)
    upstreams = Upstreams(rng)
    upstreams.apply((group,), ())
    metered = Metered(Monitor(upstreams, AccessLog(lambda line: None, time.time, rng)))
    carrier = HttpCarrier(upstreams, rng, time.monotonic, watcher=metered)
    carrier.open()
    plane = Userspace({AppProtocol.HTTP: carrier}, None, Listeners())  # type: ignore[arg-type]
    key = PortKey(ServiceKey("default", "front"), port)
    frontend = Frontend(key, ("127.0.0.1",), rules(shop), AppProtocol.HTTP, plane=Plane.USERSPACE)
    problems = await plane.program(ProgrammeDelta(frontends=(frontend,)))
    assert not problems, problems
    await asyncio.Event().wait()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--uvloop", action="store_true")
    parser.add_argument("endpoints", type=int, nargs="+")
    given = parser.parse_args()
    if given.uvloop:
        import uvloop

        uvloop.run(serve(given.port, given.endpoints))
    else:
        asyncio.run(serve(given.port, given.endpoints))


if __name__ == "__main__":
    main()
