"""The gateway's identity in the cloud: its key, its certificate, the CA, and where the cloud is. In ``keys/``, 0600."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pydantic import BaseModel, ConfigDict, ValidationError

from twin.errors import EdgetwinError, InvalidMessage
from twin.link.options import TlsOptions
from twin.private_file import write_private
from twin.wire.enrolment import Enrolled, JoinToken, server_name

JOIN_REMEDY: Final = "Ask for a token (`edgetwin cloud token create`) and run `edgetwin join TOKEN`."


class NotJoined(EdgetwinError):
    """The gateway belongs to no cloud, or its keys cannot be used."""

    code = "not_joined"


class CloudConnection(BaseModel):
    """Where the cloud is; written by `edgetwin join`."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    gateway: str
    host: str
    port: int
    enrol_url: str
    ca_fingerprint: str
    """Of the CA that the token named."""


@dataclass(frozen=True, slots=True)
class CloudKeys:
    """The folder. A key and its certificate have one number, and ``cloud.json`` says which is in force: so a crash
    while a new one is written leaves a pair that fits.
    """

    folder: Path

    @property
    def ca(self) -> Path:
        """The CA of the cloud's servers."""
        return self.folder / "cloud-ca.pem"

    @property
    def place(self) -> Path:
        """Where the cloud is."""
        return self.folder / "cloud.json"

    @property
    def next_key(self) -> Path:
        """The key that a certificate is being asked for; asked again with it if the answer was lost."""
        return self.folder / "next.key"

    @property
    def revoked(self) -> Path:
        """The cloud's list of revoked gateways, for lines between gateways; not there before it was heard of."""
        return self.folder / "revoked.pem"

    def connection(self) -> CloudConnection | None:
        """Where the cloud is; None: the gateway has joined none. Raises NotJoined for a file that cannot be used."""
        try:
            return CloudConnection.model_validate_json(self.place.read_bytes())
        except FileNotFoundError:
            return None
        except (OSError, ValidationError):
            message = f"{self.place} cannot be used as the place of a cloud"
            raise NotJoined(message, remedy=JOIN_REMEDY) from None

    def joined(self) -> CloudConnection:
        """The same of a gateway that has joined. Raises NotJoined."""
        found = self.connection()
        if found is None:
            message = "this gateway has joined no cloud"
            raise NotJoined(message, remedy=JOIN_REMEDY)
        return found

    @property
    def pair(self) -> Path:
        """Key and certificate in force."""
        return self.folder / "gateway.pem"

    def tls(self) -> TlsOptions:
        """What a link needs; it reads the files at each connect, so finds a renewed certificate. Raises NotJoined."""
        place = self.joined()
        return TlsOptions(self.ca, self.pair, self.pair, server_name(place.gateway, place.host))

    def changed(self) -> int:
        """Another number after each renewal; 0: there is nothing."""
        try:
            return self.pair.stat().st_mtime_ns
        except OSError:
            return 0

    def ends_at(self) -> int:
        """When the certificate ends, milliseconds since 1970. Raises NotJoined."""
        try:
            from twin.certificates import life  # memory that only a gateway with a cloud should pay

            return life(self.pair.read_text(encoding="ascii")).ends_at
        except (OSError, InvalidMessage):
            message = f"the certificate in {self.pair} cannot be read"
            raise NotJoined(message, remedy=JOIN_REMEDY) from None

    def keep_joined(self, token: JoinToken, enrolled: Enrolled, key: str) -> None:
        """Write all that a first certificate needs. Raises OSError."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        place = CloudConnection(
            gateway=enrolled.gateway, host=token.host, port=token.port, enrol_url=token.url, ca_fingerprint=token.ca
        )
        self.revoked.unlink(missing_ok=True)  # it may be another cloud's
        write_private(self.ca, enrolled.ca)
        self.keep_renewed(enrolled, key)
        write_private(self.place, place.model_dump_json(indent=2))  # last: with it the gateway has joined

    def keep_renewed(self, enrolled: Enrolled, key: str) -> None:
        """Write a new certificate with its key. Raises OSError; then the old pair stands."""
        write_private(self.pair, key + enrolled.certificate)
        self.next_key.unlink(missing_ok=True)
