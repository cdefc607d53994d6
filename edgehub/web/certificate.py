"""Makes the certificate of a dashboard beyond loopback: ``python -m edgehub.web.certificate FILE NAME...``.

In a process of its own, so that the hub does not carry what makes certificates. It signs itself, so a browser asks the
first time, and shows the fingerprint that the gateway has printed. It is good for ever: the clock may be at 1970.
"""

from __future__ import annotations

import ipaddress
import sys
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.x509.oid import ExtendedKeyUsageOID

from twin.certificates import new_key, private_key
from twin.issuing import begun, named, pem, usage
from twin.private_file import write_private

_BEGINS: Final = datetime(1970, 1, 1, tzinfo=UTC)
_ENDS: Final = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)
"""What RFC 5280 writes for: no end."""


def make(file: Path, names: Iterable[str]) -> None:
    """Write key and certificate for these names and addresses. Raises OSError."""
    key = new_key()
    own = private_key(key)
    name = named("edgetwin dashboard")
    certificate = (
        begun(name, name, own.public_key(), begins=_BEGINS, ends=_ENDS)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(usage(signs=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName([_general(one) for one in names]), critical=False)
        .sign(own, hashes.SHA256())
    )
    write_private(file, key + pem(certificate))


def _general(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


if __name__ == "__main__":
    make(Path(sys.argv[1]), sys.argv[2:])
