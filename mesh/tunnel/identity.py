"""Who is at the other end of a line: a gateway whose certificate the authority of all gateways has signed.

A gateway's certificate is for clients alone, so that no gateway can pass as the cloud. Between gateways one side has to
be TLS's server all the same; the library would refuse it there, so the caller looks at that certificate itself:
signed by the authority, for a gateway, valid now, of the name that was called, not revoked. That its holder has the
key was proved in the handshake.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

ALPN: Final = "edgetwin-mesh/1"
RELAY_ALPN: Final = "edgetwin-relay/1"


class NotTrusted(Exception):
    """The other end is not who it should be."""


@dataclass(frozen=True, slots=True)
class IdentityFiles:
    """PEM files. ``revoked`` is the authority's list of revoked certificates, None if there is none here."""

    authority: Path
    certificate: Path
    key: Path
    revoked: Path | None = None


@dataclass(slots=True)
class _Read:
    stamp: tuple[int, ...]
    authority: x509.Certificate
    revoked: frozenset[int]
    serving: ssl.SSLContext
    calling: ssl.SSLContext
    relay: ssl.SSLContext


@dataclass(slots=True)
class Identity:
    """Our own certificate and whom we trust. Files that were renewed count from the next line on."""

    files: IdentityFiles
    wall: Callable[[], datetime] = lambda: datetime.now(UTC)
    _read: _Read | None = field(default=None, init=False, repr=False)

    def serving(self) -> ssl.SSLContext:
        """For lines that come in. Raises OSError, ssl.SSLError, ValueError for files that are no use."""
        return self._now().serving

    def calling(self) -> ssl.SSLContext:
        """For lines to gateways; the certificate there is for `check` to look at. Raises as `serving`."""
        return self._now().calling

    def relay(self) -> ssl.SSLContext:
        """For lines to the relay, which has a server's certificate with its host name. Raises as `serving`."""
        return self._now().relay

    def check(self, line: ssl.SSLObject | ssl.SSLSocket | None, gateway: str = "") -> str:
        """The gateway at the other end of a handshake, which must be this one if one is named. Raises NotTrusted."""
        content = line.getpeercert(binary_form=True) if line is not None else None
        if content is None:
            text = "the other end has shown no certificate"
            raise NotTrusted(text)
        read = self._now()
        name = self._name(x509.load_der_x509_certificate(content), read)
        if gateway and name != gateway:
            text = f"{gateway} was called and {name[:80]!r} has answered"
            raise NotTrusted(text)
        return name

    def _name(self, certificate: x509.Certificate, read: _Read) -> str:
        try:
            certificate.verify_directly_issued_by(read.authority)
            purposes = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
        except (ValueError, TypeError, InvalidSignature, x509.ExtensionNotFound):
            text = "its certificate is not one that the authority of gateways has signed for a gateway"
            raise NotTrusted(text) from None
        names = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
        if ExtendedKeyUsageOID.CLIENT_AUTH not in purposes or len(names) != 1:
            text = "its certificate is not that of a gateway"
            raise NotTrusted(text)
        name = str(names[0].value)
        if not certificate.not_valid_before_utc <= self.wall() <= certificate.not_valid_after_utc:
            text = f"the certificate of {name[:80]!r} is not valid now; look at the clocks, or let it be renewed"
            raise NotTrusted(text)
        if certificate.serial_number in read.revoked:
            text = f"the certificate of {name[:80]!r} is revoked"
            raise NotTrusted(text)
        return name

    def _now(self) -> _Read:
        files = self.files
        paths = [files.authority, files.certificate, files.key]
        if files.revoked is not None and files.revoked.exists():
            paths.append(files.revoked)
        stamp = tuple(path.stat().st_mtime_ns for path in paths)
        if self._read is None or self._read.stamp != stamp:
            self._read = self._fresh(stamp, with_list=len(paths) == 4)
        return self._read

    def _fresh(self, stamp: tuple[int, ...], *, with_list: bool) -> _Read:
        authority = x509.load_pem_x509_certificate(self.files.authority.read_bytes())
        revoked: frozenset[int] = frozenset()
        if with_list and self.files.revoked is not None:
            listed = x509.load_pem_x509_crl(self.files.revoked.read_bytes())
            if not listed.is_signature_valid(authority.public_key()):  # type: ignore[arg-type]
                text = f"{self.files.revoked} is not signed by {self.files.authority}"
                raise ValueError(text)
            revoked = frozenset(one.serial_number for one in listed)
        serving = self._context(ssl.PROTOCOL_TLS_SERVER, ALPN)
        serving.verify_mode = ssl.CERT_REQUIRED
        calling = self._context(ssl.PROTOCOL_TLS_CLIENT, ALPN)
        calling.check_hostname = False
        calling.verify_mode = ssl.CERT_NONE
        return _Read(stamp, authority, revoked, serving, calling, self._context(ssl.PROTOCOL_TLS_CLIENT, RELAY_ALPN))

    def _context(self, kind: int, alpn: str) -> ssl.SSLContext:
        context = ssl.SSLContext(kind)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.load_verify_locations(cafile=str(self.files.authority))
        context.load_cert_chain(self.files.certificate, self.files.key)
        context.set_alpn_protocols([alpn])
        return context
