"""Outlier detection: when an endpoint is left out because of what it answers, and for how long (Envoy's rules).

Failures are counted apart by where they arise, as with Envoy's ``split_external_local_origin_errors``: what the
endpoint answers (5xx, of them 502 to 504 once more), and what never became an answer (no connection, time-out, reset).
"""

from __future__ import annotations

import math

from mesh.model.policies import OutlierDetection
from mesh.target import Outcome, Target, Trial

LOCAL = frozenset({Outcome.CONNECT_FAILED, Outcome.TIMEOUT, Outcome.RESET})
"""Outcomes in which the endpoint did not answer."""
ANSWERED_BADLY = frozenset({Outcome.SERVER_ERROR, Outcome.GATEWAY_ERROR})
FAILURES = LOCAL | ANSWERED_BADLY


def answered(target: Target) -> None:
    """It answered well: nothing is held against it any more."""
    target.server_errors = target.gateway_errors = target.local_failures = 0
    target.ejected_until_s = -math.inf
    target.trial = Trial.NONE
    target.marked = False


def counted(rule: OutlierDetection, target: Target, failure: Outcome) -> bool:
    """Count a failure; True if a rule says that the endpoint is to be ejected now."""
    target.marked = True
    if failure in LOCAL:
        target.local_failures += 1
    else:
        target.local_failures = 0
        target.server_errors += 1
        target.gateway_errors = target.gateway_errors + 1 if failure is Outcome.GATEWAY_ERROR else 0
    return (
        target.trial is not Trial.NONE
        or 0 < rule.consecutive_local_failures <= target.local_failures
        or 0 < rule.consecutive_5xx <= target.server_errors
        or 0 < rule.consecutive_gateway_errors <= target.gateway_errors
    )


def room(rule: OutlierDetection, ejected: int, of: int) -> bool:
    """Whether one more of so many may be ejected (maxEjectionPercent)."""
    return (ejected + 1) * 100 <= rule.max_ejection_percent * of


def eject(rule: OutlierDetection, target: Target, now_s: float) -> None:
    """Leave it out: base time by how often it happened. Each interval without takes one off that number."""
    quiet = (now_s - target.returned_s) / (rule.interval_ms / 1000) if rule.interval_ms else math.inf
    if target.trial is Trial.NONE:
        target.ejections -= int(min(quiet, target.ejections))
    target.ejections += 1
    target.ejected_until_s = now_s + min(rule.base_ejection_ms * target.ejections, rule.max_ejection_ms) / 1000
    target.server_errors = target.gateway_errors = target.local_failures = 0
    target.trial = Trial.NONE


def taken_back(target: Target, now_s: float) -> None:
    """Its time is over: one request at a time is risked, until it answers or fails."""
    target.ejected_until_s = -math.inf
    target.returned_s = now_s
    target.trial = Trial.WAITING


def too_few(rule: OutlierDetection | None, clean: int, of: int) -> bool:
    """Whether so few are in that all are used again (panic): none, or under minHealthPercent."""
    return clean == 0 or (rule is not None and clean * 100 < rule.min_health_percent * of)
