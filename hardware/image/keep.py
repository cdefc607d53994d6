"""Puts a finished image where it was wanted, with all that belongs to it: block map, manifest, bill of materials."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from hardware.errors import InvalidImage
from hardware.flash import blockmap
from hardware.image.manifest import Component, ImageManifest, TakesProvisioning, manifest_path, read_manifest, sbom
from hardware.image.spec import ImageSpec


@dataclass(frozen=True, slots=True)
class Built:
    """Where an image and what belongs to it lie."""

    image: Path
    map: Path
    manifest: Path
    sbom: Path


@dataclass(frozen=True, slots=True)
class Made:
    """An image that is whole, and what is known of it. ``base_sha256``: of the vendor's, if it was made of one."""

    image: Path
    map: blockmap.BlockMap
    takes: TakesProvisioning
    components: tuple[Component, ...]
    base_sha256: str = ""


def places(board: str, out: Path) -> Built:
    """Where the image of a board and what belongs to it go."""
    image = out / f"edgetwin-{board}.img"
    return Built(image, blockmap.map_path(image), manifest_path(image), image.with_name(f"{image.name}.sbom.json"))


def kept(spec: ImageSpec, out: Path, base_sha256: str = "") -> Built | None:
    """The image that is there already, if it was made of the same; else None."""
    built = places(spec.board.name, out)
    try:
        manifest = read_manifest(built.image)
        whole = manifest is not None and manifest.bytes == built.image.stat().st_size and built.map.exists()
    except (InvalidImage, OSError):
        return None
    same = manifest is not None and manifest.inputs == spec.inputs(base_sha256)
    return built if whole and same else None


def keep(spec: ImageSpec, made: Made, out: Path) -> Built:
    """Move an image to its folder, and write what belongs to it."""
    built = places(spec.board.name, out)
    map_text = made.map.model_dump_json()
    manifest = ImageManifest(
        board=spec.board.name,
        compatible=spec.board.update_string,
        release=spec.release,
        proven=spec.board.proven,
        source_date_epoch=spec.epoch_s,
        image=built.image.name,
        bytes=made.map.image_bytes,
        sha256=sha256_of(made.image),
        map_sha256=hashlib.sha256(map_text.encode()).hexdigest(),
        wheels=spec.wheels,
        provisioning=made.takes,
        inputs=spec.inputs(made.base_sha256),
        base_sha256=made.base_sha256,
        components=made.components,
    )
    made.image.replace(built.image)
    built.map.write_text(map_text)
    built.manifest.write_text(manifest.model_dump_json(indent=1) + "\n")
    built.sbom.write_text(sbom(spec, made.components))
    return built


def sha256_of(path: Path) -> str:
    """The hash of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
