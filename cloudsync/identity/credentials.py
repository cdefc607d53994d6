"""What a user needs to come to the cloud: one file, for the command line, the client and any MQTT app."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from cloudsync.identity.roles import Role
from twin.errors import EdgetwinError
from twin.private_file import write_private


@dataclass(frozen=True, slots=True)
class Servers:
    """Where the cloud is reached from outside."""

    url: str
    gateways_host: str
    gateways_port: int
    apps_host: str
    apps_port: int


class InvalidCredentials(EdgetwinError):
    """A credentials file that cannot be used."""

    code = "invalid_credentials"


class Credentials(BaseModel):
    """The file. Certificate and key are for MQTT, the API token for HTTPS."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    account: str
    role: Role
    host: str
    port: int
    url: str
    ca: str
    certificate: str
    key: str = Field(repr=False)
    api_token: str = Field(repr=False)

    def text(self) -> str:
        """JSON for people, too."""
        return self.model_dump_json(indent=2) + "\n"

    def write(self, path: Path) -> None:
        """Write it, for us alone. Raises InvalidCredentials."""
        try:
            write_private(path, self.text())
        except OSError as error:
            message = f"{path} cannot be written: {error.strerror}"
            raise InvalidCredentials(message, remedy="Name another place with --out.") from None

    def write_pem(self, folder: Path) -> None:
        """Write ca.pem, cert.pem and key.pem for other MQTT clients, for us alone. Raises InvalidCredentials."""
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            for name, text in (("ca", self.ca), ("cert", self.certificate), ("key", self.key)):
                write_private(folder / f"{name}.pem", text)
        except OSError as error:
            message = f"{folder} cannot be written: {error.strerror}"
            raise InvalidCredentials(message, remedy="Name another folder with --pem.") from None

    @classmethod
    def read(cls, path: Path) -> Credentials:
        """Read the file. Raises InvalidCredentials; nothing of it is in the text."""
        try:
            return cls.model_validate_json(path.read_bytes())
        except OSError as error:
            message = f"credentials {path}: {error.strerror}"
        except ValidationError as error:
            where = ", ".join(".".join(map(str, one["loc"])) for one in error.errors(include_input=False))
            message = f"credentials {path}: not usable{': ' + where if where else ''}"
        remedy = "An admin makes the file: `edgetwin cloud user add NAME --role viewer --out FILE`."
        raise InvalidCredentials(message, remedy=remedy)
