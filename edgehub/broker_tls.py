"""The broker's TLS listener: whether its files can be used, said before Mosquitto says less."""

from __future__ import annotations

import ssl
from pathlib import Path

from edgehub.listeners import TlsSettings
from edgehub.settings import InvalidSettings

_REMEDY = "docs/aws-shadow.md shows how to make a CA, a certificate and a key."


def check_tls(settings: TlsSettings) -> None:
    """Read the files as the broker will. Raises InvalidSettings naming the key that is wrong."""
    if not settings.listen:
        return
    named = {"certfile": settings.certfile, "keyfile": settings.keyfile, "cafile": settings.cafile}
    for key, path in named.items():
        try:
            if path:
                Path(path).read_bytes()
        except OSError as error:
            message = f"broker.tls.{key}: {path}: {error.strerror}"
            raise InvalidSettings(message, remedy=_REMEDY) from None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(settings.certfile, settings.keyfile, password="")  # never ask on a terminal
    except (ssl.SSLError, ValueError) as error:
        message = f"broker.tls.certfile and keyfile: {settings.certfile} and {settings.keyfile} do not fit: {error}"
        raise InvalidSettings(message, remedy=_REMEDY) from None
    try:
        if settings.cafile:
            context.load_verify_locations(settings.cafile)
    except ssl.SSLError as error:
        message = f"broker.tls.cafile: {settings.cafile} holds no certificate: {error}"
        raise InvalidSettings(message, remedy=_REMEDY) from None
