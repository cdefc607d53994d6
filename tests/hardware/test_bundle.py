"""Updates of images: what RAUC itself says of good, foreign and damaged ones. Needs rauc and squashfs-tools."""

from __future__ import annotations

import json
import random
import re
import shutil
import subprocess
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import pytest

from hardware.boards import board
from hardware.errors import BuildFailed
from hardware.image.bundle import ROOT, Bundle, Signer, certificates, make_bundle, rauc_manifest
from hardware.image.manifest import ImageManifest
from hardware.image.partitions import MIB, image_bytes, placed
from tests.hardware.needed import needs

pytestmark = needs("rauc", "mksquashfs", "openssl")
EPOCH_S = 1_700_000_000
SYSTEM = random.Random(8).randbytes(MIB)


@dataclass(frozen=True)
class Signed:
    """A bundle, the image that it is of, and who signed it."""

    bundle: Bundle
    image: Path
    signer: Signer


def signer(folder: Path, name: str) -> Signer:
    made = Signer(folder / f"{name}.pem", folder / f"{name}.key")
    words = ("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "30")
    where = ("-subj", f"/CN={name}", "-keyout", made.key, "-out", made.certificate)
    subprocess.run(["openssl", *words, *where], check=True, capture_output=True, timeout=30)
    return made


def image_of(folder: Path) -> Path:
    """An image of the partitions of qemu-x86-64, with something in its first root, and its manifest."""
    profile = board("qemu-x86-64")
    image = folder / "edgetwin-qemu-x86-64.img"
    with image.open("wb") as file:
        file.truncate(image_bytes(profile.partitions))
        file.seek(placed(profile.partitions)[1].offset + 5 * MIB)
        file.write(SYSTEM)
    about = ImageManifest(
        board=profile.name,
        compatible=profile.update_string,
        release="2.0.0",
        proven="vm",
        source_date_epoch=EPOCH_S,
        image=image.name,
        bytes=image.stat().st_size,
        sha256="0" * 64,
        map_sha256="0" * 64,
        wheels="0" * 64,
        components=(),
    )
    image.with_name(f"{image.name}.manifest.json").write_text(about.model_dump_json())
    return image


@pytest.fixture(scope="module")
def signed(tmp_path_factory) -> Signed:
    folder = tmp_path_factory.mktemp("bundle")
    image, who = image_of(folder), signer(folder, "release")
    return Signed(make_bundle(image, who, folder / "update.raucb"), image, who)


def rauc(verb: str, bundle: Path, keyring: Path, *more: str | Path) -> subprocess.CompletedProcess[str]:
    words = ["rauc", f"--keyring={keyring}", verb, *more, bundle]
    if verb == "extract":
        words = ["rauc", f"--keyring={keyring}", verb, bundle, *more]
    return subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)


def copy_with(bundle: Path, place: Path, at: int, piece: bytes) -> Path:
    shutil.copy(bundle, place)
    with place.open("r+b") as file:
        file.seek(at)
        file.write(piece)
    return place


def test_rauc_takes_it_and_says_what_it_is_for(signed: Signed) -> None:
    done = rauc("info", signed.bundle.path, signed.signer.certificate, "--output-format=json")
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout[done.stdout.index("{") :])
    assert (said["compatible"], said["version"]) == ("qemu-x86-64", "2.0.0")
    assert [one["filename"] for image in said["images"] for one in image.values()] == [ROOT]


def test_what_is_in_it_is_the_root_of_the_image(signed: Signed, tmp_path: Path) -> None:
    done = rauc("extract", signed.bundle.path, signed.signer.certificate, tmp_path / "out")
    assert done.returncode == 0, done.stderr
    root = tmp_path / "out" / ROOT
    part = placed(board("qemu-x86-64").partitions)[1]
    assert root.stat().st_size == part.partition.size_bytes
    with root.open("rb") as file:
        file.seek(5 * MIB)
        assert file.read(len(SYSTEM)) == SYSTEM


def test_the_same_image_gives_the_same_content_whoever_signs_it(signed: Signed, tmp_path: Path) -> None:
    again = make_bundle(signed.image, signer(tmp_path, "other"), tmp_path / "again.raucb")

    def content(bundle: Path) -> bytes:
        with bundle.open("rb") as file:
            superblock = file.read(96)
            file.seek(0)
            return file.read(int.from_bytes(superblock[40:48], "little"))  # squashfs: bytes used

    assert content(again.path) == content(signed.bundle.path)


def test_a_foreign_signature_is_refused(signed: Signed, tmp_path: Path) -> None:
    done = rauc("info", signed.bundle.path, signer(tmp_path, "somebody").certificate)
    assert done.returncode != 0
    assert "self-signed certificate" in done.stderr or "issuer certificate" in done.stderr


def test_a_damaged_signature_is_refused(signed: Signed, tmp_path: Path) -> None:
    size = signed.bundle.size_bytes
    bad = copy_with(signed.bundle.path, tmp_path / "bad.raucb", size - 40, b"\0" * 8)
    assert rauc("info", bad, signed.signer.certificate).returncode != 0


def test_a_damaged_payload_is_found_when_it_is_read_not_by_info(signed: Signed, tmp_path: Path) -> None:
    bad = copy_with(signed.bundle.path, tmp_path / "bad.raucb", 2000, b"damage")
    assert rauc("info", bad, signed.signer.certificate).returncode == 0, "the signature covers the hash tree's root"
    assert root_hash(bad, signed) != said_hash(bad, signed), "what the kernel's dm-verity computes while it reads"
    assert root_hash(signed.bundle.path, signed) == said_hash(signed.bundle.path, signed)


def verity_of(bundle: Path, signed: Signed) -> dict[str, str]:
    said = rauc("info", bundle, signed.signer.certificate).stdout
    return dict(re.findall(r"Verity (\w+):\s+'?([0-9a-f]+)'?", said))


def said_hash(bundle: Path, signed: Signed) -> str:
    return verity_of(bundle, signed)["Hash"]


def root_hash(bundle: Path, signed: Signed) -> str:
    """The root of the hash tree over what is in front of it, as the kernel's dm-verity has it."""
    known = verity_of(bundle, signed)
    salt = bytes.fromhex(known["Salt"])
    content = bundle.read_bytes()
    signature = int.from_bytes(content[-8:], "big")
    level = content[: len(content) - 8 - signature - int(known["Size"])]
    while len(level) > 32:
        level = level.ljust(-(-len(level) // 4096) * 4096, b"\0")
        level = b"".join(sha256(salt + level[at : at + 4096]).digest() for at in range(0, len(level), 4096))
    return level.hex()


def test_without_image_or_key_nothing_is_made(signed: Signed, tmp_path: Path) -> None:
    with pytest.raises(BuildFailed, match=r"manifest\.json"):
        make_bundle(tmp_path / "none.img", signed.signer, tmp_path / "out.raucb")
    with pytest.raises(BuildFailed, match="is not there"):
        make_bundle(signed.image, Signer(tmp_path / "no.pem", tmp_path / "no.key"), tmp_path / "out.raucb")
    other = signer(tmp_path, "other")
    with pytest.raises(BuildFailed, match="rauc failed"):
        make_bundle(signed.image, Signer(signed.signer.certificate, other.key), tmp_path / "out.raucb")
    assert not (tmp_path / "out.raucb").exists()


def test_a_keyring_holds_certificates_and_no_key(signed: Signed) -> None:
    assert "BEGIN CERTIFICATE" in certificates(signed.signer.certificate)
    with pytest.raises(BuildFailed, match="no keyring"):
        certificates(signed.signer.key)


def test_the_manifest_names_board_and_release() -> None:
    assert "compatible=pc\nversion=3\n" in rauc_manifest("pc", "3")
