"""Accounts, certificates and join tokens as they are kept. Times are milliseconds since 1970."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from cloudsync.identity.roles import Role


class AccountKind(StrEnum):
    """What an account is; the two share one table of names."""

    GATEWAY = "gateway"
    USER = "user"


@dataclass(frozen=True, slots=True)
class Account:
    """A gateway or a user."""

    name: str
    kind: AccountKind
    role: Role | None
    """Of a user."""
    created_at: int
    revoked_at: int = 0
    """0: it is not."""

    @property
    def active(self) -> bool:
        """Whether it may come."""
        return not self.revoked_at


@dataclass(frozen=True, slots=True)
class Issued:
    """A certificate that was given out."""

    serial: str
    """In hexadecimal."""
    account: str
    begins_at: int
    ends_at: int
    revoked_at: int = 0


@dataclass(frozen=True, slots=True)
class Token:
    """A join token, without its secret."""

    id: str
    gateway: str
    """Whom it is for; empty: anyone."""
    created_by: str
    created_at: int
    expires_at: int
    used_at: int = 0
    used_by: str = ""
    revoked_at: int = 0

    def state(self, now: int) -> str:
        """One word."""
        if self.used_at:
            return "used"
        if self.revoked_at:
            return "revoked"
        return "open" if now < self.expires_at else "expired"
