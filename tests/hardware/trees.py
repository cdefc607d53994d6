"""Machines with disks, as lsblk would tell of them, each made together with the truth about every disk."""

from __future__ import annotations

import json
import random
from dataclasses import dataclass
from typing import Any

GB = 10**9


@dataclass(frozen=True)
class Truth:
    """What is known of a disk because we made it so: whether it may be written, plainly or when its serial is typed."""

    path: str
    free: bool
    by_serial: bool
    serial: str


@dataclass(frozen=True)
class Machine:
    text: str
    truths: tuple[Truth, ...]


def _row(path: str, kind: str, size: int, numbers: str, **more: Any) -> dict[str, Any]:
    row = {"name": path[5:], "kname": path[5:], "path": path, "type": kind, "size": size, "ro": False, "rm": False}
    row |= {"hotplug": False, "tran": None, "vendor": None, "model": None, "serial": None, "fstype": None}
    return row | {"mountpoints": [None], "maj:min": numbers} | more


USES = (
    ("root", {"mountpoints": ["/"]}),
    ("boot", {"mountpoints": ["/boot/efi"]}),
    ("swap", {"mountpoints": ["[SWAP]"], "fstype": "swap"}),
    ("several", {"mountpoints": [None, "/var/lib/containers", "/"]}),
    ("mounted", {"mountpoints": ["/media/someone/PHOTOS"], "fstype": "exfat"}),
    ("lvm", {"fstype": "LVM2_member"}),
    ("raid", {"fstype": "linux_raid_member"}),
    ("luks", {"fstype": "crypto_LUKS"}),
    ("zfs", {"fstype": "zfs_member"}),
    ("plain", {"fstype": "ext4"}),
    ("empty", {}),
)
FREE_USES = ("plain", "empty")


def machine(rng: random.Random, image_bytes: int) -> Machine:
    """One machine with one to six disks of every sort."""
    rows, truths = [], []
    for number in range(rng.randint(1, 6)):
        path = rng.choice((f"/dev/sd{'abcdef'[number]}", f"/dev/nvme{number}n1", f"/dev/mmcblk{number}"))
        size = rng.choice((image_bytes - 512, image_bytes, 8 * GB, 32 * GB, 256 * GB, 257 * GB, 12_000 * GB))
        read_only, removable = rng.random() < 0.1, rng.random() < 0.6
        serial = rng.choice(("", f"SN{number}{rng.randrange(10**6)}"))
        flags = {"rm": removable and rng.random() < 0.5, "serial": serial or None, "ro": read_only}
        flags["hotplug"] = removable and (not flags["rm"] or rng.random() < 0.5)
        usable = size >= image_bytes and not read_only
        children = []
        on_disk: dict[str, Any] = {}
        for part in range(rng.choice((0, 0, 1, 2, 4))):
            use, said = rng.choice(USES)
            child = _row(f"{path}p{part + 1}", "part", size // 8, f"8:{16 * number + part + 1}", **said)
            if use in ("lvm", "raid", "luks") and rng.random() < 0.7:
                kind = {"lvm": "lvm", "raid": "raid1", "luks": "crypt"}[use]
                mount = rng.choice((None, "/", "/srv"))
                top = _row(f"/dev/mapper/m{number}{part}", kind, size // 9, f"253:{number}", mountpoints=[mount])
                child["children"] = [top]
            usable &= use in FREE_USES
            children.append(child)
        if not children:
            use, on_disk = rng.choice(USES)
            usable &= use in FREE_USES
        rows.append(
            _row(
                path,
                "disk",
                size,
                f"8:{16 * number}",
                **flags,
                **on_disk,
                **({"children": children} if children else {}),
            )
        )
        easy = removable and size <= 256 * GB
        truths.append(Truth(path, usable and easy, usable and (easy or bool(serial)), serial))
    rows.append(_row("/dev/sr0", "rom", 4 * GB, "11:0", rm=True, hotplug=True))
    truths.append(Truth("/dev/sr0", free=False, by_serial=False, serial=""))
    return Machine(json.dumps({"blockdevices": rows}), tuple(truths))
