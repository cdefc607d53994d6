"""What no gateway uses of Debian's kernel and packages: it makes each update smaller."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Final

_DRIVERS: Final = (
    *("accel", "comedi", "crypto/qat", "gpu", "infiniband", "isdn", "media", "nvdimm", "staging", "target"),
    *(f"block/{name}" for name in ("aoe", "drbd", "rnbd")),
    *(
        f"net/ethernet/{name}"
        for name in ("brocade", "cavium", "chelsio", "cisco", "emulex", "fungible", "huawei", "mellanox", "netronome")
    ),
    *(f"net/ethernet/{name}" for name in ("pensando", "qlogic", "sfc", "broadcom/bnx2x")),
    *(
        f"scsi/{name}"
        for name in ("aacraid", "aic7xxx", "be2iscsi", "bfa", "bnx2fc", "bnx2i", "csiostor", "elx", "fnic", "lpfc")
    ),
    *(f"scsi/{name}" for name in ("megaraid", "mpt3sas", "qedf", "qedi", "qla2xxx", "qla4xxx", "smartpqi", "snic")),
)
_FILE_SYSTEMS: Final = (
    *("afs", "befs", "btrfs", "ceph", "coda", "dlm", "ecryptfs", "gfs2", "hfs", "hfsplus", "jfs", "jffs2", "minix"),
    *("nfs", "nfsd", "nilfs2", "ntfs", "ntfs3", "ocfs2", "omfs", "orangefs", "qnx4", "qnx6", "reiserfs", "smb"),
    *("sysv", "ubifs", "udf", "ufs", "xfs"),
)
_NETS: Final = (
    *("appletalk", "atm", "ax25", "batman-adv", "ceph", "dccp", "netrom", "openvswitch", "rds", "rose", "sctp"),
    *("smc", "sunrpc", "tipc", "x25"),
)
MODULES: Final = (
    *(f"drivers/{name}" for name in _DRIVERS),
    *(f"fs/{name}" for name in _FILE_SYSTEMS),
    *(f"net/{name}" for name in _NETS),
    "sound",
    "arch/x86/kvm",
    "virt",
)
"""Folders of kernel modules: for graphics, sound, television, virtual machines, and the storage of data centres."""
FILES: Final = (
    "usr/lib/udev/hwdb.d",
    "usr/share/zoneinfo/right",
    *(f"usr/lib/{arch}-linux-gnu/{name}" for arch in ("x86_64", "aarch64") for name in ("gconv", "perl-base")),
    "usr/share/i18n",
    "usr/lib/python3.11/ensurepip",
    "usr/lib/python3.11/idlelib",
    "usr/lib/python3.11/lib2to3",
    "usr/lib/python3.11/pydoc_data",
)
ARRAYS: Final = ("raid*.ko", "dm-raid.ko", "dm-cache*.ko", "dm-thin-pool.ko", "dm-era.ko", "dm-writecache.ko", "bcache")
"""Of `drivers/md`: a gateway has one disk."""
LIBRARIES: Final = ("_pytest", "pytest", "iniconfig", "tzdata")
"""The kit for those who write mappers, and time zones, which Debian has."""
LEXERS: Final = frozenset({"__init__.py", "_mapping.py", "python.py", "special.py"})
"""Of Pygments: an error is shown in Python's colours, and nothing else is."""


def spared(libraries: Path) -> None:
    """Remove of our libraries what is of use to people at a desk only, before it is compiled."""
    for name in LIBRARIES:
        shutil.rmtree(libraries / name, ignore_errors=True)
        for about in libraries.glob(f"{name}-*.dist-info"):
            shutil.rmtree(about)
    for lexer in (libraries / "pygments/lexers").glob("*.py"):
        if lexer.name not in LEXERS:
            lexer.unlink()


def is_spared(wheel: Path) -> bool:
    """Whether nothing of a wheel stays."""
    return wheel.name.split("-")[0] in LIBRARIES


def trimmed(root: Path, kernel: str) -> None:
    """Remove from a root file system what is named here, as far as it is there."""
    for name in FILES:
        shutil.rmtree(root / name, ignore_errors=True)
    for one in (root / "usr/bin").glob("perl*"):  # no program of the gateway is written in it
        one.unlink()
    for name in MODULES:
        shutil.rmtree(root / "lib/modules" / kernel / "kernel" / name, ignore_errors=True)
    for name in ARRAYS:
        for one in (root / "lib/modules" / kernel / "kernel/drivers/md").glob(name):
            shutil.rmtree(one) if one.is_dir() else one.unlink()
    for one in (*(root / "boot").glob("System.map-*"), root / "usr/lib/udev/hwdb.bin"):  # names of vendors, for people
        one.unlink(missing_ok=True)
