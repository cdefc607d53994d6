"""Runs in a guest, from the lab's disk: carries out what the test asks for over a virtio port, one JSON line each way.

test ── unix socket ── qemu ── /dev/virtio-ports/lab ── this
"""

from __future__ import annotations

import json
import os
import subprocess
import threading
from typing import Any

PORT = "/dev/virtio-ports/lab"
_said = threading.Lock()


def main() -> None:
    """Say that it is there, then answer for ever; every command has a thread, so that a slow one stops no other."""
    fd = os.open(PORT, os.O_RDWR)
    _say(fd, {"id": 0, "rc": 0, "out": "", "err": ""})
    rest = b""
    while True:
        got = os.read(fd, 65536)
        *lines, rest = (rest + got).split(b"\n")
        for line in lines:
            threading.Thread(target=_answer, args=(fd, json.loads(line)), daemon=True).start()
        if not got:  # the test is not connected
            threading.Event().wait(0.2)


def _answer(fd: int, asked: dict[str, Any]) -> None:
    try:
        done = subprocess.run(
            asked["words"],
            input=asked["stdin"],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=asked["timeout_s"],
            check=False,
        )
        _say(fd, {"id": asked["id"], "rc": done.returncode, "out": done.stdout, "err": done.stderr})
    except (OSError, subprocess.TimeoutExpired) as error:
        _say(fd, {"id": asked["id"], "rc": -1, "out": "", "err": str(error)})


def _say(fd: int, answer: dict[str, Any]) -> None:
    line = json.dumps(answer).encode() + b"\n"
    with _said:
        while line:
            line = line[os.write(fd, line) :]


if __name__ == "__main__":
    main()
