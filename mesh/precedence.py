"""Which rule comes first: Gateway API's order over the rules of all routes of one port. Pure.

    host name: exact, longer wildcard, none
    path:      exact, longer prefix, regular expression, everything
    then:      method, more headers, more query parameters, older route, its name, rule, match

A prefix "/" matches everything; it comes after regular expressions, which it would hide otherwise.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Final, TypeAlias

from mesh.model.policies import Policy
from mesh.model.programme import BoundRule
from mesh.model.routes import HttpMatch, MatchType, Route, RouteKind, Rule

_ALL: Final = HttpMatch()
_Place: TypeAlias = tuple[tuple[int, int], tuple[int, int], bool, int, int, int, str, str, RouteKind, int, int]


def ordered(routes: Iterable[tuple[Route, Policy | None]]) -> tuple[BoundRule, ...]:
    """The rules of all routes of a port, with the policy of each route, in the order in which they are tried."""
    found = [one for route, policy in routes for one in _spread(route, policy)]
    found.sort(key=lambda one: one[0])
    return tuple(_joined(bound for _, bound in found))


def age(route: Route) -> tuple[int, str, str, RouteKind]:
    """Of two routes that match alike the lesser counts."""
    return route.created_ms, route.key.namespace, route.key.name, route.key.kind


def _spread(route: Route, policy: Policy | None) -> Iterator[tuple[_Place, BoundRule]]:
    """One for each host name and match."""
    limit, degrade = (policy.rate_limit, policy.degrade) if policy else (None, ())
    for number, rule in enumerate(route.rules):
        matches = (rule.matches or (_ALL,)) if route.key.kind is RouteKind.HTTP else (_ALL,)
        for position, match in enumerate(matches):
            alone = rule if len(matches) == 1 else replace(rule, matches=(match,))
            for host in route.hostnames or ("",):
                place = (_host(host), *_match(match), *age(route), number, position)
                yield place, BoundRule(alone, route.key, (host,) if host else (), limit, degrade)


def _host(host: str) -> tuple[int, int]:
    if not host:
        return 2, 0
    return (1, -len(host)) if host.startswith("*.") else (0, -len(host))


def _match(match: HttpMatch) -> tuple[tuple[int, int], bool, int, int]:
    return _path(match), not match.method, -len(match.headers), -len(match.query)


def _path(match: HttpMatch) -> tuple[int, int]:
    length = -len(match.path.rstrip("/"))
    if match.path_type is MatchType.EXACT:
        return 0, 0
    if match.path_type is MatchType.REGEX:
        return 2, 0
    return (1, length) if length else (3, 0)


def _joined(rules: Iterable[BoundRule]) -> Iterator[BoundRule]:
    """Neighbours that do the same are one rule again."""
    last: BoundRule | None = None
    for rule in rules:
        one = _one_of(last, rule) if last else None
        if last and not one:
            yield last
        last = one or rule
    if last:
        yield last


def _one_of(first: BoundRule, second: BoundRule) -> BoundRule | None:
    if first.route != second.route or _bare(first.rule) != _bare(second.rule):
        return None
    if first.rule.matches == second.rule.matches:
        return replace(first, hostnames=first.hostnames + second.hostnames)
    if first.hostnames == second.hostnames and first.rule.matches and second.rule.matches:
        return replace(first, rule=replace(first.rule, matches=first.rule.matches + second.rule.matches))
    return None


def _bare(rule: Rule) -> Rule:
    return replace(rule, matches=())
