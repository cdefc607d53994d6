"""What systemd says of the hub's service: one that has ended need not be waited for."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from typing import Final

UNIT: Final = "edgetwin.service"
LIMIT_S: Final = 10.0
_GONE: Final = frozenset({"auto-restart", "failed"})


@dataclass(frozen=True, slots=True)
class Life:
    """Of the hub. ``ended``: how it did, if it is not there now; ``restarts``: how often systemd started it anew."""

    ended: str = ""
    restarts: int = 0


def life() -> Life:
    """Look once; nothing is said of a hub that systemd does not run."""
    words = ("systemctl", "show", UNIT, "--property=LoadState,SubState,Result,ExecMainStatus,NRestarts")
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=LIMIT_S, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return Life()
    return read_life(done.stdout) if done.returncode == 0 else Life()


def read_life(shown: str) -> Life:
    """What `systemctl show` says. Pure."""
    said = dict(line.split("=", 1) for line in shown.splitlines() if "=" in line)
    if said.get("LoadState") != "loaded":
        return Life()
    count = said.get("NRestarts", "")
    restarts = int(count) if count.isdecimal() else 0
    if said.get("SubState") not in _GONE:
        return Life(restarts=restarts)
    return Life(f"its hub ended: {said.get('Result', '')}, exit code {said.get('ExecMainStatus', '?')}", restarts)
