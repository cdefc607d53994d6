"""Leaves a release on trial whose own updater does not work: nobody would judge it then.

It is a timer of systemd and a script, which need nothing of that release but Debian's shell:

    10 min after power on, then each minute:
    is this slot sure? is there another to go to? did the updater give a sign of life?  ──no──> start anew

The boot loader counts that start like any other, and after the third takes the other slot. Pure.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from hardware.image.units import ALIVE

SILENT_S: Final = 600
"""Longer than the slowest board needs to come up."""
SCRIPT: Final = "usr/local/sbin/edgetwin-dead-man"
NAME: Final = "edgetwin-dead-man"

TIMER: Final = f"""[Unit]
Description=edgetwin dead man's switch

[Timer]
OnBootSec={SILENT_S}
OnUnitInactiveSec=60
AccuracySec=10

[Install]
WantedBy=timers.target
"""
SERVICE: Final = f"""[Unit]
Description=edgetwin dead man's switch

[Service]
Type=oneshot
ExecStart=/bin/sh /{SCRIPT}
"""


def dead_man_files(grubenv: str, tool: str) -> Iterator[tuple[str, str, int]]:
    """Path, text and mode of each file."""
    yield f"etc/systemd/system/{NAME}.timer", TIMER, 0o644
    yield f"etc/systemd/system/{NAME}.service", SERVICE, 0o644
    yield SCRIPT, script(grubenv, tool), 0o755


def script(
    grubenv: str,
    tool: str,
    *,
    alive: str = str(ALIVE),
    cmdline: str = "/proc/cmdline",
    uptime: str = "/proc/uptime",
    restart: str = "systemctl reboot",
) -> str:
    """The script, by the places of what it looks at."""
    return f"""#!/bin/sh
set -eu
case $(cat {cmdline}) in
*rauc.slot=A*) slot=A other=B ;;
*rauc.slot=B*) slot=B other=A ;;
*) exit 0 ;;
esac
state=$(sh {tool} {grubenv} list) || exit 0  # the boot loader could not count either
case $state in *"SURE=$slot"*) exit 0 ;; esac
case $state in *"${{other}}_OK=1"*) ;; *) exit 0 ;; esac
now=$(cut -d. -f1 {uptime})
last=$(cat {alive} 2>/dev/null) || last=0
case $last in '' | *[!0-9]*) last=0 ;; esac
[ $((now - last)) -ge {SILENT_S} ] || exit 0
echo "the release in slot $slot is on trial, and its updater gave no sign of life for $((now - last)) s" >&2
{restart}
"""
