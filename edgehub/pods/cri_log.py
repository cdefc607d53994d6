"""Logs of containers that podman runs: conmon writes Kubernetes' format, a time and a stream before each line.

2026-11-28T06:25:24.673060483+00:00 stdout F a whole line
2026-11-28T06:25:24.673060483+00:00 stdout P the first part of one
"""

from __future__ import annotations

import os
import re
from contextlib import suppress
from pathlib import Path
from typing import Final

_LINE: Final = re.compile(rb"^\d{4}-\d\d-\d\dT\S+ (?:stdout|stderr) ([FP]) ")
_REOPEN: Final = b"2 0 0\n"
"""What tells a conmon at its ctl to begin its log anew."""


class PlainText:
    """Takes output out of the format, piece by piece; what is not in the format stays as it is."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, chunk: bytes) -> bytes:
        """The output of the lines that the chunk completes."""
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        return b"".join(_plain(line) for line in lines)


def put_aside(log: Path, files: int, bundle: Path) -> None:
    """Begin a log anew, keep ``files`` in all. Blocks. Raises OSError."""
    control = os.open(bundle / "ctl", os.O_WRONLY | os.O_NONBLOCK)
    try:
        for number in range(files - 1, 0, -1):
            older = log if number == 1 else log.with_name(f"{log.name}.{number - 1}")
            with suppress(FileNotFoundError):
                older.rename(log.with_name(f"{log.name}.{number}"))
        os.write(control, _REOPEN)
    finally:
        os.close(control)


def _plain(line: bytes) -> bytes:
    match = _LINE.match(line)
    if match is None:
        return line + b"\n"
    return line[match.end() :] + (b"" if match[1] == b"P" else b"\n")
