"""What an answer of an HTTP server means for a batch. Pure."""

from __future__ import annotations

from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final

from edgehub.push.target import DELIVERED, Later, Outcome, Refused

MENDABLE: Final = frozenset({401, 403, 404, 405, 407, 408, 421, 423, 425, 429})
"""Refusals of who asks, where or when, not of what is sent: somebody mends that, and nothing is set aside for it."""
SHOWN_CHARS: Final = 200


def outcome_of(status: int, retry_after: str, text: str, now: datetime | None = None) -> Outcome:
    """What becomes of the batch that was answered so."""
    if 200 <= status < 300:
        return DELIVERED
    said = " ".join(text[:SHOWN_CHARS].split())
    why = f"HTTP {status}{f': {said}' if said else ''}"
    if 400 <= status < 500 and status not in MENDABLE:
        return Refused(why)
    return Later(why, after_s=_after_s(retry_after, now or datetime.now(UTC)))


def _after_s(text: str, now: datetime) -> float:
    """Seconds of a Retry-After (RFC 9110, 10.2.3): a number of them, or a date; 0 for anything else."""
    if text.isascii() and text.isdecimal():
        return float(text[:9])
    try:
        return max(0.0, (parsedate_to_datetime(text) - now).total_seconds())
    except (ValueError, TypeError):
        return 0.0
