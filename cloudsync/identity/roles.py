"""What a user may ask the cloud for. Pure."""

from __future__ import annotations

from enum import StrEnum
from typing import Final


class Role(StrEnum):
    """What a user is for; each may all that the one before may."""

    VIEWER = "viewer"
    OPERATOR = "operator"
    ADMIN = "admin"


_READS: Final = ("explain", "get", "history", "query", "renew", "status", "watch", "workloads")
_WRITES: Final = ("set", "set-where")
_RULES: Final = ("apply", "audit")

VERBS: Final = {
    Role.VIEWER: _READS,
    Role.OPERATOR: (*_READS, *_WRITES),
    Role.ADMIN: (*_READS, *_WRITES, *_RULES),
}
"""The verbs of the API that a role may use."""


def may(role: Role, verb: str) -> bool:
    """Whether a role may use a verb."""
    return verb in VERBS[role]
