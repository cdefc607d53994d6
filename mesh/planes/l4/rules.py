"""Which rule is for a connection. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from mesh.model.programme import BoundRule


def rule_for(rules: Sequence[BoundRule], server_name: str | None) -> BoundRule | None:
    """The rule whose host name fits best: exact, then the longest wildcard, then one for all names; ties: the first.

    ``server_name`` None: names do not count. Empty: the client named none, and only a rule for all fits.
    """
    if server_name is None:
        return rules[0] if rules else None
    best: BoundRule | None = None
    best_fit = -1
    for rule in rules:
        fit = max((host_fit(name, server_name) for name in rule.hostnames), default=0)
        if fit > best_fit:
            best, best_fit = rule, fit
    return best


def host_fit(hostname: str, asked: str) -> int:
    """How well a route's host name fits: -1 not at all; a wildcard takes one label or more, not none."""
    hostname = hostname.lower()
    if hostname == asked:
        return 1 + 2 * len(hostname)
    if hostname.startswith("*.") and asked.endswith(hostname[1:]) and len(asked) > len(hostname) - 1:
        return 2 * len(hostname)
    return -1
