"""Which part of a programme several processes may carry at once. Pure.

A bound is a promise to what stands behind it: so many requests a second, so many connections. Each process counts for
itself, so a port with a bound has its door in the first process alone, and the bound is exact. What is only a judgement
(a breaker, an ejection, the budget of retries) each process makes of its own tries.
"""

from __future__ import annotations

from types import MappingProxyType

from mesh.model.policies import Policy
from mesh.model.programme import Frontend, Programme


def shared(programme: Programme) -> Programme:
    """The programme without the ports that one process has to carry alone; backends are all there."""
    fronts = {key: one for key, one in programme.frontends.items() if not _is_bounded(one, programme)}
    if len(fronts) == len(programme.frontends):
        return programme
    return Programme(MappingProxyType(fronts), programme.backends)


def _is_bounded(frontend: Frontend, programme: Programme) -> bool:
    for bound in frontend.rules:
        if bound.rate_limit is not None:
            return True
        groups = (programme.backends.get(one.port) for one in bound.rule.backends)
        if any(_has_bounds(group.policy) for group in groups if group is not None):
            return True
    return False


def _has_bounds(policy: Policy) -> bool:
    return bool(policy.rate_limit is not None or policy.pool.max_connections or policy.pool.max_requests)
