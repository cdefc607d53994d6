"""Where a link connects and as whom."""

from __future__ import annotations

import socket
import ssl
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Self
from urllib.parse import unquote, urlsplit

from twin.errors import InvalidName
from twin.link import Will

LOCAL_RETRY_BASE_S: Final = 0.1  # to a broker on this machine: its restart takes a tenth of a second, and nobody else
LOCAL_RETRY_CAP_S: Final = 2.0  # is hurt by frequent tries


class _NamedContext(ssl.SSLContext):
    """Asks for a server by another name than the host that is dialled, which is all that paho would give."""

    def __new__(cls, _name: str) -> Self:
        return super().__new__(cls, ssl.PROTOCOL_TLS_CLIENT)

    def __init__(self, name: str) -> None:
        self._name = name

    def wrap_socket(self, sock: socket.socket, *args: Any, **more: Any) -> ssl.SSLSocket:
        return super().wrap_socket(sock, *args, **{**more, "server_hostname": self._name})


@dataclass(frozen=True, slots=True)
class TlsOptions:
    """Certificates in PEM. Without ``ca`` the system's are trusted; ``cert`` and ``key`` are the client's own."""

    ca: Path | None = None
    cert: Path | None = None
    key: Path | None = None
    server_name: str = ""
    """Under which the server is asked for and must prove itself, if that is not the host that is dialled."""

    def context(self) -> ssl.SSLContext:
        """Read the files. Raises OSError (also ssl.SSLError) if one is not readable as what it should be."""
        made = _NamedContext(self.server_name) if self.server_name else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        if self.ca is not None:
            made.load_verify_locations(self.ca)
        else:
            made.load_default_certs()
        made.minimum_version = ssl.TLSVersion.TLSv1_2
        if self.cert is not None:
            made.load_cert_chain(self.cert, self.key)
        return made


@dataclass(frozen=True, slots=True)
class MqttOptions:
    """One broker account. A half-open connection stays unnoticed for at most twice ``keepalive_s``."""

    host: str
    port: int
    client_id: str
    username: str = ""
    password: str = field(default="", repr=False)
    tls: TlsOptions | None = None
    keepalive_s: int = 20
    connect_timeout_s: float = 5.0
    clean_start: bool = True
    session_expiry_s: int = 0
    will: Will | None = None
    max_packet_bytes: int = 16 * 1024 * 1024
    first_delay_s: float = 0.0  # the first connect waits a random part of it, so that a fleet does not come at once
    retry_base_s: float = 0.5
    retry_cap_s: float = 30.0


def options_from_url(url: str, client_id: str) -> MqttOptions:
    """Read ``mqtt[s]://[user[:password]@]host[:port]``. Raises InvalidName; the text never shows the password."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        parts, port = urlsplit(""), None
    if parts.scheme not in ("mqtt", "mqtts") or not parts.hostname or parts.path not in ("", "/"):
        shown = url.rpartition("@")[2]
        raise InvalidName(what="broker URL", text=shown, rule="mqtt://user:password@host:port, or mqtts:// for TLS")
    secure = parts.scheme == "mqtts"
    return MqttOptions(
        host=parts.hostname,
        port=port or (8883 if secure else 1883),
        client_id=client_id,
        username=unquote(parts.username or ""),
        password=unquote(parts.password or ""),
        tls=TlsOptions() if secure else None,
    )
