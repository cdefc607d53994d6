"""What a bundle says of itself, and whether a gateway takes it. The rule is pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Final, Literal

from packaging.version import InvalidVersion
from packaging.version import Version as Ordered
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from hardware.errors import BundleRefused
from twin.release import MAX_BUNDLE_BYTES

MAX_FILES: Final = 500
_UNPACKED: Final = 4
"""How many times its size a bundle may be, unpacked."""
APPLICATION: Final = "edgetwin"
"""What an application-only bundle is for: the program alone, on any board of its architecture."""

Version = Annotated[str, Field(pattern=r"^[0-9][0-9A-Za-z.+!]{0,63}$")]
"""As Python's packages have it (PEP 440): releases have an order. It names a folder too."""
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class BundleFile(BaseModel):
    """One file of a bundle."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.+-]{0,199}\.whl$")]
    """A wheel's name; without slashes it cannot lead anywhere."""
    size: Annotated[int, Field(gt=0, le=MAX_BUNDLE_BYTES)]
    sha256: Sha256


class BundleManifest(BaseModel):
    """What is signed. ``files`` are in the order in which they lie in the bundle."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal[1] = 1
    version: Version
    compatible: Annotated[str, Field(min_length=1, max_length=100)]
    """``edgetwin`` for the program alone, else the string of a board."""
    arch: Literal["amd64", "arm64", "armhf", ""] = ""
    python: Annotated[str, Field(pattern=r"^(3\.\d{1,2})?$")] = ""
    """The Python that the wheels are for; empty for images."""
    minimum: Version = "0"
    """The oldest release that may be replaced by this one; older ones need one in between."""
    made_at: Annotated[str, Field(max_length=40)] = ""
    unpacked_bytes: Annotated[int, Field(ge=0, le=_UNPACKED * MAX_BUNDLE_BYTES)] = 0
    files: Annotated[tuple[BundleFile, ...], Field(max_length=MAX_FILES)] = ()

    @field_validator("version", "minimum")
    @classmethod
    def _is_version(cls, version: str) -> str:
        try:
            Ordered(version)
        except InvalidVersion:
            message = f"{version!r} is no version; write 1.2.0 or 1.2.0rc1"
            raise ValueError(message) from None
        return version

    @model_validator(mode="after")
    def _names_differ(self) -> BundleManifest:
        names = {one.name.lower() for one in self.files}
        if len(names) != len(self.files):
            message = "files: two have the same name"
            raise ValueError(message)
        return self

    @property
    def files_bytes(self) -> int:
        """Size of all files together."""
        return sum(one.size for one in self.files)


@dataclass(frozen=True, slots=True)
class Here:
    """What a gateway is, as far as bundles go."""

    compatible: str
    arch: str
    python: str
    version: str
    """What runs."""


def read_manifest(content: bytes) -> BundleManifest:
    """Read a manifest. Raises BundleRefused."""
    try:
        return BundleManifest.model_validate_json(content)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "manifest"
        message = f"the bundle's manifest cannot be used: {where}: {first['msg']}"
        raise BundleRefused(message, remedy="Make it with `edgetwin hardware bundle create` of this release.") from None


def is_older(version: str, than: str) -> bool:
    """Whether a release comes before another. Text that is no version is older than any."""
    return _order(version) < _order(than)


def check_fits(manifest: BundleManifest, here: Here, *, older: str = "") -> None:
    """Raise BundleRefused if this gateway does not take a bundle.

    ``older`` is the one older version that somebody on the gateway has named to go back to.
    """
    why, remedy = _misfit(manifest, here, older)
    if why:
        message = f"the bundle of {manifest.version} is not taken: {why}"
        raise BundleRefused(message, remedy=remedy)


def _misfit(manifest: BundleManifest, here: Here, older: str) -> tuple[str, str]:
    if manifest.compatible != here.compatible:
        what = f"it is for {manifest.compatible}, this is {here.compatible}"
        return what, "Take the bundle of this board."
    if manifest.arch not in ("", here.arch):
        return f"it is for {manifest.arch}, this machine is {here.arch}", "Take the bundle of this architecture."
    if manifest.python not in ("", here.python):
        return f"its wheels are for Python {manifest.python}, here is {here.python}", "Take the bundle of this Python."
    if is_older(manifest.version, here.version) and older != manifest.version:
        remedy = f"To go back on purpose, on the gateway: edgetwin hardware update install --older {manifest.version}"
        return f"it is older than {here.version}, which runs", remedy
    if is_older(here.version, manifest.minimum):
        return f"{here.version} runs, it replaces {manifest.minimum} or newer", "Install a release in between first."
    return "", ""


def _order(version: str) -> Ordered:
    try:
        return Ordered(version)
    except InvalidVersion:
        return Ordered("0.dev0")
