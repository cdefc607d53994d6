"""Who is logged in: a session for each browser. Only hashes of what a browser shows are kept, in a file if any."""

from __future__ import annotations

import hashlib
import hmac
import logging
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Final

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from twin.private_file import write_private

log = logging.getLogger(__name__)

LIFE_MS: Final = 7 * 24 * 3600 * 1000
"""From the login to the end of a session."""
MAX_SESSIONS: Final = 200
"""Sessions at once; the oldest goes first."""


class Session(BaseModel):
    """One browser that is logged in."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    holder: str = Field(repr=False)
    ends_at: int


class _File(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    sessions: dict[str, Session] = Field(default_factory=dict)


class Sessions:
    """All sessions of a page. Losing the file only means to log in again."""

    def __init__(self, now_ms: Callable[[], int], file: Path | None = None) -> None:
        self._now_ms = now_ms
        self._file = file
        self._sessions = dict(_read(file).sessions) if file is not None else {}

    def begin(self, holder: str) -> str:
        """Log a holder in; returns the token that its browser shows from now on."""
        token = secrets.token_urlsafe(32)
        now_ms = self._now_ms()
        self._sessions = {key: one for key, one in self._sessions.items() if one.ends_at > now_ms}
        while len(self._sessions) >= MAX_SESSIONS:
            del self._sessions[next(iter(self._sessions))]
        self._sessions[_key(token)] = Session(holder=holder, ends_at=now_ms + LIFE_MS)
        self._write()
        return token

    def holder(self, token: str) -> str | None:
        """Whose session a token shows; None if there is none, or none any more."""
        session = self._sessions.get(_key(token)) if token else None
        return session.holder if session is not None and session.ends_at > self._now_ms() else None

    def end(self, token: str) -> None:
        """Log out."""
        if self._sessions.pop(_key(token), None) is not None:
            self._write()

    def _write(self) -> None:
        if self._file is None:
            return
        try:
            write_private(self._file, _File(sessions=self._sessions).model_dump_json())
        except OSError as error:
            log.warning("logins are forgotten at the next start: %s cannot be written: %s", self._file, error.strerror)


def csrf(token: str) -> str:
    """What a page shows besides its cookie whenever it changes something; made of the token, which no script sees."""
    return hmac.new(token.encode(), b"edgetwin page csrf", hashlib.sha256).hexdigest()


def is_csrf(token: str, shown: str) -> bool:
    """Whether a request shows what the page was given."""
    return hmac.compare_digest(csrf(token).encode(), shown.encode())


def _key(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def _read(file: Path) -> _File:
    try:
        return _File.model_validate_json(file.read_bytes())
    except (OSError, ValidationError):
        return _File()
