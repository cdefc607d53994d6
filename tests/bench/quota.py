"""Processes held to a part of a core by the kernel: cgroup v2, or v1's cpu controller, whichever this machine has."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

_ROOT: Final = Path("/sys/fs/cgroup")
_PERIOD_US: Final = 20_000


@contextmanager
def held_to(cores: float, pids: Sequence[int]) -> Iterator[None]:
    """Each of the processes, by itself, gets so much of a core at most. Raises RuntimeError where that cannot be."""
    made: list[Path] = []
    try:
        for pid in pids:
            group = _base() / f"edgetwin-bench-{os.getpid()}-{pid}"
            try:
                group.mkdir()
                made.append(group)
                _set(group, cores)
                (group / "cgroup.procs").write_text(str(pid))
            except OSError as error:
                message = f"a quota of CPU cannot be set here ({error}); it needs root and a cpu controller"
                raise RuntimeError(message) from error
        yield
    finally:
        for group, pid in zip(made, pids, strict=False):
            if Path(f"/proc/{pid}").exists():
                (group.parent / "cgroup.procs").write_text(str(pid))
            group.rmdir()


def _base() -> Path:
    return _ROOT if (_ROOT / "cgroup.controllers").exists() else _ROOT / "cpu"


def _set(group: Path, cores: float) -> None:
    quota_us = int(cores * _PERIOD_US)
    if (group / "cpu.max").exists():
        (group / "cpu.max").write_text(f"{quota_us} {_PERIOD_US}")
    else:
        (group / "cpu.cfs_period_us").write_text(str(_PERIOD_US))
        (group / "cpu.cfs_quota_us").write_text(str(quota_us))
