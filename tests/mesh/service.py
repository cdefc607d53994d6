"""A service of the flow-control tests, and a driver that sends requests through its upstream."""

from __future__ import annotations

from random import Random

from mesh.model.policies import LoadBalancer, Policy
from mesh.model.programme import BackendGroup
from mesh.model.services import Endpoint, PortKey, ServiceKey
from mesh.upstream import Here, Outcome, Upstream

NOWHERE = Here()
WEB = PortKey(ServiceKey("plant", "web"), 80)


def endpoint(number: int, **more) -> Endpoint:
    return Endpoint(f"10.0.{number // 250}.{number % 250 + 1}", 8080, **more)


def endpoints(count: int, **more) -> tuple[Endpoint, ...]:
    return tuple(endpoint(number, **more) for number in range(count))


def upstream(count: int | tuple[Endpoint, ...] = 2, here: Here = NOWHERE, seed: int = 1, **policy) -> Upstream:
    listed = endpoints(count) if isinstance(count, int) else count
    return Upstream(BackendGroup(WEB, listed, Policy(**policy)), Random(seed), here)


def balanced(balance, **more) -> LoadBalancer:
    return LoadBalancer(balance, **more)


def ask(up: Upstream, now_s: float, outcome: Outcome = Outcome.OK, **more):
    """One request that begins and ends at once; the place it went to."""
    target = up.pick(now_s, **more)
    up.began(target, now_s)
    up.ended(target, outcome, now_s, 0.0)
    return target.endpoint.place


def fail(up: Upstream, place: str, now_s: float, outcome: Outcome, times: int = 1) -> None:
    """Requests to one endpoint that fail."""
    for _ in range(times):
        up.began(up.targets[place], now_s)
        up.ended(up.targets[place], outcome, now_s, 0.0)


def places(up: Upstream, now_s: float) -> set[str]:
    return {target.endpoint.place for target in up.in_use(now_s)}
