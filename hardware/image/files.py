"""The files that make Debian a gateway. Pure: spec in, files out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from hardware.board import BoardProfile, Boot, PartitionRole, SerialPort
from hardware.image.rauc import rauc_files
from hardware.image.spec import ImageSpec
from hardware.image.units import STATE, UPDATE, USER, hub_unit, provision_unit, update_unit

PROGRAM: Final = "/usr/local/bin/edgetwin"
PROVISIONING: Final = "/boot/esp/edgetwin-provision.yaml"
WATCHDOG_S: Final = 15
JOURNAL: Final = "16M"


@dataclass(frozen=True, slots=True)
class SystemFile:
    """A file of the root file system; its path has no slash in front."""

    path: str
    text: str
    mode: int = 0o644


def system_files(spec: ImageSpec) -> Iterator[SystemFile]:
    """Everything that is written into the root file system, but our own program."""
    yield SystemFile("etc/fstab", _fstab(spec))
    yield SystemFile("etc/hostname", "edgetwin\n")
    yield SystemFile("etc/hosts", "127.0.0.1 localhost edgetwin\n::1 localhost\n")
    yield SystemFile("etc/edgetwin-release", f"BOARD={spec.board.update_string}\nRELEASE={spec.release}\n")
    yield from board_files(spec.board)
    yield SystemFile("etc/systemd/network/80-edgetwin.network", "[Match]\nName=en* eth*\n\n[Network]\nDHCP=yes\n")
    yield SystemFile("etc/nftables.conf", NFTABLES, 0o755)
    yield SystemFile("etc/systemd/system/edgetwin.service", hub_unit(PROGRAM))
    yield SystemFile("etc/systemd/system/edgetwin-update.service", update_unit(PROGRAM))
    yield SystemFile("etc/systemd/system/edgetwin-provision.service", provision_unit(PROGRAM, PROVISIONING))
    yield SystemFile("etc/tmpfiles.d/edgetwin.conf", _TMPFILES)
    yield SystemFile("etc/initramfs-tools/hooks/edgetwin", _HOOK, 0o755)
    yield SystemFile("etc/initramfs-tools/scripts/init-bottom/edgetwin", _init_bottom(spec), 0o755)
    yield SystemFile("etc/initramfs-tools/conf.d/edgetwin", "MODULES=list\nCOMPRESS=zstd\nRESUME=none\n")
    yield SystemFile("usr/local/bin/edgetwin", _LAUNCHER, 0o755)
    yield SystemFile("usr/lib/python3/dist-packages/edgetwin.pth", "/opt/edgetwin/lib\n")
    if spec.board.boot is Boot.UEFI_GRUB:
        yield from (SystemFile(*file) for file in rauc_files(spec))
    if spec.board.modules:
        # In the initramfs: later nobody loads watchdogs, for Debian has them on its list of what is not loaded.
        yield SystemFile("etc/initramfs-tools/modules", "".join(f"{name}\n" for name in spec.board.modules))


def board_files(board: BoardProfile) -> Iterator[SystemFile]:
    """What any system on this board gets: names of ports, the watchdog, a journal that does not wear its storage."""
    yield SystemFile(
        "etc/systemd/journald.conf.d/edgetwin.conf", _section("Journal", Storage="volatile", RuntimeMaxUse=JOURNAL)
    )
    yield SystemFile("etc/udev/rules.d/70-edgetwin.rules", _GPIO + "".join(_rule(one) for one in board.serial))
    if board.watchdog is not None:
        time_s = min(board.watchdog.max_s, WATCHDOG_S)
        text = _section("Manager", RuntimeWatchdogSec=str(time_s), WatchdogDevice=board.watchdog.device)
        yield SystemFile("etc/systemd/system.conf.d/edgetwin.conf", text)


def _fstab(spec: ImageSpec) -> str:
    rows = [
        f"PARTUUID={spec.uuid(one.name)} /boot/esp vfat noatime,nofail,umask=0077,{_SLOW} 0 2"
        for one in spec.board.partitions
        if one.role is PartitionRole.BOOT
    ]
    data = next(one for one in spec.board.partitions if one.role is PartitionRole.DATA)
    rows.append(f"PARTUUID={spec.uuid(data.name)} /data ext4 noatime,commit=30,nofail,{_SLOW} 0 2")
    rows += [
        f"tmpfs {place} tmpfs nosuid,nodev,size={size} 0 0"
        for place, size in (("/tmp", "64M"), ("/var/tmp", "32M"), ("/var/log", "16M"))
    ]
    rows += [
        f"/data/{name} {place} none bind,nofail,x-systemd.requires-mounts-for=/data 0 0"
        for name, place in _kept(spec.board).items()
    ]
    return "\n".join(rows) + "\n"


def _kept(board: BoardProfile) -> dict[str, str]:
    """Folders of data, and where in the system they are seen."""
    bonds = {} if board.bluetooth == "none" else {"bluetooth": "/var/lib/bluetooth"}
    return {"edgetwin": STATE, "edgetwin-update": UPDATE, "systemd": "/var/lib/systemd", **bonds}


def _section(section: str, **keys: str) -> str:
    return "\n".join([f"[{section}]", *(f"{key}={value}" for key, value in keys.items())]) + "\n"


def _rule(port: SerialPort) -> str:
    keys = {"KERNELS", "DRIVERS", "KERNEL"}
    matches = [f'{key}=="{value}"' if key in keys else f'ENV{{{key}}}=="{value}"' for key, value in port.match.items()]
    return ", ".join(['SUBSYSTEM=="tty"', *matches, f'SYMLINK+="gateway/{port.name}"']) + "\n"


_SLOW: Final = "x-systemd.device-timeout=10min"
"""Without its boot partition a gateway does not know which slot is good: a slow machine is waited for."""
_TMPFILES: Final = f"d /run/edgetwin 0700 {USER} {USER}\n"
"""What the hub says of itself every few seconds is for now: in memory it wears no storage."""
_GPIO: Final = f'SUBSYSTEM=="gpio", KERNEL=="gpiochip*", GROUP="{USER}", MODE="0660"\n'
"""Without it GPIO chips are root's alone."""
NFTABLES: Final = """#!/usr/sbin/nft -f
# Closed: nothing is let in but answers. Open what is needed in /etc/nftables.d/*.nft.
table inet edgetwin_filter
delete table inet edgetwin_filter
table inet edgetwin_filter {
  chain input {
    type filter hook input priority filter; policy drop;
    ct state established,related accept
    iif lo accept
    meta l4proto { icmp, icmpv6 } accept
    udp dport { 68, 546 } accept
  }
}
include "/etc/nftables.d/*.nft"
"""

_LAUNCHER: Final = """#!/usr/bin/python3 -sP
from edgehub.cli import main

main()
"""

_DISKS: Final = (
    *("virtio_pci", "virtio_mmio", "virtio_blk", "virtio_scsi", "ahci", "ata_piix", "nvme", "sd_mod"),
    *("xhci_pci", "ehci_pci", "usb_storage", "uas", "mmc_block", "sdhci_pci", "sdhci_acpi"),
    *("crc32c_generic", "ext4", "overlay", "vfat"),
)
"""With these a gateway finds its disk; all that Debian has would make its start slower, and a build much slower."""
_HOOK: Final = f"""#!/bin/sh
[ "$1" = prereqs ] && exit 0
. /usr/share/initramfs-tools/hook-functions
copy_exec /usr/sbin/sfdisk
copy_exec /usr/bin/partx
copy_exec /usr/sbin/resize2fs
copy_exec /usr/sbin/e2fsck
manual_add_modules {" ".join(_DISKS)}
"""


def _init_bottom(spec: ImageSpec) -> str:
    """Before systemd starts: data grows to the end of its disk, and /etc becomes an overlay on it."""
    data = next(one for one in spec.board.partitions if one.role is PartitionRole.DATA)
    number = spec.board.partitions.index(data) + 1
    return f"""#!/bin/sh
[ "$1" = prereqs ] && exit 0
part=$(readlink -f /dev/disk/by-partuuid/{spec.uuid(data.name)}) || exit 0
[ -b "$part" ] || exit 0
name=${{part##*/}}
disk=$(readlink -f "/sys/class/block/$name")
disk=${{disk%/*}}
disk=/dev/${{disk##*/}}
sectors=$(cat "/sys/class/block/${{disk##*/}}/size")
end=$(($(cat "/sys/class/block/$name/start") + $(cat "/sys/class/block/$name/size")))
# 33 sectors at the end are the table's copy, and growing by less than 8 MiB is not worth a change of the table.
if [ $((sectors - 33 - end)) -gt 16384 ]; then
    echo ", +" | sfdisk --quiet --no-reread --no-tell-kernel -N {number} "$disk" && partx --update --nr {number} "$disk"
    e2fsck -fp "$part" >/dev/null
    resize2fs "$part" >/dev/null 2>&1
else
    e2fsck -p "$part" >/dev/null
fi
mkdir -p /data
if mount -t ext4 -o noatime,commit=30 "$part" /data; then
    mkdir -p /data/etc/upper /data/etc/work {" ".join(f"/data/{name}" for name in _kept(spec.board))}
    [ -e /data/edgetwin/run ] || [ -L /data/edgetwin/run ] || ln -s /run/edgetwin /data/edgetwin/run
    mount -t overlay -o lowerdir="$rootmnt/etc",upperdir=/data/etc/upper,workdir=/data/etc/work overlay "$rootmnt/etc"
    mount -n -o move /data "$rootmnt/data"
fi
"""
