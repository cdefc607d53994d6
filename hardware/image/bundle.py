"""Makes the update of an image: its system as one file, signed, for RAUC on gateways that run an earlier one.

image ──root-a──> root.ext4 ─┐
                  manifest ──┴─ rauc bundle ──> squashfs | hash tree | signature
"""

from __future__ import annotations

import hashlib
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pydantic import ValidationError

from hardware.board import PartitionRole
from hardware.boards import board as board_of
from hardware.errors import BuildFailed
from hardware.image.manifest import ImageManifest
from hardware.image.partitions import MIB, placed
from hardware.image.tools import Tools

LEVEL: Final = 19
"""Of zstd: it costs the builder two minutes, and the gateway, which decompresses, nothing."""
ROOT: Final = "root.ext4"


@dataclass(frozen=True, slots=True)
class Signer:
    """Who answers for an update: certificate and key, PEM files, and the certificates in between."""

    certificate: Path
    key: Path
    between: tuple[Path, ...] = ()


@dataclass(frozen=True, slots=True)
class Bundle:
    """An update that was made."""

    path: Path
    board: str
    release: str
    size_bytes: int
    sha256: str


def rauc_manifest(compatible: str, release: str) -> str:
    """What RAUC is told of an update. Pure."""
    lines = ["[update]", f"compatible={compatible}", f"version={release}", "", "[bundle]", "format=verity", ""]
    return "\n".join([*lines, "[image.rootfs]", f"filename={ROOT}", ""])


def make_bundle(image: Path, signer: Signer, out: Path, level: int = LEVEL) -> Bundle:
    """Make the update of an image that was built here; ``level``: how much work goes into making it small.

    The system in it is the same for the same image, bit for bit; the signature around it has a time and a salt.
    Raises BuildFailed; a bundle that was there before stands then.
    """
    about = _manifest_of(image)
    board = board_of(about.board)
    for file in (signer.certificate, signer.key, *signer.between):
        if not file.is_file():
            message = f"{file} is not there"
            raise BuildFailed(message, remedy="Name who signs: --cert and --key, both PEM.")
    log = out.with_name(f"{out.name}.log")
    out.parent.mkdir(parents=True, exist_ok=True)
    tools = Tools(log, about.source_date_epoch)
    if missing := tools.missing(("rauc", "mksquashfs")):
        message = f"programs are missing that make a bundle, of {', '.join(missing)}"
        raise BuildFailed(message, remedy=f"As root: apt-get install {' '.join(missing)}")
    root = next(one for one in placed(board.partitions) if one.partition.role is PartitionRole.ROOT)
    with tempfile.TemporaryDirectory(prefix=".bundle-", dir=out.parent) as folder:
        content = Path(folder, "content")
        content.mkdir()
        _cut_out(image, root.offset, root.partition.size_bytes, content / ROOT)
        (content / "manifest.raucm").write_text(rauc_manifest(about.compatible, about.release))
        made = Path(folder, "made.raucb")
        words = ["bundle", f"--cert={signer.certificate}", f"--key={signer.key}"]
        words += [f"--mksquashfs-args=-comp zstd -Xcompression-level {level} -b 1M -no-progress"]
        words += [f"--intermediate={one}" for one in signer.between]
        tools.run("rauc", *words, content, made)
        with made.open("rb") as signed:
            sha256 = hashlib.file_digest(signed, "sha256").hexdigest()
        made.replace(out)
    log.unlink(missing_ok=True)
    return Bundle(out, about.board, about.release, out.stat().st_size, sha256)


def certificates(keyring: Path | None) -> str:
    """The text of a keyring. Raises BuildFailed for a file that is none: the gateway would take no update for ever."""
    if keyring is None:
        return ""
    try:
        text = keyring.read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError) as error:
        message = f"{keyring} cannot be read: {error}"
        raise BuildFailed(message, remedy="Name a file with certificates, PEM.") from None
    if "-----BEGIN CERTIFICATE-----" not in text or "PRIVATE KEY" in text:
        message = f"{keyring} is no keyring: it must hold certificates, and no key"
        raise BuildFailed(message, remedy="Name a file with certificates, PEM.")
    return text


def _manifest_of(image: Path) -> ImageManifest:
    path = image.with_name(f"{image.name}.manifest.json")
    try:
        return ImageManifest.model_validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        message = f"{path}: {error.strerror if isinstance(error, OSError) else 'this is no manifest of an image'}"
        remedy = "Name an image as `edgetwin hardware build` made it, with what lies beside it."
        raise BuildFailed(message, remedy=remedy) from None


def _cut_out(image: Path, offset: int, length: int, out: Path) -> None:
    with image.open("rb") as source, out.open("wb") as made:
        source.seek(offset)
        for at in range(0, length, MIB):
            piece = source.read(min(MIB, length - at))
            if piece.count(0) != len(piece):
                made.seek(at)
                made.write(piece)
        made.truncate(length)
