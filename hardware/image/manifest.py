"""What is in an image, for people and programs: its manifest, and a bill of materials in CycloneDX 1.5."""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Final
from urllib.parse import quote, unquote

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from hardware.errors import InvalidImage
from hardware.image.spec import ImageSpec

_FOR_PEOPLE: Final = ("usr/share/doc/", "usr/share/man/", "usr/share/info/", "usr/share/locale/", "usr/share/lintian/")
_NAMESPACE: Final = uuid.UUID("0c0ffee0-1f8e-4b1a-9a6b-6f1f0a5b7c11")


class Component(BaseModel):
    """A package or library in the image."""

    model_config = ConfigDict(frozen=True)

    kind: str
    """``deb`` or ``pypi``"""
    name: str
    version: str

    @property
    def purl(self) -> str:
        """Its package URL (purl-spec)."""
        space = "debian/" if self.kind == "deb" else ""
        return f"pkg:{self.kind}/{space}{self.name}@{quote(self.version, safe='.-')}"


class TakesProvisioning(BaseModel):
    """Where an image looks for a provisioning file, and which versions of it its release knows."""

    model_config = ConfigDict(frozen=True)

    versions: tuple[int, ...]
    partition: Annotated[int, Field(gt=0)]
    """Its number; it has a FAT."""
    file: str


class ImageManifest(BaseModel):
    """Which image this is."""

    model_config = ConfigDict(frozen=True)

    board: str
    compatible: str
    release: str
    proven: str
    source_date_epoch: int
    image: str
    bytes: int
    sha256: str
    map_sha256: str
    wheels: str
    provisioning: TakesProvisioning | None = None
    """None: of an image that looks for none."""
    inputs: str = ""
    """Names all that it was made of."""
    base_sha256: str = ""
    """Of the vendor's image that it was made of, as it was fetched."""
    components: tuple[Component, ...]


def manifest_path(image: Path) -> Path:
    """Where the manifest of an image is kept."""
    return image.with_name(f"{image.name}.manifest.json")


def read_manifest(image: Path) -> ImageManifest | None:
    """The manifest beside an image; None: it has none. Raises InvalidImage."""
    path = manifest_path(image)
    try:
        return ImageManifest.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValidationError) as error:
        said = error.errors()[0]["msg"] if isinstance(error, ValidationError) else str(error)
        message = f"the manifest {path} cannot be used: {said}"
        raise InvalidImage(message, remedy="Fetch or build the image again, with all that lies beside it.") from None


def components_of(root: Path, wheels: Iterable[Path]) -> tuple[Component, ...]:
    """All packages that dpkg knows in a root file system, but for those that were taken out of it, and all wheels."""
    found = components((root / "var/lib/dpkg/status").read_text(encoding="utf-8"), wheels)
    return tuple(one for one in found if one.kind != "deb" or not _is_taken_out(root, one.name))


def _is_taken_out(root: Path, package: str) -> bool:
    """Whether a package had files besides those for people to read, and none is left."""
    lists = [
        *(root / "var/lib/dpkg/info").glob(f"{package}.list"),
        *(root / "var/lib/dpkg/info").glob(f"{package}:*.list"),
    ]
    paths = [root / line[1:] for one in lists for line in one.read_text(encoding="utf-8").splitlines()]
    counted = [one for one in paths if not one.relative_to(root).as_posix().startswith(_FOR_PEOPLE)]
    there = [one for one in counted if os.path.lexists(one)]
    return len(there) < len(counted) and all(one.is_dir() for one in there)


def components(status: str, wheels: Iterable[Path], debs: Iterable[Path] = ()) -> tuple[Component, ...]:
    """All packages of dpkg's status file and all that are to be installed yet, and all wheels."""
    found = []
    for block in status.split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.splitlines() if ": " in line and not line.startswith(" "))
        if "Package" in fields and "Version" in fields:
            found.append(Component(kind="deb", name=fields["Package"], version=fields["Version"]))
    for deb in debs:
        name, version = deb.name.split("_")[:2]
        found.append(Component(kind="deb", name=name, version=unquote(version)))
    for wheel in wheels:
        name, version = wheel.name.split("-")[:2]
        found.append(Component(kind="pypi", name=name.replace("_", "-").lower(), version=version))
    return tuple(sorted(found, key=lambda one: (one.kind, one.name, one.version)))


def sbom(spec: ImageSpec, components: Iterable[Component]) -> str:
    """The bill of materials; the same for the same components."""
    listed = [
        {"type": "library", "name": one.name, "version": one.version, "purl": one.purl, "bom-ref": one.purl}
        for one in components
    ]
    made = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "serialNumber": f"urn:uuid:{uuid.uuid5(_NAMESPACE, json.dumps([spec.board.name, spec.release, listed]))}",
        "version": 1,
        "metadata": {"component": {"type": "firmware", "name": f"edgetwin-{spec.board.name}", "version": spec.release}},
        "components": listed,
    }
    return json.dumps(made, indent=1) + "\n"
