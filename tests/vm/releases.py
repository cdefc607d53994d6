"""Later releases of an image, for tests: the same system under another name, whole or broken, as bundles on a disk."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hardware.board import PartitionRole
from hardware.boards import board
from hardware.image.bundle import Signer, make_bundle
from hardware.image.deadman import NAME, SCRIPT, SILENT_S
from hardware.image.manifest import ImageManifest
from hardware.image.partitions import placed
from hardware.image.wheels import name_release

QUICK = 1
"""Of zstd: what a test makes need not be small."""
PROGRAM = "usr/local/bin/edgetwin"
HUB, UPDATER = "run", "agent"
"""The last word of the command that they are."""
SHORT_S = 100
"""A guest without KVM comes up in 50 s."""


def signer(folder: Path, name: str = "release") -> Signer:
    """Who signs, with a certificate that is its own authority."""
    made = Signer(folder / f"{name}.pem", folder / f"{name}.key")
    words = ("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "3650")
    where = ("-subj", f"/CN={name}", "-keyout", made.key, "-out", made.certificate)
    subprocess.run(["openssl", *words, *where], check=True, capture_output=True, timeout=60)
    return made


def bundle_of(image: Path, release: str, who: Signer, out: Path, *, broken: str = "") -> Path:
    """The bundle of the image's system as another release; a broken one has a command that ends at once.

    The dead man's switch of one whose updater is broken waits for less time than a board needs.
    """
    copy = out.with_suffix(".img")
    subprocess.run(["cp", "--sparse=always", image, copy], check=True, timeout=300)
    about = ImageManifest.model_validate_json(image.with_name(f"{image.name}.manifest.json").read_bytes())
    named = about.model_copy(update={"release": release})
    copy.with_name(f"{copy.name}.manifest.json").write_text(named.model_dump_json())
    with _root_of(copy, out.parent) as root:
        release_file = root / "etc/edgetwin-release"
        release_file.write_text(release_file.read_text().replace(f"RELEASE={about.release}", f"RELEASE={release}"))
        name_release(root / "opt/edgetwin/lib", release)
        if broken:
            program = root / PROGRAM
            ends = f'main() if "{broken}" not in __import__("sys").argv else exit(1)\n'
            program.write_text(program.read_text().replace("main()\n", ends))
        if broken == UPDATER:
            for name in (SCRIPT, f"etc/systemd/system/{NAME}.timer"):
                file = root / name
                file.write_text(file.read_text().replace(str(SILENT_S), str(SHORT_S)))
    made = make_bundle(copy, who, out, level=QUICK)
    copy.unlink()
    return made.path


def damaged(bundle: Path, out: Path) -> Path:
    """A copy with a flipped byte in the midst of what is in it, under the same signature."""
    shutil.copy(bundle, out)
    with out.open("r+b") as file:
        at = bundle.stat().st_size // 2
        file.seek(at)
        byte = file.read(1)[0]
        file.seek(at)
        file.write(bytes([byte ^ 1]))
    return out


def disk_of(bundles: list[Path], out: Path) -> Path:
    """A disk that holds these files."""
    tree = out.with_suffix(".tree")
    tree.mkdir()
    for one in bundles:
        os.link(one, tree / one.name)
    size = sum(one.stat().st_size for one in tree.iterdir()) + 64 * 2**20
    with out.open("wb") as file:
        file.truncate(size)
    subprocess.run(["mkfs.ext4", "-q", "-F", "-d", tree, out], check=True, timeout=300)
    shutil.rmtree(tree)
    return out


@contextmanager
def _root_of(image: Path, folder: Path) -> Iterator[Path]:
    place = folder / "root"
    place.mkdir(exist_ok=True)
    root = next(one for one in placed(board("qemu-x86-64").partitions) if one.partition.role is PartitionRole.ROOT)
    options = f"loop,offset={root.offset},sizelimit={root.partition.size_bytes}"
    subprocess.run(["mount", "-t", "ext4", "-o", options, image, place], check=True, timeout=60)
    try:
        yield place
    finally:
        subprocess.run(["umount", place], check=True, timeout=60)
