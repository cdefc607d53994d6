"""The provisioning file: who a gateway is, its network, its time, its cloud, its devices. YAML, checked as a whole."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from ipaddress import ip_address, ip_interface
from pathlib import Path
from typing import Annotated, Final, Literal, Self

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    JsonValue,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic.alias_generators import to_camel

from hardware.errors import InvalidProvisioning
from twin.errors import EdgetwinError
from twin.model import NAME, NAME_RULE
from twin.wire.enrolment import JoinToken

FILE_NAME: Final = "edgetwin-provision.yaml"
"""How it is called on the boot partition."""
VERSIONS: Final = (1,)
"""Which versions of it this release takes; an image's manifest says so too."""
MAX_BYTES: Final = 1 << 20
USED: Final = "used"
"""In place of a secret that has done its work."""
_REMEDY: Final = "docs/hardware.md has every key of a provisioning file."


def _name(value: str) -> str:
    if NAME.fullmatch(value) is None:
        message = f"{value!r} is not a name; use {NAME_RULE}"
        raise ValueError(message)
    return value


def _host(value: str) -> str:
    if not value or len(value) > 253 or any(c.isspace() or c in "/@,;" for c in value):
        message = f"{value!r} is no name or address of a host"
        raise ValueError(message)
    return value


def _address(value: str) -> str:
    return str(ip_address(value))


def _interface(value: str) -> str:
    if "/" not in value:
        message = f"{value!r} lacks the length of its prefix; write one such as 192.0.2.10/24"
        raise ValueError(message)
    return str(ip_interface(value))


def _one_line(value: object) -> object:
    if isinstance(value, str) and ("\n" in value or "\0" in value):
        message = "is more than one line"
        raise ValueError(message)
    return value


Line = Annotated[str, BeforeValidator(_one_line), Field(max_length=200)]
Host = Annotated[str, AfterValidator(_host)]
Address = Annotated[str, AfterValidator(_address)]


class Part(BaseModel):
    """A map of the file: camelCase keys, none unknown."""

    model_config = ConfigDict(frozen=True, extra="forbid", alias_generator=to_camel, populate_by_name=True)


class Wifi(Part):
    """A wireless network; ``country`` says which channels are allowed."""

    ssid: Annotated[Line, Field(min_length=1, max_length=32)]
    password: SecretStr = SecretStr("")
    country: Annotated[str, Field(pattern="^[A-Z]{2}$")]

    @field_validator("password")
    @classmethod
    def _fits(cls, password: SecretStr) -> SecretStr:
        text = password.get_secret_value()
        if text not in ("", USED) and not (8 <= len(text) <= 63 and text.isascii() and text.isprintable()):
            message = "a WPA password has 8 to 63 plain characters"
            raise ValueError(message)
        return password


class Interface(Part):
    """One network interface, by its name or by its MAC address. Without ``addresses`` it asks by DHCP."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9*._-]{1,15}$")] | None = None
    mac: Annotated[str, Field(pattern="^([0-9a-f]{2}:){5}[0-9a-f]{2}$")] | None = None
    addresses: tuple[Annotated[str, AfterValidator(_interface)], ...] = ()
    gateway: Address | None = None
    dns: tuple[Address, ...] = ()
    wifi: Wifi | None = None

    @model_validator(mode="after")
    def _named(self) -> Self:
        if (self.name is None) is (self.mac is None):
            message = "an interface is named by its name or its mac, by one of them"
            raise ValueError(message)
        if self.gateway is not None and not self.addresses:
            message = "gateway goes with addresses; by DHCP it is told"
            raise ValueError(message)
        if self.wifi is not None and self.name is None:
            message = "a wireless interface is named by its name"
            raise ValueError(message)
        return self


class Identity(Part):
    """Who the gateway is; also the name of the machine."""

    name: Annotated[str, AfterValidator(_name)]


class Time(Part):
    """Where the time comes from."""

    servers: tuple[Host, ...] = Field(min_length=1)
    zone: Annotated[str, Field(pattern=r"^[A-Za-z0-9_+-]+(/[A-Za-z0-9_+-]+){0,2}$")] = "UTC"


class Cloud(Part):
    """The cloud to join; its address and the fingerprint of its CA are in the token."""

    token: SecretStr

    @property
    def used(self) -> bool:
        """Whether the token has done its work and was taken out."""
        return self.token.get_secret_value() == USED

    def join_token(self) -> JoinToken:
        """The token. Raises InvalidMessage."""
        return JoinToken.read(self.token.get_secret_value().strip())

    @field_validator("token")
    @classmethod
    def _is_token(cls, token: SecretStr) -> SecretStr:
        if token.get_secret_value() != USED:
            try:
                JoinToken.read(token.get_secret_value().strip())
            except EdgetwinError as error:
                message = f"{error.message}; {error.remedy}"
                raise ValueError(message) from None
        return token


class Provisioning(Part):
    """A whole provisioning file. All but ``version`` and ``gateway`` may be left out, and is left as it is then."""

    version: Literal[1]
    gateway: Identity
    network: tuple[Interface, ...] = ()
    time: Time | None = None
    settings: dict[str, JsonValue] = {}
    """Of edgetwin.yaml."""
    cloud: Cloud | None = None
    devices: str = ""
    """Documents, as `edgetwin apply` takes them."""

    @model_validator(mode="after")
    def _agrees(self) -> Self:
        if "gateway" in self.settings:
            message = "settings.gateway is said by gateway of this file; leave it out"
            raise ValueError(message)
        if self.cloud is not None and not self.cloud.used:
            whose = self.cloud.join_token().gateway
            if whose and whose != self.gateway.name:
                message = f"cloud.token is for the gateway {whose}, this one is {self.gateway.name}"
                raise ValueError(message)
        return self


@dataclass(frozen=True, slots=True)
class ReadFile:
    """A provisioning file with its bytes."""

    path: Path
    content: bytes
    said: Provisioning

    @property
    def sha256(self) -> str:
        """Names this content."""
        return hashlib.sha256(self.content).hexdigest()


def read_file(path: Path) -> ReadFile:
    """Read and check a file as a whole: settings and documents too. Raises InvalidProvisioning with every problem."""
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        message = f"{path} cannot be read: {error.strerror or error}"
        raise InvalidProvisioning(message, remedy="Name a provisioning file.") from None
    if len(content) > MAX_BYTES:
        message = f"{path} has more than {MAX_BYTES} bytes"
        raise InvalidProvisioning(message, remedy="Apply large sets of documents from the cloud.")
    try:
        said = Provisioning.model_validate(yaml.safe_load(content))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        message = f"{path} is not YAML: {str(error).splitlines()[0]}"
        raise InvalidProvisioning(message, remedy=_REMEDY) from None
    except RecursionError:
        message = f"{path} is nested too deeply"
        raise InvalidProvisioning(message, remedy=_REMEDY) from None
    except ValidationError as error:
        lines = [f"{path}: {'.'.join(map(str, one['loc'])) or 'file'}: {_plain(one['msg'])}" for one in error.errors()]
        raise InvalidProvisioning("\n".join(lines), remedy=_REMEDY) from None
    if problems := [*_settings_problems(said, path), *_document_problems(said, path)]:
        raise InvalidProvisioning("\n".join(problems), remedy=_REMEDY)
    return ReadFile(path, content, said)


def _plain(message: str) -> str:
    return message.removeprefix("Value error, ")


def _settings_problems(said: Provisioning, path: Path) -> list[str]:
    from edgehub.settings import Settings  # heavy, and a file without settings needs none of it

    if not said.settings:
        return []
    try:
        Settings.model_validate({**said.settings, "gateway": {"name": said.gateway.name}})
    except ValidationError as error:
        return [f"{path}: settings.{'.'.join(map(str, one['loc']))}: {_plain(one['msg'])}" for one in error.errors()]
    return []


def _document_problems(said: Provisioning, path: Path) -> list[str]:
    if not said.devices.strip():
        return []
    from twin.errors import InvalidDocuments  # heavy, as above
    from twin.manifest.read import read_documents
    from twin.manifest.yaml import Source

    try:
        read_documents([Source(f"{path}: devices", said.devices.encode())])
    except InvalidDocuments as error:
        return str(error).splitlines()
    return []
