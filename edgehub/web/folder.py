"""What the dashboard keeps: its one login, the password that nobody has used yet, sessions, a certificate. All 0600."""

from __future__ import annotations

import hashlib
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from twin.errors import EdgetwinError
from twin.page.passwords import LEAST_CHARS, MOST_CHARS, drawn, hashed
from twin.private_file import write_private

USER: Final = "admin"


class WeakPassword(EdgetwinError):
    """A password that is too easily guessed."""

    code = "weak_password"


@dataclass(frozen=True, slots=True)
class WebFolder:
    """Where each thing lies."""

    path: Path

    @property
    def login(self) -> Path:
        """The hash of the password."""
        return self.path / "login"

    @property
    def first_password(self) -> Path:
        """The password that was drawn, until somebody has logged in with it."""
        return self.path / "first-password"

    @property
    def sessions(self) -> Path:
        """Who is logged in."""
        return self.path / "sessions.json"

    @property
    def certificate(self) -> Path:
        """Key and certificate that were made here."""
        return self.path / "server.pem"

    def keep_login(self) -> None:
        """See that there is a login; draw a password if there is none. Raises OSError."""
        self.path.mkdir(mode=0o700, exist_ok=True)
        if not self.kept():
            self.draw()

    def draw(self) -> str:
        """Draw another password, which is good at once; who was logged in is no more. Raises OSError."""
        self.path.mkdir(mode=0o700, exist_ok=True)
        password = drawn()
        write_private(self.first_password, password + "\n")
        self._keep(password)
        return password

    def set(self, password: str) -> None:
        """Take a password of the user's own. Raises WeakPassword, OSError."""
        if not LEAST_CHARS <= len(password) <= MOST_CHARS:
            message = f"a password has {LEAST_CHARS} to {MOST_CHARS} characters; this one has {len(password)}"
            raise WeakPassword(message, remedy="Take a longer one, or have one drawn: `edgetwin web password`.")
        self.path.mkdir(mode=0o700, exist_ok=True)
        self._keep(password)
        self.first_password.unlink(missing_ok=True)

    def kept(self) -> str:
        """The hash of the password; empty if there is none that can be read."""
        try:
            return self.login.read_text(encoding="ascii").strip()
        except (OSError, ValueError):
            return ""

    def unused_password(self) -> str:
        """The password that was drawn, if nobody has logged in with it yet."""
        try:
            return self.first_password.read_text(encoding="ascii").strip()
        except (OSError, ValueError):
            return ""

    def _keep(self, password: str) -> None:
        write_private(self.login, hashed(password) + "\n")


def fingerprint(certificate: Path) -> str:
    """SHA-256 of the first certificate of a PEM file, as browsers show it. Raises OSError, ValueError."""
    text = certificate.read_text(encoding="ascii")
    begin, end = "-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----"
    pem = begin + text.partition(begin)[2].partition(end)[0] + end
    digest = hashlib.sha256(ssl.PEM_cert_to_DER_cert(pem)).hexdigest().upper()
    return ":".join(digest[at : at + 2] for at in range(0, len(digest), 2))
