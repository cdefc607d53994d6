"""What systemd is elsewhere: ``python service.py FOLDER`` ends the hub of a folder, if one runs, and starts it anew.

FOLDER/command has what to start, a word a line; FOLDER/hub.pid who runs.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

END_S = 20


def stop(folder: Path) -> None:
    try:
        pid = int((folder / "hub.pid").read_text())
        os.kill(pid, signal.SIGTERM)
    except (OSError, ValueError):
        return
    until = time.monotonic() + END_S
    while time.monotonic() < until and _lives(pid):
        time.sleep(0.05)
    if _lives(pid):
        os.kill(pid, signal.SIGKILL)
    (folder / "hub.pid").unlink()


def _lives(pid: int) -> bool:
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False


def main() -> None:
    folder = Path(sys.argv[1])
    stop(folder)
    with (folder / "hub.log").open("ab") as log:
        words = (folder / "command").read_text().splitlines()
        hub = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, cwd="/")
    (folder / "hub.pid").write_text(str(hub.pid))


if __name__ == "__main__":
    main()
