"""A bundle of the program: what is signed, the signature, then the wheels, as they come.

    edgetwin-bundle-1 <bytes of manifest> <bytes of signature>\\n
    manifest      JSON, see manifest.py: names, sizes and hashes of all that follows
    signature     JSON, see signing.py: over the manifest
    files         one after another, in the manifest's order, nothing between and nothing after them

There is one way to read it: what is not in the manifest cannot be in the bundle, and names have no slashes.
The signature is checked before any file is looked at.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import BinaryIO, Final

from cryptography import x509

from hardware.errors import BundleRefused, UpdateFailed
from hardware.update import signing
from hardware.update.manifest import BundleFile, BundleManifest, read_manifest

SUFFIX: Final = ".edgetwin"
MAGIC: Final = b"edgetwin-bundle-1"
MAX_HEAD_BYTES: Final = 64
MAX_MANIFEST_BYTES: Final = 256 * 1024
MAX_SIGNATURE_BYTES: Final = 32 * 1024
_PIECE: Final = 1024 * 1024
_REMEDY: Final = "Get the bundle again from whoever made it."


@dataclass(frozen=True, slots=True)
class Trust:
    """Whose bundles are taken, and the time."""

    authorities: Sequence[x509.Certificate]
    now: datetime


@dataclass(frozen=True, slots=True)
class Bundle:
    """An open bundle whose signature is proven."""

    manifest: BundleManifest
    signer: str
    file: BinaryIO
    begins: int
    """Where its files begin."""

    def files(self) -> Iterator[tuple[BundleFile, Iterator[bytes]]]:
        """Each file with its content, which is checked at its end. Raises BundleRefused for what was changed."""
        at = self.begins
        for one in self.manifest.files:
            self.file.seek(at)
            yield one, self._content(one)
            at += one.size

    def check_files(self, told: Callable[[int, int], None] = lambda *_: None) -> None:
        """Read all files. Raises BundleRefused for what was changed."""
        done, of = 0, self.manifest.files_bytes
        for _, content in self.files():
            for piece in content:
                done += len(piece)
                told(done, of)

    def _content(self, one: BundleFile) -> Iterator[bytes]:
        digest, left = hashlib.sha256(), one.size
        while left:
            piece = self.file.read(min(_PIECE, left))
            if not piece:
                break
            digest.update(piece)
            left -= len(piece)
            yield piece
        if left or digest.hexdigest() != one.sha256:
            message = f"{one.name} of the bundle was changed after it was signed, or is damaged"
            raise BundleRefused(message, remedy=_REMEDY)


@contextmanager
def open_bundle(path: Path, trust: Trust) -> Iterator[Bundle]:
    """Open a bundle. Raises BundleRefused unless it is whole in size and signed by one whom the gateway trusts."""
    try:
        file = path.open("rb")
    except OSError as error:
        message = f"{path} cannot be opened: {error.strerror}"
        raise BundleRefused(message, remedy="Name a bundle.") from None
    with file:
        head = file.readline(MAX_HEAD_BYTES)
        words = head.split()
        numbers = [int(word) for word in words[1:] if word.isdigit() and len(word) <= len(str(MAX_MANIFEST_BYTES))]
        if len(words) != 3 or words[0] != MAGIC or len(numbers) != 2 or not head.endswith(b"\n"):
            message = f"{path} is no bundle of edgetwin"
            raise BundleRefused(message, remedy=f"Bundles end in {SUFFIX}, those of images in .raucb.")
        if numbers[0] > MAX_MANIFEST_BYTES or numbers[1] > MAX_SIGNATURE_BYTES:
            message = f"{path} has a manifest or signature that is too large"
            raise BundleRefused(message, remedy=_REMEDY)
        content, signature = file.read(numbers[0]), file.read(numbers[1])
        signer = signing.check(content, signature, trust.authorities, trust.now)
        manifest = read_manifest(content)
        begins = len(head) + sum(numbers)
        size = os.fstat(file.fileno()).st_size
        if size != begins + manifest.files_bytes:
            message = f"{path} has {size} bytes, its manifest says {begins + manifest.files_bytes}"
            raise BundleRefused(message, remedy="It was not copied whole. " + _REMEDY)
        yield Bundle(manifest, signer, file, begins)


def described(path: Path) -> BundleFile:
    """Name, size and hash of a wheel. Raises OSError."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256")
        return BundleFile(name=path.name, size=file.tell(), sha256=digest.hexdigest())


def write_bundle(out: Path, manifest: BundleManifest, files: Sequence[Path], signer: signing.Signer) -> None:
    """Write a bundle; the manifest describes the files. Raises UpdateFailed; what was there before stands then."""
    content = manifest.model_dump_json().encode()
    signature = signer.sign(content).model_dump_json().encode()
    if len(content) > MAX_MANIFEST_BYTES:
        message = f"the manifest has {len(content)} bytes"
        raise UpdateFailed(message, remedy=f"At most {MAX_MANIFEST_BYTES} are read.")
    making = out.with_name(f".{out.name}.making")
    try:
        with making.open("wb") as file:
            file.write(b"%s %d %d\n" % (MAGIC, len(content), len(signature)))
            file.write(content + signature)
            for path in files:
                with path.open("rb") as source:
                    while piece := source.read(_PIECE):
                        file.write(piece)
            file.flush()
            os.fsync(file.fileno())
        making.replace(out)
    except OSError as error:
        making.unlink(missing_ok=True)
        message = f"{out} cannot be written: {error.strerror}"
        raise UpdateFailed(message, remedy="Check free space and permissions.") from None
