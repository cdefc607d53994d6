"""The cloud's state folder: where each thing lies, and the CA in it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cloudsync.identity.ca import Authority
from cloudsync.identity.errors import NotInitialised
from twin.errors import EdgetwinError
from twin.private_file import write_private

GATEWAYS: Final = "gateways"
USERS: Final = "users"
INIT_REMEDY: Final = "Run `edgetwin cloud init` first, or name the folder of a cloud in EDGETWIN_CLOUD_STATE."


@dataclass(frozen=True, slots=True)
class CloudFolder:
    """Where each thing lies. Folders are 0700, files 0600."""

    path: Path

    @property
    def ca(self) -> Path:
        """Keys and certificates of the two authorities."""
        return self.path / "ca"

    @property
    def database(self) -> Path:
        """The store, if it is SQLite."""
        return self.path / "cloud.db"

    @property
    def admin(self) -> Path:
        """The first admin's credentials."""
        return self.path / "admin.json"

    @property
    def secrets_key(self) -> Path:
        """The key that Secrets in the store are encrypted with; workers of other machines need the same."""
        return self.path / "secrets.key"

    @property
    def bundles(self) -> Path:
        """Bundles of releases that the web server has for gateways, by their hash."""
        return self.path / "bundles"

    @property
    def web_sessions(self) -> Path:
        """Who is logged in to the dashboard."""
        return self.path / "web-sessions.json"

    @property
    def run(self) -> Path:
        """What is true only while the cloud runs."""
        return self.path / "run"

    @property
    def health(self) -> Path:
        """How the cloud is."""
        return self.run / "health.json"

    @property
    def kube_trouble(self) -> Path:
        """What keeps the cloud from agreeing with a Kubernetes cluster, in words; empty if nothing does."""
        return self.run / "kube-trouble.txt"

    @property
    def export(self) -> Path:
        """What a broker of somebody else's needs to know: CA, revoked certificates, access rules."""
        return self.path / "export"

    @property
    def lock(self) -> Path:
        """Held by the one that runs."""
        return self.path / "lock"

    def make(self) -> None:
        """Make the folders, for us alone. Raises EdgetwinError with the remedy if that is not possible."""
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            for folder in (self.ca, self.run):
                folder.mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            message = f"state folder {self.path} cannot be made: {error.strerror}"
            raise EdgetwinError(
                message, remedy="Name a folder that you may write to in EDGETWIN_CLOUD_STATE."
            ) from None

    def certificate(self, name: str) -> Path:
        """Where the certificate of an authority, or of a server, lies."""
        return self.ca / f"{name}.pem"

    def key(self, name: str) -> Path:
        """Where its key lies."""
        return self.ca / f"{name}.key"

    def has_authority(self) -> bool:
        """Whether the CA is here, and not only its certificates."""
        return any(self.key(name).exists() for name in (GATEWAYS, USERS))

    def keep_authority(self, name: str, authority: Authority) -> None:
        """Write an authority; its key first, so that a certificate is never without one."""
        write_private(self.key(name), authority.key)
        write_private(self.certificate(name), authority.certificate)

    def authority(self, name: str) -> Authority:
        """Read an authority. Raises NotInitialised."""
        try:
            return Authority(
                self.certificate(name).read_text(encoding="ascii"), self.key(name).read_text(encoding="ascii")
            )
        except OSError as error:
            message = f"the cloud of {self.path} has no CA: {error.filename}: {error.strerror}"
            raise NotInitialised(message, remedy=INIT_REMEDY) from None


def state_folder(environment: Mapping[str, str]) -> Path:
    """``$EDGETWIN_CLOUD_STATE``, else /var/lib/edgetwin-cloud as root, else the user's own."""
    if named := environment.get("EDGETWIN_CLOUD_STATE"):
        return Path(named).absolute()
    if os.geteuid() == 0:
        return Path("/var/lib/edgetwin-cloud")
    base = environment.get("XDG_STATE_HOME") or str(Path.home() / ".local" / "state")
    return Path(base) / "edgetwin-cloud"


def list_file(authority: str) -> str:
    """What the list of an authority's revoked certificates is called, in files and in the store."""
    return f"{authority}.crl"
