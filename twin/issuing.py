"""What all our certificates have in common, whoever signs them: the cloud's authorities, or a gateway's own one."""

from __future__ import annotations

from datetime import datetime

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


def named(common: str) -> x509.Name:
    """The name of a holder."""
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])


def begun(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, *, begins: datetime, ends: datetime
) -> x509.CertificateBuilder:
    """A certificate with a serial number of its own, still without what it is for."""
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(begins)
        .not_valid_after(ends)
    )


def usage(*, signs: bool) -> x509.KeyUsage:
    """What a key is for: an authority's to sign certificates and lists, anyone else's to prove who it is."""
    return x509.KeyUsage(
        digital_signature=not signs,
        key_cert_sign=signs,
        crl_sign=signs,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def pem(certificate: x509.Certificate) -> str:
    """Its text."""
    return certificate.public_bytes(serialization.Encoding.PEM).decode()
