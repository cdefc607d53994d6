"""The root file system: Debian's packages by mmdebstrap, kept by a hash of what they are; then our files on top."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from hardware.image.files import SystemFile
from hardware.image.spec import SUITE, VARIANT, ImageSpec
from hardware.image.tools import Tools
from hardware.image.trim import trimmed
from hardware.image.units import USER

_LEFT_OUT: Final = ("doc", "man", "info", "locale", "lintian", "bug")
_MERGED: Final = "/usr/share/mmdebstrap/hooks/merged-usr"
_ENABLED: Final = (
    *("edgetwin.service", "edgetwin-update.service", "edgetwin-provision.service", "nftables.service"),
    *("systemd-networkd.service", "systemd-timesyncd.service", "systemd-resolved.service"),
    "edgetwin-dead-man.timer",
)
_MASKED: Final = (
    "mosquitto.service",  # the hub runs its own
    *("e2scrub_reap.service", "e2scrub_all.timer", "systemd-binfmt.service", "systemd-firstboot.service"),
)
"""Nobody needs the rest: no snapshots are scrubbed, no foreign programs run, and there is nobody to be asked."""
_FOLDERS: Final = (
    "data",
    "boot/esp",
    "var/lib/edgetwin",
    "var/lib/edgetwin-update",
    "opt/edgetwin",
    "etc/nftables.d",
    "etc/edgetwin",
)
_LOST: Final = (
    *("etc/machine-id", "var/lib/dbus/machine-id", "etc/ssh", "etc/resolv.conf", "var/cache/apt", "var/lib/apt/lists"),
    *("var/log", "var/cache/debconf", "var/cache/ldconfig", "etc/hostname"),
)
"""What must not be the same on two gateways, or differs in each build."""


def debian(tools: Tools, spec: ImageSpec, cache: Path, sources: Iterable[Path]) -> Path:
    """A tar of Debian's packages; from the cache if it was made before. Raises BuildFailed."""
    cache.mkdir(parents=True, exist_ok=True)
    kept = cache / f"root-{spec.board.arch}-{spec.root_key}.tar"
    if kept.exists():
        return kept
    making = kept.with_suffix(f".{os.getpid()}.making.tar")
    leave_out = [f"--dpkgopt=path-exclude=/usr/share/{name}/*" for name in _LEFT_OUT]
    words = [f"--variant={VARIANT}", "--mode=root", f"--architectures={spec.board.arch}", f"--hook-dir={_MERGED}"]
    words += [f"--include={','.join(spec.packages)}", '--aptopt=APT::Install-Recommends "false"']
    # The initramfs is made once, with our own files in it; to make it twice takes minutes under emulation.
    tools.run("mmdebstrap", *words, *leave_out, SUITE, making, *sources, more={"INITRD": "No"})
    making.replace(kept)
    return kept


def loader(tools: Tools, spec: ImageSpec, cache: Path, sources: Iterable[Path], place: Path) -> Path:
    """The modules of the board's GRUB, whose architecture may not be this machine's. Raises BuildFailed."""
    kept = cache / f"loader-{spec.board.arch}-{'-'.join(spec.loader_packages)}.tar"
    if not kept.exists():
        making = kept.with_suffix(f".{os.getpid()}.making.tar")
        words = ["--variant=extract", "--mode=root", f"--architectures={spec.board.arch}"]
        tools.run("mmdebstrap", *words, f"--include={','.join(spec.loader_packages)}", SUITE, making, *sources)
        making.replace(kept)
    place.mkdir()
    tools.run("tar", "--extract", "--file", kept, "--directory", place, "./usr/lib/grub")
    return place / "usr/lib/grub"


def unpacked(tools: Tools, tar: Path, files: Iterable[SystemFile], place: Path) -> None:
    """Unpack and put our files in; the initramfs is made anew with ours. Needs root: files keep their owners."""
    place.mkdir(parents=True)
    tools.run(
        "tar", "--extract", "--numeric-owner", "--xattrs", "--xattrs-include=*", "--file", tar, "--directory", place
    )
    for name in _LOST:
        path = place / name
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    for name in (*_FOLDERS, "var/log", "var/cache/apt", "var/cache/debconf"):
        (place / name).mkdir(parents=True, exist_ok=True)
    for file in files:
        path = place / file.path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        path.write_text(file.text, encoding="utf-8")
        path.chmod(file.mode)
    (place / "etc/resolv.conf").symlink_to("/run/systemd/resolve/stub-resolv.conf")
    (place / "etc/machine-id").write_text("uninitialized\n")
    chroot = ("chroot", place)
    tools.run(*chroot, "useradd", "--system", "--home-dir", "/var/lib/edgetwin", "--shell", "/usr/sbin/nologin", USER)
    tools.run(*chroot, "chown", f"{USER}:{USER}", "/var/lib/edgetwin", "/etc/edgetwin")
    for unit in _ENABLED:
        if any((place / folder / unit).exists() for folder in ("etc/systemd/system", "lib/systemd/system")):
            tools.run(*chroot, "systemctl", "enable", "--quiet", unit)
    tools.run(*chroot, "systemctl", "mask", "--quiet", *_MASKED)
    (kernel,) = sorted(one.name for one in (place / "lib/modules").iterdir())
    tools.run(*chroot, "systemctl", "disable", "--quiet", "wpa_supplicant.service")  # there is one for each interface
    trimmed(place, kernel)
    tools.run(*chroot, "depmod", kernel)
    _initramfs(tools, tar, place, kernel)
    for name, target in (("vmlinuz", f"boot/vmlinuz-{kernel}"), ("initrd.img", f"boot/initrd.img-{kernel}")):
        (place / name).unlink(missing_ok=True)
        (place / name).symlink_to(target)
    for backup in (place / "etc").glob("*-"):  # of passwd and group, with the time of the build in none of them
        backup.unlink()
    shutil.rmtree(place / "var/log", ignore_errors=True)
    (place / "var/log").mkdir()


def _initramfs(tools: Tools, tar: Path, place: Path, kernel: str) -> None:
    """Make the initramfs, or take the one that was made of the same: it takes long, and under emulation minutes."""
    told = hashlib.sha256(tar.name.encode())
    for name in ("etc/initramfs-tools", "etc/fstab", "etc/modprobe.d", f"lib/modules/{kernel}/modules.dep"):
        for file in sorted([place / name, *(place / name).rglob("*")]):
            if file.is_file():
                told.update(f"{file.relative_to(place)} ".encode() + hashlib.sha256(file.read_bytes()).digest())
    kept = tar.with_name(f"initrd-{told.hexdigest()[:16]}.img")
    made = place / f"boot/initrd.img-{kernel}"
    if kept.exists():
        shutil.copyfile(kept, made)
        return
    tools.run("chroot", place, "update-initramfs", "-c", "-k", kernel)
    making = kept.with_suffix(f".{os.getpid()}.making")
    shutil.copyfile(made, making)
    making.replace(kept)


def at_one_time(place: Path, epoch_s: int) -> None:
    """Give every file the one time of the build."""
    for folder, names, files in os.walk(place, topdown=False):
        for name in (*names, *files):
            os.utime(Path(folder, name), (epoch_s, epoch_s), follow_symlinks=False)
    os.utime(place, (epoch_s, epoch_s))
