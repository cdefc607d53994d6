"""Who answers for an image: a signature over its manifest, which names the block map, which names all the rest."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Final

from cryptography import x509

from hardware.errors import BundleRefused, InvalidImage
from hardware.image.manifest import manifest_path
from hardware.update import signing

_PREFIX: Final = b"edgetwin image 1\n"
"""So that the signature of a manifest is none of a bundle, nor the other way round."""
_MAX_BYTES: Final = 32 * 1024


def signature_path(image: Path) -> Path:
    """Where the signature of an image is kept."""
    return image.with_name(f"{image.name}.sig")


def sign(image: Path, signer: signing.Signer) -> Path:
    """Sign what is there of an image. Raises InvalidImage if it has no manifest, or the signature cannot be written."""
    path = signature_path(image)
    try:
        content = manifest_path(image).read_bytes()
        path.write_text(signer.sign(_PREFIX + content).model_dump_json() + "\n", encoding="utf-8")
    except OSError as error:
        message = f"{image} cannot be signed: {error.strerror or error}"
        raise InvalidImage(
            message, remedy="Its manifest must lie beside it; `edgetwin hardware build` makes both."
        ) from None
    return path


def check(image: Path, authorities: Sequence[x509.Certificate], now: datetime) -> str:
    """Who has signed the manifest of an image. Raises InvalidImage unless one whom an authority allows to."""
    try:
        with signature_path(image).open("rb") as file:
            signature = file.read(_MAX_BYTES)
        return signing.check(_PREFIX + manifest_path(image).read_bytes(), signature, authorities, now)
    except OSError as error:
        message = f"the image {image} is not signed: {Path(error.filename).name}: {error.strerror}"
        raise InvalidImage(message, remedy="Fetch its signature too, or flash without --keyring.") from None
    except BundleRefused as error:
        message = f"the image {image} is not taken: {error.message.replace('the bundle', 'its manifest')}"
        raise InvalidImage(
            message, remedy="Fetch the image from whoever made it, with all that lies beside it."
        ) from None
