"""Keys and certificates as a gateway and the cloud make them: ECDSA on P-256, PEM text in and out."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from twin.errors import InvalidMessage

BEGIN: Final = "-----BEGIN CERTIFICATE-----"
_RENEWAL: Final = b"edgetwin renewal 1\n"
"""Begins what is signed, so that the signature is of use for nothing else."""


UNREADABLE: Final = (
    *(ValueError, TypeError, OverflowError, UnsupportedAlgorithm),
    *(x509.InvalidVersion, x509.DuplicateExtension, x509.UnsupportedGeneralNameType, x509.AttributeNotFound),
)
"""What the library raises for what strangers have made."""


@dataclass(frozen=True, slots=True)
class Life:
    """From when until when a certificate is valid, in milliseconds since 1970."""

    begins_at: int
    ends_at: int


def new_key() -> str:
    """Draw a private key."""
    key = ec.generate_private_key(ec.SECP256R1())
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()


def request(key: str, name: str) -> str:
    """Ask for a certificate: who, and proof of the key."""
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    builder = x509.CertificateSigningRequestBuilder().subject_name(subject)
    return builder.sign(private_key(key), hashes.SHA256()).public_bytes(serialization.Encoding.PEM).decode()


def fingerprint(certificate: str) -> str:
    """SHA-256 over a certificate, in hexadecimal. Raises InvalidMessage."""
    return read_certificate(certificate).fingerprint(hashes.SHA256()).hex()


def life(certificate: str) -> Life:
    """When it is valid. Raises InvalidMessage."""
    read = read_certificate(certificate)
    with parts_of("certificate"):
        return Life(milliseconds(read.not_valid_before_utc), milliseconds(read.not_valid_after_utc))


def sign_renewal(key: str, csr: str) -> str:
    """Prove, with the key of the old certificate, that the new one is wanted."""
    return base64.b64encode(private_key(key).sign(_RENEWAL + csr.encode(), ec.ECDSA(hashes.SHA256()))).decode()


def is_signed_renewal(certificate: str, csr: str, signature: str) -> bool:
    """Whether the holder of a certificate's key has signed a request. Raises InvalidMessage for what is none."""
    with parts_of("certificate"):
        key = read_certificate(certificate).public_key()
    if not isinstance(key, ec.EllipticCurvePublicKey):
        return False
    try:
        key.verify(base64.b64decode(signature, validate=True), _RENEWAL + csr.encode(), ec.ECDSA(hashes.SHA256()))
    except (InvalidSignature, ValueError):
        return False
    return True


@contextmanager
def parts_of(what: str) -> Iterator[None]:
    """Read parts of what a stranger has made: the library looks at many of them only when they are asked for.

    Raises InvalidMessage.
    """
    try:
        yield
    except UNREADABLE as error:
        message = f"this {what} cannot be read: {str(error)[:200] or type(error).__name__}"
        raise InvalidMessage(message, remedy="Make it anew with `edgetwin join`.") from error


def read_certificate(text: str) -> x509.Certificate:
    """Read PEM. Raises InvalidMessage."""
    try:
        return x509.load_pem_x509_certificate(text.encode())
    except UNREADABLE as error:
        message = "this is no certificate in PEM"
        raise InvalidMessage(message, remedy="It begins with -----BEGIN CERTIFICATE-----.") from error


def private_key(text: str) -> ec.EllipticCurvePrivateKey:
    """Read PEM. Raises InvalidMessage."""
    try:
        key = serialization.load_pem_private_key(text.encode(), None)
    except UNREADABLE as error:
        message = "this is no private key in PEM"
        raise InvalidMessage(message, remedy="It begins with -----BEGIN PRIVATE KEY-----.") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        message = "this key is not one of an elliptic curve"
        raise InvalidMessage(message, remedy="edgetwin makes its keys itself; give it none of yours.")
    return key


def milliseconds(instant: datetime) -> int:
    """Milliseconds since 1970."""
    return int(instant.timestamp() * 1000)


def instant(at: int) -> datetime:
    """The same as a time of the calendar."""
    return datetime.fromtimestamp(at / 1000, UTC).replace(microsecond=0)
