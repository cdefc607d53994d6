"""Secrets that the cloud gives out: it keeps a hash of each, which is enough for 256 random bits."""

from __future__ import annotations

import hashlib
import secrets


def new_secret() -> str:
    """Draw one."""
    return secrets.token_urlsafe(32)


def hashed(secret: str) -> str:
    """What is kept of it."""
    return hashlib.sha256(secret.encode()).hexdigest()
