"""Passwords of people, kept as one line that scrypt has made: ``$scrypt$log2(n)$r$p$salt$hash``."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import secrets
from typing import Final

LEAST_CHARS: Final = 10
MOST_CHARS: Final = 1024

_LOG_N: Final = 14
_R: Final = 8
_P: Final = 1
_SALT_BYTES: Final = 16
_KEY_BYTES: Final = 32
_MOST_MEMORY_BYTES: Final = 64 * 1024 * 1024
_ALPHABET: Final = "abcdefghjkmnpqrstuvwxyz23456789"  # no letter that is taken for another
_GROUPS: Final = 4
_GROUP_CHARS: Final = 5


def drawn() -> str:
    """A password of 99 random bits that can be read aloud."""
    return "-".join("".join(secrets.choice(_ALPHABET) for _ in range(_GROUP_CHARS)) for _ in range(_GROUPS))


def hashed(password: str, salt: bytes | None = None) -> str:
    """What is kept of a password. Takes 50 ms and 16 MB, which is what makes guessing dear."""
    salt = secrets.token_bytes(_SALT_BYTES) if salt is None else salt
    key = _stretched(password, salt, _LOG_N, _R, _P)
    return f"$scrypt${_LOG_N}${_R}${_P}${_text(salt)}${_text(key)}"


def is_password(kept: str, password: str) -> bool:
    """Whether this is the password that was hashed; never for a line that is none of ours."""
    if len(password) > MOST_CHARS:
        return False
    try:
        _, scheme, log_n, r, p, salt, key = kept.split("$")
        if scheme != "scrypt":
            return False
        found = _stretched(password, base64.b64decode(salt, validate=True), int(log_n), int(r), int(p))
        return hmac.compare_digest(found, base64.b64decode(key, validate=True))
    except (ValueError, binascii.Error, MemoryError, OverflowError):
        return False


def _stretched(password: str, salt: bytes, log_n: int, r: int, p: int) -> bytes:
    return hashlib.scrypt(
        password.encode(), salt=salt, n=2**log_n, r=r, p=p, maxmem=_MOST_MEMORY_BYTES, dklen=_KEY_BYTES
    )


def _text(raw: bytes) -> str:
    return base64.b64encode(raw).decode()
