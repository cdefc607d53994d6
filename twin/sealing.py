"""Secrets where they are kept, a gateway's registry or the cloud's store: encrypted value by value, the key kept apart.

The same text under the same name gives the same sealed text, so that an unchanged Secret stays unchanged; that and
the length are all that a copy shows. It protects copies and backups of registry and store, and not a stolen
disk that has the key as well.
"""

from __future__ import annotations

import base64
import binascii
import os
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from twin.envelope import EnvelopeError, Reader, sealed_for
from twin.errors import EdgetwinError
from twin.manifest.document import Document
from twin.manifest.kube import Secret
from twin.manifest.kube_fields import SEALED, SENT
from twin.model import Value
from twin.private_file import write_private

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESSIV

KEY_BYTES: Final = 64
CREDENTIAL: Final = "edgetwin-secrets"
"""The name of the systemd credential that is used instead of the key file, where there is one."""


class SecretKeyError(EdgetwinError):
    """The key that Secrets are encrypted with is missing or is another one."""

    code = "secret_key"


class Sealer:
    """Encrypts and decrypts the values of Secrets; the key is read when it is first needed, or made, if ``makes``."""

    def __init__(
        self, key_file: Path, *, credentials: str = "", reader: Reader | None = None, makes: bool = True
    ) -> None:
        self._makes = makes
        self.reader = reader
        """Opens what the cloud has encrypted for this gateway."""
        self._key_file = key_file
        self._credentials = credentials
        self._cipher: AESSIV | None = None

    def keep_key(self) -> None:
        """Make the key now, if there is none. Raises SecretKeyError."""
        self._key(make=True)

    def sealed(self, documents: Iterable[Document]) -> list[Document]:
        """The documents, with every Secret's values encrypted. Raises SecretKeyError."""
        return [self._sealed(one) for one in documents]

    def opened(self, document: Document) -> dict[str, bytes]:
        """The values of a Secret in plain. Raises SecretKeyError."""
        assert isinstance(document.spec, Secret)
        plain = {key: self._plain(text, document, key) for key, text in document.spec.data.items()}
        return plain | {key: text.encode() for key, text in document.spec.string_data.items()}

    def sealed_for(self, public: str, document: Document) -> dict[str, Value]:
        """A Secret with its values encrypted for the reader of a public key. Raises SecretKeyError, EnvelopeError."""
        values = self.opened(document)
        data: dict[str, Value] = {
            key: sealed_for(public, value, _bound_to(document, key)) for key, value in sorted(values.items())
        }
        kept: dict[str, Value] = {key: one for key, one in document.raw.items() if key not in ("data", "stringData")}
        return {**kept, "data": data} if data else kept

    def _plain(self, text: str, document: Document, key: str) -> bytes:
        if text.startswith(SENT):
            if self.reader is None:
                message = f"{document.ref}: the value of {key} is for a gateway"
                raise SecretKeyError(message, remedy="Apply the Secret with its plain value.")
            try:
                return self.reader.opened(text, _bound_to(document, key))
            except EnvelopeError as error:
                message = f"{document.ref}: the value of {key}: {error.message}"
                raise SecretKeyError(message, remedy=error.remedy) from None
        return self._open(text, document, key) if text.startswith(SEALED) else base64.b64decode(text)

    def _sealed(self, document: Document) -> Document:
        spec = document.spec
        if not isinstance(spec, Secret):
            return document
        data: dict[str, str] = {}
        for key, text in spec.data.items():
            data[key] = text if text.startswith((SEALED, SENT)) else self._seal(base64.b64decode(text), document, key)
        for key, text in spec.string_data.items():
            data[key] = self._seal(text.encode(), document, key)
        kept: dict[str, Value] = {key: one for key, one in document.raw.items() if key not in ("data", "stringData")}
        sealed: dict[str, Value] = dict(sorted(data.items()))
        raw = {**kept, "data": sealed} if sealed else kept
        return replace(document, spec=spec.model_copy(update={"data": data, "string_data": {}}), raw=raw)

    def _seal(self, plain: bytes, document: Document, key: str) -> str:
        # The library refuses to encrypt nothing, hence the byte before.
        sealed = self._ready(make=self._makes).encrypt(b"\0" + plain, _bound_to(document, key))
        return SEALED + base64.b64encode(sealed).decode()

    def _open(self, text: str, document: Document, key: str) -> bytes:
        from cryptography.exceptions import InvalidTag  # memory that only who has Secrets should pay

        try:
            sealed = base64.b64decode(text.removeprefix(SEALED), validate=True)
            return self._ready(make=False).decrypt(sealed, _bound_to(document, key))[1:]
        except (InvalidTag, ValueError, binascii.Error):
            message = f"{document.ref}: the value of {key} was not encrypted with the key that is here"
            raise SecretKeyError(message, remedy=f"Apply the Secret again, or restore {self._key_file}.") from None

    def _ready(self, *, make: bool) -> AESSIV:
        if self._cipher is None:
            from cryptography.hazmat.primitives.ciphers.aead import AESSIV  # as above

            self._cipher = AESSIV(self._key(make=make))
        return self._cipher

    def _key(self, *, make: bool) -> bytes:
        credential = Path(self._credentials, CREDENTIAL) if self._credentials else None
        source = credential if credential and credential.exists() else self._key_file
        try:
            key = bytes.fromhex(source.read_text(encoding="ascii").strip())
        except FileNotFoundError:
            if make:
                return self._made_key()
            message = f"the key of the Secrets, {source}, is missing"
            raise SecretKeyError(
                message, remedy="Restore it from where you keep it, or apply the Secrets again."
            ) from None
        except (OSError, ValueError) as error:
            message = f"the key of the Secrets, {source}, cannot be read: {error}"
            raise SecretKeyError(message, remedy="It is 128 hexadecimal digits, readable by the hub.") from None
        if len(key) != KEY_BYTES:
            message = f"the key of the Secrets, {source}, has {len(key)} bytes, not {KEY_BYTES}"
            raise SecretKeyError(message, remedy="It is 128 hexadecimal digits.")
        return key

    def _made_key(self) -> bytes:
        key = os.urandom(KEY_BYTES)
        try:
            self._key_file.parent.mkdir(mode=0o700, exist_ok=True)
            write_private(self._key_file, key.hex() + "\n")
        except OSError as error:
            message = f"the key of the Secrets cannot be written to {self._key_file}: {error.strerror}"
            raise SecretKeyError(message, remedy="Check free space and permissions.") from None
        return key


def _bound_to(document: Document, key: str) -> list[bytes]:
    """What a sealed text belongs to, so that it cannot be moved under another name."""
    return [document.namespace.encode(), document.name.encode(), key.encode()]
