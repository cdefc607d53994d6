"""An image of Raspberry Pi OS's layout, made here: an MBR, a FAT partition with two files, an ext4 root behind it."""

from __future__ import annotations

import subprocess
import zipfile
from pathlib import Path

MIB = 2**20
BOOT_AT = 4 * MIB
BOOT_BYTES = 36 * MIB
PATH = "/usr/sbin:/sbin:/usr/bin:/bin"
STATUS = """Package: python3
Status: install ok installed
Version: 3.11.2-1+b1

Package: mosquitto
Status: install ok installed
Version: 2.0.11-1.2+deb12u1

Package: nftables
Status: install ok installed
Version: 1.0.6-2+deb12u2

Package: gone
Status: deinstall ok config-files
Version: 1
"""
FILES = {
    "etc/passwd": "root:x:0:0:root:/root:/bin/bash\npi:x:1000:1000::/home/pi:/bin/bash\nz:x:990:990::/:/bin/false\n",
    "etc/group": "root:x:0:\nshadow:x:42:\npi:x:1000:\n",
    "etc/shadow": "root:*:19000:0:99999:7:::\n",
    "etc/gshadow": "root:*::\n",
    "etc/fstab": "proc /proc proc defaults 0 0\nPARTUUID=c0ffee00-01 /boot/firmware vfat defaults 0 2\n"
    "PARTUUID=c0ffee00-02 / ext4 defaults,noatime 0 1\n",
    "var/lib/dpkg/status": STATUS,
    "usr/bin/ping": "#!/bin/true\n",
    "home/pi/notes": "theirs\n",
}
CMDLINE = "console=serial0,115200 console=tty1 root=PARTUUID=c0ffee00-02 rootfstype=ext4 rootwait\n"
CONFIG = "dtparam=audio=on\n[cm4]\notg_mode=1"


def run(*command: str | Path, stdin: bytes = b"") -> bytes:
    done = subprocess.run(command, input=stdin, capture_output=True, timeout=120, check=False, env={"PATH": PATH})
    assert done.returncode == 0, (command, done.stdout, done.stderr)
    return done.stdout


def debugfs(disk: Path, script: str, *, write: bool = False) -> str:
    """Run debugfs on the root of a disk."""
    at = f"{disk}?offset={BOOT_AT + BOOT_BYTES}"
    return run("debugfs", *(("-w",) if write else ()), "-f", "-", at, stdin=script.encode()).decode()


def vendor_image(folder: Path, root_bytes: int = 64 * MIB, files: dict[str, str] = FILES) -> Path:
    """Make one; some files have owners, modes and attributes that must stay."""
    tree = folder / "tree"
    for name, text in files.items():
        path = tree / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    for name in ("opt", "root", "var/lib", "etc/systemd/system", "usr/lib"):
        (tree / name).mkdir(parents=True, exist_ok=True)
    (tree / "lib").symlink_to("usr/lib")
    disk = folder / "vendor.img"
    return assemble(folder, disk, tree, root_bytes)


def assemble(folder: Path, disk: Path, tree: Path, root_bytes: int, cmdline: str = CMDLINE) -> Path:
    """A disk of a tree of files."""
    boot, root = folder / "boot.part", folder / "root.part"
    for path, size in ((boot, BOOT_BYTES), (root, root_bytes), (disk, BOOT_AT + BOOT_BYTES + root_bytes)):
        with path.open("wb") as file:
            file.truncate(size)
    run("mkfs.vfat", "--invariant", "-F", "32", "-s", "1", boot)
    for name, text in (("cmdline.txt", cmdline), ("config.txt", CONFIG)):
        (folder / name).write_text(text)
        run("mcopy", "-i", boot, folder / name, f"::/{name}")
    run("mkfs.ext4", "-q", "-F", "-d", tree, root)
    start, count, behind = BOOT_AT // 512, BOOT_BYTES // 512, (BOOT_AT + BOOT_BYTES) // 512
    script = f"label: dos\nlabel-id: 0xc0ffee00\nstart={start}, size={count}, type=c\n"
    run("sfdisk", "-q", disk, stdin=(script + f"start={behind}, size={root_bytes // 512}, type=83\n").encode())
    with disk.open("r+b") as file:
        file.seek(BOOT_AT)
        file.write(boot.read_bytes())
        with root.open("rb") as part:
            at = BOOT_AT + BOOT_BYTES
            while piece := part.read(MIB):
                if piece.count(0) != len(piece):
                    file.seek(at)
                    file.write(piece)
                at += len(piece)
    return disk


def wheel(folder: Path, name: str = "library", version: str = "1.0") -> Path:
    """A wheel of one module."""
    path = folder / f"{name}-{version}-py3-none-any.whl"
    about = f"{name}-{version}.dist-info"
    with zipfile.ZipFile(path, "w") as made:
        for inside, text in (
            (f"{name}.py", "x = 1\n"),
            (f"{about}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"),
            (f"{about}/WHEEL", "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n"),
            (f"{about}/RECORD", ""),
        ):
            made.writestr(zipfile.ZipInfo(inside, (2020, 1, 1, 0, 0, 0)), text)
    return path
