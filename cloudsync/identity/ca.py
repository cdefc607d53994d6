"""The cloud's two authorities: who signed a certificate says what its holder is, so neither passes as the other.

gateways    signs gateways, and the servers (broker, web) that everybody is told to trust
users       signs users
"""

from __future__ import annotations

import hashlib
import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from cloudsync.identity.model import Issued
from twin.certificates import UNREADABLE, instant, milliseconds, new_key, parts_of, private_key, read_certificate
from twin.errors import InvalidMessage
from twin.issuing import begun, named, pem, usage
from twin.wire.enrolment import gateway_host

DAY_MS: Final = 24 * 3600 * 1000
CA_DAYS: Final = 20 * 365
CRL_DAYS: Final = 30
BACKDATED: Final = timedelta(hours=1)
"""A gateway whose clock is a little behind takes a new certificate all the same."""
_BOTH: Final = (ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH)


@dataclass(frozen=True, slots=True)
class Authority:
    """A self-signed certificate and its key, both PEM."""

    certificate: str
    key: str

    @classmethod
    def create(cls, name: str, now: int) -> Authority:
        """Make one."""
        key = new_key()
        subject = named(name)
        public = private_key(key).public_key()
        certificate = (
            _begun(subject, subject, public, now, CA_DAYS)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(usage(signs=True), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
            .sign(private_key(key), hashes.SHA256())
        )
        return cls(pem(certificate), key)

    def issue(self, csr: str, name: str, *, now: int, days: int) -> tuple[str, Issued]:
        """Sign the key of a request for a client. The name is the caller's to check; the request's must be the same.

        Raises InvalidMessage for what is no request, for another name and for a key that is not on P-256.
        """
        return self._sign(_public_key(csr, name), name, now, days, [ExtendedKeyUsageOID.CLIENT_AUTH], ())

    def issue_gateway(self, csr: str, name: str, *, now: int, days: int) -> tuple[str, Issued]:
        """The same for a gateway, which is a server for other gateways, by a name that no server of the cloud has."""
        return self._sign(_public_key(csr, name), name, now, days, _BOTH, [gateway_host(name)])

    def issue_server(self, hosts: Sequence[str], *, now: int, days: int) -> tuple[str, str]:
        """Make a server's certificate and key for these host names and addresses."""
        key = new_key()
        public = private_key(key).public_key()
        certificate, _ = self._sign(public, hosts[0], now, days, [ExtendedKeyUsageOID.SERVER_AUTH], hosts)
        return certificate, key

    def revocations(self, revoked: Sequence[Issued], *, now: int, number: int) -> str:
        """The list of certificates that are not good any more, PEM."""
        authority = read_certificate(self.certificate)
        builder = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(authority.subject)
            .last_update(instant(now) - BACKDATED)
            .next_update(instant(now) + timedelta(days=CRL_DAYS))
            .add_extension(x509.CRLNumber(number), critical=False)
        )
        for issued in revoked:
            entry = x509.RevokedCertificateBuilder().serial_number(int(issued.serial, 16))
            builder = builder.add_revoked_certificate(entry.revocation_date(instant(issued.revoked_at)).build())
        made = builder.sign(private_key(self.key), hashes.SHA256())
        return made.public_bytes(serialization.Encoding.PEM).decode()

    def has_signed(self, certificate: str) -> bool:
        """Whether a certificate is one of ours. Raises InvalidMessage for what is none."""
        read = read_certificate(certificate)
        try:
            with parts_of("certificate"):
                read.verify_directly_issued_by(read_certificate(self.certificate))
        except (InvalidMessage, InvalidSignature):
            return False
        return True

    def _sign(
        self,
        public: ec.EllipticCurvePublicKey,
        name: str,
        now: int,
        days: int,
        purposes: Sequence[x509.ObjectIdentifier],
        hosts: Sequence[str],
    ) -> tuple[str, Issued]:
        authority = read_certificate(self.certificate)
        builder = (
            _begun(named(name), authority.subject, public, now, days)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(usage(signs=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage(purposes), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(private_key(self.key).public_key()), critical=False
            )
        )
        if hosts:
            builder = builder.add_extension(x509.SubjectAlternativeName(list(map(_host, hosts))), critical=False)
        made = builder.sign(private_key(self.key), hashes.SHA256())
        begins, ends = milliseconds(made.not_valid_before_utc), milliseconds(made.not_valid_after_utc)
        return pem(made), Issued(f"{made.serial_number:x}", name, begins, ends)


def serial_of(certificate: str) -> str:
    """Its number, as it is kept. Raises InvalidMessage."""
    with parts_of("certificate"):
        return f"{read_certificate(certificate).serial_number:x}"


def name_of(certificate: str) -> str:
    """The common name. Raises InvalidMessage."""
    with parts_of("certificate"):
        return _common_name(read_certificate(certificate).subject)


def key_of(csr: str) -> str:
    """A hash over the key of a request, to know it again. Raises InvalidMessage."""
    with parts_of("certificate request"):
        key = _request(csr).public_key()
        spki = key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(spki).hexdigest()


def hosts_of(certificate: str) -> tuple[str, ...]:
    """Names and addresses that a server's certificate is for."""
    names = read_certificate(certificate).extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return tuple(str(one.value) for one in names)


def _public_key(csr: str, name: str) -> ec.EllipticCurvePublicKey:
    read = _request(csr)
    with parts_of("certificate request"):
        signed, asked, key = read.is_signature_valid, _common_name(read.subject), read.public_key()
    if not signed:
        message = "the certificate request is not signed by its own key"
        raise InvalidMessage(message, remedy="Make it anew.")
    if asked != name:
        message = f"the certificate request is for {asked[:80]!r}, not for {name!r}"
        raise InvalidMessage(message, remedy="Ask for a certificate with the gateway's own name as its common name.")
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        message = "the key of the certificate request is not on the curve P-256"
        raise InvalidMessage(message, remedy="Make a key with `edgetwin join`, or one on P-256.")
    return key


def _request(csr: str) -> x509.CertificateSigningRequest:
    try:
        return x509.load_pem_x509_csr(csr.encode())
    except UNREADABLE as error:
        message = "this is no certificate request in PEM"
        raise InvalidMessage(message, remedy="It begins with -----BEGIN CERTIFICATE REQUEST-----.") from error


def _begun(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, now: int, days: int
) -> x509.CertificateBuilder:
    begin = instant(now)
    return begun(subject, issuer, key, begins=begin - BACKDATED, ends=begin + timedelta(days=days))


def _common_name(name: x509.Name) -> str:
    names = name.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(names[0].value) if len(names) == 1 else ""


def _host(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)
