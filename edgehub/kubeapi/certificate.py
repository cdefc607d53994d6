"""Makes the certificate of the local Kubernetes API: ``python -m edgehub.kubeapi.certificate FOLDER``.

In a process of its own, so that the hub does not carry what makes certificates. The authority signs this one and its
key is thrown away, so nobody can make another that a client of this gateway would take. Both are good for ever: they
never leave the machine, and its clock may be at 1970.
"""

from __future__ import annotations

import ipaddress
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.x509.oid import ExtendedKeyUsageOID

from twin.certificates import new_key, private_key
from twin.issuing import begun, named, pem, usage
from twin.private_file import write_private

CA: Final = "ca.crt"
SERVER: Final = "server.pem"
_NAMES: Final = ("localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc")
_ADDRESSES: Final = ("127.0.0.1", "::1")
_BEGINS: Final = datetime(1970, 1, 1, tzinfo=UTC)
_ENDS: Final = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)
"""What RFC 5280 writes for: no end."""


def make(folder: Path) -> None:
    """Write ``ca.crt``, and ``server.pem`` with key and certificate. Raises OSError."""
    authority, server = private_key(new_key()), new_key()
    issuer = named("edgetwin kubernetes api")
    ca = (
        begun(issuer, issuer, authority.public_key(), begins=_BEGINS, ends=_ENDS)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage(signs=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(authority.public_key()), critical=False)
        .sign(authority, hashes.SHA256())
    )
    names = [x509.DNSName(name) for name in _NAMES]
    addresses = [x509.IPAddress(ipaddress.ip_address(address)) for address in _ADDRESSES]
    certificate = (
        begun(named("localhost"), issuer, private_key(server).public_key(), begins=_BEGINS, ends=_ENDS)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(usage(signs=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName([*names, *addresses]), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.public_key()), critical=False)
        .sign(authority, hashes.SHA256())
    )
    write_private(folder / SERVER, server + pem(certificate))
    write_private(folder / CA, pem(ca))


if __name__ == "__main__":
    make(Path(sys.argv[1]))
