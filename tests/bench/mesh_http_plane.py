"""An HTTP plane alone in a process, with all that a request can meet switched on: a child of mesh_http."""

from __future__ import annotations

import argparse
import asyncio
import gc
import socket
import sys
import time
from random import Random

from mesh.access_log import AccessLog
from mesh.model.policies import CircuitBreaker, KeyKind, KeyOf, OutlierDetection, Policy, RateLimit, TokenBucket
from mesh.model.programme import BackendGroup, BoundRule, Frontend, ProgrammeDelta
from mesh.model.routes import Backend, HttpMatch, MatchType, Retry, RouteKey, RouteKind, Rule, ValueMatch
from mesh.model.services import AppProtocol, Endpoint, Plane, PortKey, ServiceKey
from mesh.monitor import Monitor
from mesh.planes.http import HttpCarrier
from mesh.planes.http.metered import HttpMetered
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


async def serve(address: str, port: int, endpoints: list[str]) -> None:
    """Carry requests until the process is ended."""
    shop = PortKey(ServiceKey("bench", "shop"), 80)
    policy = Policy(outlier=OutlierDetection(), breaker=CircuitBreaker())
    places = [place.rsplit(":", 1) for place in endpoints]
    group = BackendGroup(shop, tuple(Endpoint(host, int(at)) for host, at in places), policy)
    rng = Random(1)
    upstreams = Upstreams(rng)
    upstreams.apply((group,), ())
    log = AccessLog(lambda line: None, time.time, rng)
    carrier = HttpCarrier(upstreams, rng, time.monotonic, watcher=HttpMetered(Monitor(upstreams, log)))
    carrier.open()
    plane = Userspace({AppProtocol.HTTP: carrier}, NoDatagrams(), Listeners())
    key = PortKey(ServiceKey("bench", "front"), port)
    frontend = Frontend(key, (address,), rules(shop), AppProtocol.HTTP, plane=Plane.USERSPACE)
    problems = await plane.program(ProgrammeDelta(frontends=(frontend,)))
    if problems:
        sys.exit(str(problems))
    gc.freeze()
    await asyncio.Event().wait()


class NoDatagrams:
    """There are none here."""

    def opened(self, sock: socket.socket, frontend: Frontend) -> None:
        raise AssertionError

    def closed(self, sock: socket.socket) -> None:
        raise AssertionError


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--plain", action="store_true", help="the standard event loop")
    parser.add_argument("place", help="ADDRESS:PORT")
    parser.add_argument("endpoints", nargs="+", help="ADDRESS:PORT")
    given = parser.parse_args()
    address, port = given.place.rsplit(":", 1)
    serving = serve(address, int(port), given.endpoints)
    if given.plain:
        asyncio.run(serving)
    else:
        import uvloop

        uvloop.run(serving)


if __name__ == "__main__":
    main()
