"""The certificate that a client of the web server has shown, if any; TLS has checked who signed it, and until when."""

from __future__ import annotations

import asyncio
import ssl
from dataclasses import dataclass
from typing import Any, Final

from cryptography import x509
from cryptography.x509.oid import NameOID
from fastapi import Request
from uvicorn.protocols.http.auto import AutoHTTPProtocol

_STATE: Final = "certificate"


@dataclass(frozen=True, slots=True)
class PeerCertificate:
    """Of a gateway."""

    gateway: str
    serial: int


class ShowsCertificate(AutoHTTPProtocol):  # type: ignore[misc, valid-type]  # uvicorn chooses it when it is imported
    """Uvicorn's own protocol; routes find the client's certificate in the state of a request."""

    app_state: dict[str, Any]

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Look at it once a connection."""
        super().connection_made(transport)
        tls = transport.get_extra_info("ssl_object")
        found = _read(tls) if isinstance(tls, ssl.SSLObject | ssl.SSLSocket) else None
        if found is not None:
            self.app_state = {**self.app_state, _STATE: found}


def certificate_of(request: Request) -> PeerCertificate | None:
    """The certificate of whoever asks."""
    found = getattr(request.state, _STATE, None)
    return found if isinstance(found, PeerCertificate) else None


def _read(tls: ssl.SSLObject | ssl.SSLSocket) -> PeerCertificate | None:
    shown = tls.getpeercert(binary_form=True)
    if shown is None:
        return None
    certificate = x509.load_der_x509_certificate(shown)
    names = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return PeerCertificate(str(names[0].value), certificate.serial_number) if len(names) == 1 else None
