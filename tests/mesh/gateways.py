"""Gateways with certificates of a CA of the test's own, made as the cloud makes them."""

import time
from dataclasses import dataclass
from pathlib import Path

from cloudsync.identity.ca import Authority
from mesh.tunnel.identity import IdentityFiles
from twin.certificates import new_key, request

DAY_MS = 24 * 3600 * 1000


@dataclass
class TestCa:
    """An authority and a folder for what it signs."""

    __test__ = False

    folder: Path
    authority: Authority

    @classmethod
    def make(cls, folder: Path) -> "TestCa":
        folder.mkdir(parents=True, exist_ok=True)
        made = cls(folder, Authority.create("edgetwin gateways", now_ms()))
        (folder / "ca.pem").write_text(made.authority.certificate)
        return made

    def gateway(self, name: str, *, days: int = 30, since_ms: int | None = None) -> IdentityFiles:
        """The files of a gateway of this name."""
        key = new_key()
        since_ms = now_ms() if since_ms is None else since_ms
        certificate, _ = self.authority.issue(request(key, name), name, now=since_ms, days=days)
        return self._files(name, certificate, key)

    def server(self, name: str = "localhost") -> IdentityFiles:
        """The files of a server of the cloud."""
        certificate, key = self.authority.issue_server((name, "127.0.0.1"), now=now_ms(), days=30)
        return self._files(f"server-{name}", certificate, key)

    def _files(self, name: str, certificate: str, key: str) -> IdentityFiles:
        paths = self.folder / f"{name}.pem", self.folder / f"{name}.key"
        paths[0].write_text(certificate)
        paths[1].write_text(key)
        return IdentityFiles(self.folder / "ca.pem", *paths, self.folder / "revoked.crl")

    def revoke(self, files: IdentityFiles) -> None:
        """Put a certificate on the list of this folder."""
        from cloudsync.identity.ca import serial_of
        from cloudsync.identity.model import Issued

        issued = Issued(serial_of(files.certificate.read_text()), "", 0, now_ms() + DAY_MS, now_ms())
        (self.folder / "revoked.crl").write_text(self.authority.revocations([issued], now=now_ms(), number=1))


def now_ms() -> int:
    return int(time.time() * 1000)
