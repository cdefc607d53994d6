"""`edgetwin hardware bundle`: make a signed bundle of the program, and look at one."""

from __future__ import annotations

import json
import sys
import tempfile
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Final, Literal, cast

import typer
from packaging.utils import InvalidWheelFilename, parse_wheel_filename
from pydantic import ValidationError

from hardware.cli import told_errors
from hardware.errors import UpdateFailed
from hardware.image import wheels as wheelhouse
from hardware.image.build import Workshop
from hardware.update.bundle import SUFFIX, Trust, described, open_bundle, write_bundle
from hardware.update.manifest import APPLICATION, BundleManifest
from hardware.update.signing import Signer, read_authorities
from twin.show.waiting import waiting

TREE: Final = Path(__file__).resolve().parents[2]
Arch = Literal["amd64", "arm64"]
Json = Annotated[bool, typer.Option("--json", help="One JSON object.")]


def create(
    out: Annotated[Path, typer.Argument(help=f"The bundle to write; its name ends in {SUFFIX}.")],
    keys: Annotated[Path, typer.Option("--keys", help="Folder of `edgetwin hardware keys create`.")],
    arch: Annotated[str, typer.Option("--arch", help="amd64 or arm64: what the program's wheels are for.")] = "amd64",
    wheels: Annotated[
        Path | None, typer.Option("--wheels", help="Folder of wheels to take, instead of fetching those of the lock.")
    ] = None,
    minimum: Annotated[str, typer.Option("--minimum", help="Oldest release that it may replace.")] = "0",
    as_json: Json = False,
) -> None:
    """Make a signed bundle of the program and all it needs, from this checkout.

    Example: edgetwin hardware bundle create edgetwin-1.1.0.edgetwin --keys update-keys
    """
    with told_errors():
        with waiting(f"making {out.name}: wheels, then the signature", quiet=as_json):
            manifest = _of_program(out, keys, arch, wheels, minimum)
        about = {"bundle": str(out), "version": manifest.version, "compatible": manifest.compatible}
        about |= {"arch": manifest.arch, "size": str(out.stat().st_size)}
        _say(about, as_json)


def check(
    bundle: Annotated[Path, typer.Argument(help="A bundle of the program.")],
    ca: Annotated[Path, typer.Option("--ca", help="File of the CAs that count.")],
    as_json: Json = False,
) -> None:
    """Check a bundle as a gateway does: its signature, its size, each of its files. Nothing is changed.

    Exit code 4: it is not one that a gateway with this CA takes.

    Example: edgetwin hardware bundle check edgetwin-1.1.0.edgetwin --ca update-keys/ca.pem
    """
    with told_errors():
        with (
            waiting(f"reading {bundle.name}", quiet=as_json),
            open_bundle(bundle, Trust(read_authorities(ca), datetime.now(UTC))) as opened,
        ):
            opened.check_files()
        manifest = opened.manifest
        about = {"version": manifest.version, "compatible": manifest.compatible, "arch": manifest.arch}
        about |= {"python": manifest.python, "minimum": manifest.minimum, "signed by": opened.signer}
        _say({**about, "files": str(len(manifest.files)), "bytes": str(manifest.files_bytes)}, as_json)


def _of_program(out: Path, keys: Path, arch: str, wheels: Path | None, minimum: str) -> BundleManifest:
    if arch not in ("amd64", "arm64"):
        message = f"--arch {arch}: there are no wheels for it"
        raise UpdateFailed(message, remedy="Write amd64 or arm64.")
    signer = Signer.read(keys / "signing.key", keys / "signing.pem")
    with tempfile.TemporaryDirectory() as folder, _house(wheels, arch, Path(folder)) as house:
        paths = wheelhouse.wheels_of(house)
        try:
            manifest = BundleManifest(
                version=_own_version(paths),
                compatible=APPLICATION,
                arch=cast("Arch", arch),
                python=wheelhouse.PYTHON if wheels is None else f"{sys.version_info.major}.{sys.version_info.minor}",
                minimum=minimum,
                made_at=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
                unpacked_bytes=sum(_unpacked_bytes(path) for path in paths),
                files=tuple(described(path) for path in paths),
            )
        except ValidationError as error:
            first = error.errors()[0]
            message = f"the bundle cannot be described: {'.'.join(map(str, first['loc']))}: {first['msg']}"
            raise UpdateFailed(message, remedy="Check --minimum, and the names of the wheels.") from None
        write_bundle(out, manifest, paths, signer)
    return manifest


@contextmanager
def _house(given: Path | None, arch: str, folder: Path) -> Iterator[Path]:
    """The folder of wheels: the given one, or that of the lock, fetched."""
    if given is not None:
        yield given
        return
    shop = Workshop(TREE, TREE / ".cache/images", folder, int(time.time()))
    with shop.taken(APPLICATION, lambda *_: None) as tools:
        house = shop.cache / f"wheels-{arch}"
        wheelhouse.fetch(tools, TREE, arch, house)
        yield house


def _own_version(paths: list[Path]) -> str:
    for path in paths:
        try:
            name, version, _, _ = parse_wheel_filename(path.name)
        except InvalidWheelFilename as error:
            raise UpdateFailed(str(error), remedy="Put nothing but wheels into the folder.") from None
        if name == APPLICATION:
            return str(version)
    message = "there is no wheel of edgetwin among them"
    raise UpdateFailed(message, remedy="Build one: python -m pip wheel --no-deps --wheel-dir FOLDER .")


def _unpacked_bytes(path: Path) -> int:
    try:
        with zipfile.ZipFile(path) as archive:
            return sum(one.file_size for one in archive.infolist())
    except (OSError, zipfile.BadZipFile) as error:
        message = f"{path} is no wheel: {error}"
        raise UpdateFailed(message, remedy="Fetch it again.") from None


def _say(about: dict[str, str], as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(about))
        return
    for what, value in about.items():
        if value:
            typer.echo(f"{what:11} {value}")
