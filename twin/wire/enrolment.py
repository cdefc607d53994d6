"""What a gateway and the cloud say to each other over HTTPS about certificates, and the join token."""

from __future__ import annotations

import base64
import binascii
import hashlib
import ipaddress
from typing import Annotated, Final

from pydantic import Field, ValidationError

from twin.errors import InvalidMessage
from twin.wire.messages import Wire

CA_PATH: Final = "/identity/ca"
JOIN_PATH: Final = "/identity/join"
RENEW_PATH: Final = "/identity/renew"
REVOKED_PATH: Final = "/identity/revoked"
MAX_LIST_BYTES: Final = 1024 * 1024
"""Of a list of revoked certificates: some ten thousand."""
MAX_BYTES: Final = 16 * 1024
"""Of a request or an answer."""
MAX_TOKEN: Final = 2048

_LABEL: Final = "gateways"
_GATEWAY_DOMAIN: Final = "gateway.internal"
"""Below a top level that is never given to anyone."""


def server_name(gateway: str, host: str) -> str:
    """Under which a gateway asks for its broker: a name of its own, so that whoever passes TLS on without opening it
    (HAProxy before several brokers) can send it to the same one each time. Empty for a host that is an address.
    """
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return f"{hashlib.sha256(gateway.encode()).hexdigest()[:16]}.{_LABEL}.{host}"
    return ""


def server_wildcard(host: str) -> str:
    """The name in the server's certificate that covers them all."""
    return f"*.{_LABEL}.{host}" if server_name("", host) else ""


def gateway_host(gateway: str) -> str:
    """Under which gateways ask for each other; in their certificates, and in none of the cloud's servers."""
    return f"{gateway}.{_GATEWAY_DOMAIN}"


_PEM = Annotated[str, Field(min_length=1, max_length=8192)]
_NAME = Annotated[str, Field(max_length=63)]


class JoinToken(Wire):
    """All that a gateway needs to come to a cloud that it has never met."""

    url: Annotated[str, Field(max_length=300)]
    """Of the cloud's web server."""
    host: Annotated[str, Field(max_length=253)]
    port: Annotated[int, Field(ge=1, le=65535)]
    """Of the gateways' broker."""
    ca: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
    """Fingerprint of the cloud's CA."""
    secret: Annotated[str, Field(min_length=20, max_length=100, repr=False)]
    gateway: _NAME = ""
    """Whom it is for; empty: who comes chooses a name."""

    def text(self) -> str:
        """One word for a command line."""
        return base64.urlsafe_b64encode(self.model_dump_json().encode()).decode().rstrip("=")

    @classmethod
    def read(cls, text: str) -> JoinToken:
        """Read it back. Raises InvalidMessage."""
        try:
            if len(text) > MAX_TOKEN:
                raise ValueError
            return cls.model_validate_json(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
        except (ValueError, ValidationError, binascii.Error):
            message = "this is no join token"
            raise InvalidMessage(message, remedy="`edgetwin cloud token create` prints one; copy all of it.") from None


class JoinRequest(Wire):
    """The gateway's key and its name, with the secret of a token."""

    secret: Annotated[str, Field(min_length=1, max_length=100, repr=False)]
    gateway: _NAME
    csr: _PEM


class RenewRequest(Wire):
    """A new key, asked for with the old certificate and a signature by its key."""

    certificate: _PEM
    csr: _PEM
    signature: Annotated[str, Field(max_length=200)]


class Enrolled(Wire):
    """The certificate, and the CA that the cloud's servers show theirs of."""

    gateway: _NAME
    certificate: _PEM
    ca: Annotated[str, Field(min_length=1, max_length=16384)]
