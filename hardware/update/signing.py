"""Who may make updates: a CA that gateways know, a certificate that it has signed, and signatures by that.

There is no key that comes along: `edgetwin hardware keys create` makes one, and a gateway without a CA takes no update.
The same pair signs bundles of images, which RAUC checks (it asks for the purposes of S/MIME).
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from hardware.errors import BundleRefused, InvalidKey
from twin.certificates import UNREADABLE, new_key, private_key, read_certificate
from twin.errors import InvalidMessage
from twin.issuing import begun, named, pem, usage
from twin.private_file import write_private

CA_YEARS: Final = 30
SIGNING_YEARS: Final = 15
"""Gateways live long, and one whose clock is wrong must still be mended."""
_SKEW: Final = timedelta(days=2)
_PURPOSES: Final = (ExtendedKeyUsageOID.CODE_SIGNING, ExtendedKeyUsageOID.EMAIL_PROTECTION)
_PREFIX: Final = b"edgetwin bundle 1\n"
"""Begins what is signed, so that the signature is of use for nothing else."""
_TRUST: Final = "Put the CA of whoever makes your updates where `updates.ca` of edgetwin.yaml says."


class Signature(BaseModel):
    """Who signed, and the signature."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    certificate: Annotated[str, Field(max_length=16_384)]
    signature: Annotated[str, Field(max_length=1024)]


@dataclass(frozen=True, slots=True)
class Signer:
    """Key and certificate, PEM."""

    key: str
    certificate: str

    @classmethod
    def read(cls, key: Path, certificate: Path) -> Signer:
        """Read both, and see that they belong together. Raises InvalidKey."""
        try:
            made = cls(key.read_text(encoding="ascii"), certificate.read_text(encoding="ascii"))
            own = private_key(made.key).public_key()
            fits = own == read_certificate(made.certificate).public_key()
        except (OSError, UnicodeDecodeError, InvalidMessage, *UNREADABLE) as error:
            message = f"{key} and {certificate} cannot be used: {getattr(error, 'message', '') or error}"
            raise InvalidKey(message, remedy="Make them with `edgetwin hardware keys create FOLDER`.") from None
        if not fits:
            message = f"{certificate} is not of the key {key}"
            raise InvalidKey(message, remedy="Name the two that were made together.")
        return made

    def sign(self, content: bytes) -> Signature:
        """Sign."""
        signature = private_key(self.key).sign(_PREFIX + content, ec.ECDSA(hashes.SHA256()))
        return Signature(certificate=self.certificate, signature=base64.b64encode(signature).decode())


def create_keys(folder: Path, name: str, now: datetime) -> tuple[Path, ...]:
    """Make a CA and a signing certificate; what is there already stands. Raises InvalidKey."""
    names = ("ca.key", "ca.pem", "signing.key", "signing.pem")
    paths = tuple(folder / one for one in names)
    if there := [path for path in paths if path.exists()]:
        message = f"{there[0]} is there already"
        raise InvalidKey(message, remedy="Name another folder. Gateways that know the old CA take no other's updates.")
    ca_key, key = new_key(), new_key()
    ca = _certificate(f"{name} update CA", ca_key, None, ca_key, now, CA_YEARS)
    signing = _certificate(f"{name} updates", key, ca, ca_key, now, SIGNING_YEARS)
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for path, text in zip(paths, (ca_key, pem(ca), key, pem(signing)), strict=True):
            write_private(path, text)
        for public in (paths[1], paths[3]):
            public.chmod(0o644)
    except OSError as error:
        message = f"{folder} cannot be written: {error.strerror}"
        raise InvalidKey(message, remedy="Name a folder that you may write to.") from None
    return paths


def read_authorities(path: Path) -> tuple[x509.Certificate, ...]:
    """The CAs whose updates are taken. Raises InvalidKey if there is none: then no update is taken."""
    try:
        found = x509.load_pem_x509_certificates(path.read_bytes())
    except FileNotFoundError:
        message = f"no CA for updates is known, {path} is not there"
        raise InvalidKey(message, remedy=_TRUST) from None
    except (OSError, *UNREADABLE) as error:
        message = f"{path} cannot be read as certificates: {error}"
        raise InvalidKey(message, remedy=_TRUST) from None
    return tuple(found)


def check(content: bytes, signature: bytes, authorities: Sequence[x509.Certificate], now: datetime) -> str:
    """Who has signed the content. Raises BundleRefused unless one whom an authority allows to.

    A certificate that is over counts for nothing; one that seems not to have begun does, for gateways wake up in 1970.
    """
    try:
        said = Signature.model_validate_json(signature)
        certificate = read_certificate(said.certificate)
        raw = base64.b64decode(said.signature, validate=True)
        issuer = next((one for one in authorities if _issued(certificate, one)), None)
        key = certificate.public_key()
        purposes = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
        is_ca = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
        subject = certificate.subject.rfc4514_string()
    except (ValidationError, InvalidMessage, binascii.Error, x509.ExtensionNotFound, *UNREADABLE) as error:
        message = f"the bundle is not signed: {str(error).splitlines()[0][:200]}"
        raise BundleRefused(message, remedy="Sign it with `edgetwin hardware bundle create`.") from None
    if issuer is None:
        message = f"the bundle is signed by {subject}, whom no CA that is known here allows to"
        raise BundleRefused(message, remedy=_TRUST)
    if is_ca or ExtendedKeyUsageOID.CODE_SIGNING not in purposes:
        message = f"the bundle is signed with a certificate that is not for updates, of {subject}"
        raise BundleRefused(message, remedy="Sign it with signing.key of `edgetwin hardware keys create`.")
    if now > min(certificate.not_valid_after_utc, issuer.not_valid_after_utc):
        message = f"the certificate of {subject} is over"
        raise BundleRefused(message, remedy="Sign the bundle with a certificate that is valid.")
    try:
        if not isinstance(key, ec.EllipticCurvePublicKey):
            raise InvalidSignature
        key.verify(raw, _PREFIX + content, ec.ECDSA(hashes.SHA256()))
    except InvalidSignature:
        message = "the bundle's signature is not of its content: it was changed after it was signed, or is damaged"
        raise BundleRefused(message, remedy="Get the bundle again from whoever made it.") from None
    return subject


def _issued(certificate: x509.Certificate, authority: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(authority)
        return authority.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except (InvalidSignature, x509.ExtensionNotFound, *UNREADABLE):
        return False


def _certificate(
    name: str, key: str, issuer: x509.Certificate | None, issuer_key: str, now: datetime, years: int
) -> x509.Certificate:
    subject = named(name)
    public = private_key(key).public_key()
    begins = now.astimezone(UTC).replace(microsecond=0) - _SKEW
    ends = begins + timedelta(days=365 * years)
    builder = (
        begun(subject, subject if issuer is None else issuer.subject, public, begins=begins, ends=ends)
        .add_extension(x509.BasicConstraints(ca=issuer is None, path_length=0 if issuer is None else None), True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(private_key(issuer_key).public_key()), False)
        .add_extension(usage(signs=issuer is None), True)
    )
    if issuer is not None:
        builder = builder.add_extension(x509.ExtendedKeyUsage(_PURPOSES), False)
    return builder.sign(private_key(issuer_key), hashes.SHA256())
