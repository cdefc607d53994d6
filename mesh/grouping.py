"""From what is known of a service to what may be asked of it: which endpoints count, what the kernel can do. Pure."""

from __future__ import annotations

from dataclasses import replace

from mesh.model.policies import Balance, KeyKind, Policy, RateLimit
from mesh.model.programme import BackendGroup, BoundRule
from mesh.model.services import AppProtocol, Endpoint, PortKey, Service, ServicePort


def port_key(service: Service, port: ServicePort) -> PortKey:
    """The name of a port of a service."""
    return PortKey(service.key, port.port, port.transport)


def group_of(service: Service, port: ServicePort, policy: Policy, node: str, left_out: frozenset[str]) -> BackendGroup:
    """The endpoints behind a port of a service, ``ready`` where they may be used; ``left_out`` are places.

    An endpoint that is about to end serves on only while no other does. A place that is named twice counts once, as
    it is named first.
    """
    found: dict[str, Endpoint] = {}
    for endpoint in port.endpoints:
        place = endpoint.place
        if place not in found and place not in left_out and not (service.local_only and endpoint.node != node):
            found[place] = endpoint
    live = {place for place, one in found.items() if _live(one, service.publish_not_ready)}
    if not live:
        live = {place for place, one in found.items() if one.terminating and one.serving}
    endpoints = tuple(
        one if one.ready is (place in live) else replace(one, ready=place in live) for place, one in found.items()
    )
    return BackendGroup(port_key(service, port), endpoints, policy)


def _live(endpoint: Endpoint, publish_not_ready: bool) -> bool:
    return publish_not_ready or (endpoint.ready and not endpoint.terminating)


def beyond_kernel(app: AppProtocol, rules: tuple[BoundRule, ...]) -> str:
    """Why packets alone do not tell what has to be done; empty: they do."""
    if app is not AppProtocol.RAW:
        return f"{app} is read"
    if len(rules) > 1:
        return "it has more than one rule"
    for rule in rules:
        if rule.degrade:
            return "its route has a degradation"
        if rule.rate_limit and _by_bytes(rule.rate_limit):
            return f"its route has a rate limit by {rule.rate_limit.per.kind}"
    return ""


def service_beyond_kernel(service: Service, policy: Policy) -> str:
    """The same of a service that stands behind it."""
    balancer, limit = policy.balancer, policy.rate_limit
    endpoints = [one for port in service.ports for one in port.endpoints]
    addresses = {service.address, *(one.address for one in endpoints)} - {""}
    loopback = next((one for one in sorted(addresses) if one.startswith("127.") or one == "::1"), "")
    by_bytes = balancer.balance is Balance.CONSISTENT_HASH and balancer.hash_key.kind is not KeyKind.SOURCE
    tunnelled = not service.local_only and any(one.via for one in endpoints)
    checks = (
        (bool(policy.degrade), "its policy has a degradation"),
        (policy.breaker is not None, "its policy has a circuit breaker"),
        (bool(balancer.warmup_ms), "its policy has a warm-up"),
        (balancer.balance is Balance.LEAST_REQUEST, "LEAST_REQUEST goes by what is open"),
        (by_bytes, f"the hash goes by {balancer.hash_key.kind}"),
        (limit is not None and _by_bytes(limit), f"the rate limit goes by {limit.per.kind if limit else ''}"),
        (tunnelled, "an endpoint is reached through a tunnel"),
        (bool(loopback), f"only this machine itself reaches {loopback}"),
        (len({":" in one for one in addresses}) > 1, "it does not translate between IPv4 and IPv6"),
    )
    return next((why for true, why in checks if true), "")


def _by_bytes(limit: RateLimit) -> bool:
    return limit.per.kind not in (KeyKind.ALL, KeyKind.SOURCE)
