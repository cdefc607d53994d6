"""What a vendor's image gets, beside what the Debian package has. Pure: texts in, texts out."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from hardware.board import BoardProfile, SerialRole
from hardware.debian.files import PROGRAM, UNITS
from hardware.debian.release import HOME
from hardware.errors import BuildFailed
from hardware.image.files import NFTABLES, SystemFile, board_files
from hardware.image.units import STATE, USER, provision_unit
from hardware.provision.file import FILE_NAME

PACKAGES: Final = ("python3", "mosquitto", "nftables")
"""Of Debian, without which the gateway does not work."""
FIRST_BOOT: Final = f"{HOME}/first-boot"
"""Packages that the image lacks; they are installed by the board itself, for only it can run what is in them."""
ENABLED: Final = (
    *("edgetwin.service", "edgetwin-update.service", "edgetwin-provision.service"),
    *("edgetwin-filter.service", "edgetwin-first.service"),
)
_BEGIN: Final = "# edgetwin: from here"
_END: Final = "# edgetwin: to here"
_SERIAL_CONSOLE: Final = re.compile(r"console=(serial\d|ttyS\d|ttyAMA\d)\b")
_SYSTEM_IDS: Final = range(990, 100, -1)


def vendor_files(board: BoardProfile, release: str, boot: str) -> Iterator[SystemFile]:
    """Files of the root file system. ``boot``: where the boot partition is mounted."""
    yield SystemFile("etc/edgetwin-release", f"BOARD={board.update_string}\nRELEASE={release}\n")
    yield from board_files(board)
    yield SystemFile(f"{UNITS}/edgetwin-provision.service", provision_unit(PROGRAM, f"{boot}/{FILE_NAME}"))
    yield SystemFile(f"{UNITS}/edgetwin-filter.service", _FILTER)
    yield SystemFile(f"{UNITS}/edgetwin-first.service", _FIRST)
    yield SystemFile("usr/lib/edgetwin/filter.nft", NFTABLES, 0o755)
    yield SystemFile("usr/lib/edgetwin/first-boot", _FIRST_BOOT, 0o755)
    # systemd sets the clock forward to the time of this file: the saved clock of a board that was never on.
    yield SystemFile("usr/lib/clock-epoch", "")
    if board.modules:
        yield SystemFile("etc/modules-load.d/edgetwin.conf", "".join(f"{name}\n" for name in board.modules))


def boot_folder(fstab: str) -> str:
    """Where the boot partition is mounted, by the image's /etc/fstab. Raises BuildFailed."""
    rows = (line.split() for line in fstab.splitlines() if line.strip() and not line.lstrip().startswith("#"))
    found = [row[1] for row in rows if len(row) > 2 and row[2] == "vfat" and row[1].startswith("/boot")]
    if not found:
        message = "the image's /etc/fstab mounts no boot partition below /boot"
        raise BuildFailed(message, remedy="Is the image of the layout of Raspberry Pi OS?")
    return found[0]


def with_line(text: str, line: str) -> str:
    """A file such as /etc/passwd with one more entry, unless there is one of its name."""
    name = line.partition(":")[0]
    if any(one.partition(":")[0] == name for one in text.splitlines()):
        return text
    return text + ("" if text.endswith("\n") or not text else "\n") + line + "\n"


def user_id(passwd: str, group: str) -> int:
    """The id of our user: its own if it is there, else one that neither a user nor a group has. Raises BuildFailed."""
    rows = [line.split(":") for text in (passwd, group) for line in text.splitlines()]
    own = next((row[2] for row in rows if row[0] == USER and len(row) > 2), "")
    if own.isdecimal():
        return int(own)
    taken = {int(row[2]) for row in rows if len(row) > 2 and row[2].isdecimal()}
    free = next((one for one in _SYSTEM_IDS if one not in taken), None)
    if free is None:
        message = "the image has no number left for a user of the system"
        raise BuildFailed(message, remedy="Start from the vendor's own image, as it was fetched.")
    return free


def user_lines(number: int) -> dict[str, str]:
    """The entries of our user, by file."""
    return {
        "/etc/passwd": f"{USER}:x:{number}:{number}::{STATE}:/usr/sbin/nologin",
        "/etc/group": f"{USER}:x:{number}:",
        "/etc/shadow": f"{USER}:!:19000::::::",
        "/etc/gshadow": f"{USER}:!::",
    }


def kernel_line(text: str, board: BoardProfile) -> str:
    """cmdline.txt: the kernel's arguments in one line. No console on ports that devices are to have."""
    words = text.split()
    if any(port.role is not SerialRole.CONSOLE for port in board.serial):
        words = [one for one in words if not _SERIAL_CONSOLE.match(one)]
    return " ".join([*words, *(one for one in board.kernel_arguments if one not in words)]) + "\n"


def firmware_config(text: str, board: BoardProfile) -> str:
    """config.txt with the board's lines at its end, in place of those that we put there before."""
    kept = re.sub(rf"\n?{_BEGIN}\n.*?{_END}\n", "", text, flags=re.DOTALL)
    if not board.boot_config:
        return kept
    lines = "\n".join((_BEGIN, "[all]", *board.boot_config, _END))
    return f"{kept}{'' if kept.endswith(chr(10)) or not kept else chr(10)}\n{lines}\n"


_FIRST: Final = f"""[Unit]
Description=edgetwin first start: packages
ConditionPathExists={FIRST_BOOT}
After=local-fs.target
Before=edgetwin-filter.service edgetwin-provision.service edgetwin.service network-pre.target
Wants=network-pre.target

[Service]
Type=oneshot
RemainAfterExit=yes
TimeoutStartSec=15min
ExecStart=/usr/lib/edgetwin/first-boot

[Install]
WantedBy=multi-user.target
"""

_FIRST_BOOT: Final = f"""#!/bin/sh
# Once, and again from the start if the power was cut: the packages go when all are installed.
set -e
export DEBIAN_FRONTEND=noninteractive
dpkg --force-confold --install {FIRST_BOOT}/*.deb
sync
rm -r {FIRST_BOOT}
"""

_FILTER: Final = """[Unit]
Description=edgetwin packet filter
After=edgetwin-first.service
Before=network-pre.target
Wants=network-pre.target

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/usr/sbin/nft -f /usr/lib/edgetwin/filter.nft

[Install]
WantedBy=multi-user.target
"""
