"""Our own certificate, made at first use, and whom we trust: a folder that a person can read and change.

<state>/keys/opcua/own/certificate.pem, private-key.pem    0600
                  /trusted/*.der *.pem                     servers, or who signs for them
                  /rejected/<thumbprint>.der               servers met and not trusted yet
"""

from __future__ import annotations

import logging
import os
import socket
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from mappers.sdk import NotConnected

log = logging.getLogger(__name__)

_YEARS: Final = 10
_KEY_BITS: Final = 2048
_SLACK: Final = timedelta(days=1)  # a server whose clock is a little behind ours


@dataclass(frozen=True, slots=True)
class OwnCertificate:
    """Files of our application's certificate, and the application URI that stands in it."""

    certificate: Path
    private_key: Path
    uri: str


def pki_folder(pki: str) -> Path:
    """The folder named in the settings, else ``keys/opcua`` of the gateway's state."""
    if pki:
        return Path(pki)
    if state := os.environ.get("EDGETWIN_STATE"):
        return Path(state) / "keys" / "opcua"
    if os.geteuid() == 0:
        return Path("/var/lib/edgetwin/keys/opcua")
    home = os.environ.get("XDG_STATE_HOME") or str(Path.home() / ".local" / "state")
    return Path(home) / "edgetwin" / "keys" / "opcua"


def own_certificate(pki: Path, certificate: str = "", private_key: str = "") -> OwnCertificate:
    """The certificate that the settings name, else the one in the folder, made if there is none. Blocks.

    Raises NotConnected when the files cannot be read or written.
    """
    made = not certificate
    paths = (
        (pki / "own" / "certificate.pem", pki / "own" / "private-key.pem")
        if made
        else (Path(certificate), Path(private_key))
    )
    try:
        if made and not all(path.exists() for path in paths):
            _make(*paths)
        loaded = load(paths[0])
    except (OSError, ValueError) as error:
        message = f"our OPC UA certificate {paths[0]}: {error}"
        remedy = "Make the folder writable for the gateway, or name certificate and privateKey in the Connection."
        raise NotConnected(message, remedy=remedy) from error
    return OwnCertificate(*paths, _uri_in(loaded))


def check_server(der: bytes, pki: Path, url: str, pinned: str = "") -> None:
    """See whether a server's certificate is trusted; one that is not is put into ``rejected``. Blocks.

    Raises NotConnected saying how to trust it.
    """
    certificate = x509.load_der_x509_certificate(der)
    thumbprint = certificate.fingerprint(hashes.SHA1()).hex().upper()
    if pinned:
        if _loaded(Path(pinned)).fingerprint(hashes.SHA256()) == certificate.fingerprint(hashes.SHA256()):
            return
        message = f"OPC UA at {url}: the server shows another certificate ({thumbprint}) than the pinned {pinned}"
        raise NotConnected(
            message, remedy="If the server was replaced, replace the pinned file too; else find out why."
        )
    if any(_vouches(known, certificate) for known in _trusted(pki / "trusted")):
        return
    rejected = pki / "rejected" / f"{thumbprint}.der"
    try:
        rejected.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        rejected.write_bytes(der)
        where = f"Compare the thumbprint with the server's own, then: mv {rejected} {pki / 'trusted'}/"
        (pki / "trusted").mkdir(exist_ok=True, mode=0o700)
    except OSError as error:
        where = f"Put the server's certificate into {pki / 'trusted'} ({error})."
    subject = certificate.subject.rfc4514_string()
    message = f"OPC UA at {url}: the certificate of the server is not trusted: {subject}, thumbprint {thumbprint}"
    raise NotConnected(message, remedy=where)


def load(path: Path) -> x509.Certificate:
    """A certificate in PEM or DER. Raises OSError or ValueError."""
    content = path.read_bytes()
    if b"-----BEGIN" in content:
        return x509.load_pem_x509_certificate(content)
    return x509.load_der_x509_certificate(content)


def _make(certificate: Path, private_key: Path) -> None:
    certificate.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    key = rsa.generate_private_key(public_exponent=65537, key_size=_KEY_BITS)
    host = socket.gethostname()
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"edgetwin@{host}"[:64])])
    now = datetime.now(UTC)
    identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _SLACK)
        .not_valid_after(now + timedelta(days=365 * _YEARS))
        .add_extension(
            x509.SubjectAlternativeName(
                [x509.UniformResourceIdentifier(f"urn:{host}:edgetwin:opcua"), x509.DNSName(host)]
            ),
            critical=False,
        )
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(
            # OPC 10000-6, 6.2.2: what an application's own certificate is for.
            x509.KeyUsage(
                digital_signature=True, content_commitment=True, key_encipherment=True, data_encipherment=True,
                key_agreement=False, key_cert_sign=True, crl_sign=False, encipher_only=False, decipher_only=False,
            ),
            critical=True,
        )
        .add_extension(
            x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH]), critical=False
        )
        .add_extension(identifier, critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier), critical=False)
        .sign(key, hashes.SHA256())
    )  # fmt: skip
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    _write_private(private_key, pem)
    _write_private(certificate, made.public_bytes(serialization.Encoding.PEM))
    log.info("made our OPC UA certificate %s; servers that know their clients have to be told of it", certificate)


def _write_private(path: Path, content: bytes) -> None:
    """Write a file whole or not at all, readable for us alone."""
    temporary = path.with_suffix(".new")
    temporary.unlink(missing_ok=True)
    with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:  # noqa: PTH123  the mode
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def _uri_in(certificate: x509.Certificate) -> str:
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return ""
    uris = names.get_values_for_type(x509.UniformResourceIdentifier)
    return uris[0] if uris else ""


def _loaded(path: Path) -> x509.Certificate:
    try:
        return load(path)
    except (OSError, ValueError) as error:
        message = f"the server's certificate {path}: {error}"
        raise NotConnected(message, remedy="Correct serverCertificate in the Connection.") from error


def _trusted(folder: Path) -> list[x509.Certificate]:
    found = []
    for path in sorted(folder.glob("*")) if folder.is_dir() else ():
        try:
            found.append(load(path))
        except (OSError, ValueError) as error:
            log.warning("%s is no certificate and trusts nobody: %s", path, error)
    return found


def _vouches(known: x509.Certificate, shown: x509.Certificate) -> bool:
    """Whether they are the same, or ``known`` is a living authority that signed a living ``shown``."""
    if known == shown:
        return True
    try:
        authority = known.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
        shown.verify_directly_issued_by(known)
    except (x509.ExtensionNotFound, ValueError, TypeError, InvalidSignature):
        return False
    now = datetime.now(UTC)
    return authority and all(one.not_valid_before_utc <= now <= one.not_valid_after_utc for one in (known, shown))
