"""Text for one reader alone: encrypted with its public key, so that nobody on the way, or who keeps it, can read it.

sealed:2:<base64 of: ephemeral public key (32 bytes), ciphertext>     X25519, HKDF-SHA-256, AES-256-GCM

Each text has an ephemeral key of its own, so the key and nonce derived from it are used once.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from twin.errors import EdgetwinError
from twin.manifest.kube_fields import SENT
from twin.private_file import write_private

_KEY_BYTES: Final = 32
_NONCE_BYTES: Final = 12
_INFO: Final = b"edgetwin secret 2"


class EnvelopeError(EdgetwinError):
    """A text is not for this reader, or its key cannot be read or made."""

    code = "envelope"


class Reader:
    """The two keys of one reader, in files; they are made when the public one is first asked for."""

    def __init__(self, key_file: Path) -> None:
        self._key_file = key_file
        self._public_file = key_file.with_suffix(".pub")

    def public(self) -> str:
        """The public key, in hexadecimal. Raises EnvelopeError if it cannot be read or made."""
        try:
            if self._key_file.exists() and self._public_file.exists():
                return self._public_file.read_text(encoding="ascii").strip()
            return self._made()
        except (OSError, ValueError) as error:
            message = f"the key {self._key_file} cannot be read or made: {error}"
            raise EnvelopeError(message, remedy="Check free space and permissions.") from None

    def opened(self, text: str, bound: Sequence[bytes]) -> bytes:
        """Read a text that was sealed for this reader and bound to the same words. Raises EnvelopeError."""
        from cryptography.exceptions import InvalidTag  # memory that only who has such texts should pay
        from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey  # as above
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # as above

        try:
            private = X25519PrivateKey.from_private_bytes(bytes.fromhex(self._key_file.read_text(encoding="ascii")))
            whole = base64.b64decode(text.removeprefix(SENT), validate=True)
            ephemeral, sealed = whole[:_KEY_BYTES], whole[_KEY_BYTES:]
            shared = private.exchange(X25519PublicKey.from_public_bytes(ephemeral))
            key, nonce = _derived(shared, ephemeral, private.public_key().public_bytes_raw())
            return AESGCM(key).decrypt(nonce, sealed, _joined(bound))
        except (OSError, ValueError, binascii.Error, InvalidTag):
            message = f"a text was not encrypted for the key {self._key_file}, or that is missing"
            raise EnvelopeError(message, remedy="Restore the key; or wait, the cloud encrypts for a new one.") from None

    def _made(self) -> str:
        from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey  # as above

        if self._key_file.exists():  # only the public half was lost
            private = X25519PrivateKey.from_private_bytes(bytes.fromhex(self._key_file.read_text(encoding="ascii")))
        else:
            private = X25519PrivateKey.generate()
            self._key_file.parent.mkdir(mode=0o700, exist_ok=True)
            write_private(self._key_file, private.private_bytes_raw().hex())
        public = private.public_key().public_bytes_raw().hex()
        write_private(self._public_file, public)
        return public


def sealed_for(public: str, plain: bytes, bound: Sequence[bytes]) -> str:
    """Encrypt for the reader of a public key. Raises EnvelopeError if it is none."""
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey  # as above
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # as above

    try:
        reader = X25519PublicKey.from_public_bytes(bytes.fromhex(public))
        mine = X25519PrivateKey.generate()
        shared = mine.exchange(reader)
    except ValueError:
        message = f"{public[:80]!r} is not a public key"
        raise EnvelopeError(message, remedy="It is 64 hexadecimal digits.") from None
    ephemeral = mine.public_key().public_bytes_raw()
    key, nonce = _derived(shared, ephemeral, reader.public_bytes_raw())
    return SENT + base64.b64encode(ephemeral + AESGCM(key).encrypt(nonce, plain, _joined(bound))).decode()


def _derived(shared: bytes, ephemeral: bytes, reader: bytes) -> tuple[bytes, bytes]:
    from cryptography.hazmat.primitives.hashes import SHA256  # as above
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF  # as above

    length = _KEY_BYTES + _NONCE_BYTES
    both = HKDF(SHA256(), length, salt=None, info=_INFO + ephemeral + reader).derive(shared)
    return both[:_KEY_BYTES], both[_KEY_BYTES:]


def _joined(bound: Sequence[bytes]) -> bytes:
    return b"\0".join(bound)
