"""What a child may use of memory and processor, held by a control group where there is one, else by resource limits.

    cgroup v2          /sys/fs/cgroup/edgetwin-PID/NAME           memory.max, memory.swap.max, cpu.max
    cgroup v1          <memory>/<own group>/edgetwin-PID/NAME     memory.limit_in_bytes
                       <cpu>/<own group>/edgetwin-PID/NAME        cpu.cfs_quota_us
    resource limits    RLIMIT_DATA, and a nice value instead of a quota

The child enters its group before it runs code of others. Control groups need root.
"""

from __future__ import annotations

import contextlib
import logging
import os
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from mappers.sdk.confine import Confinement

log = logging.getLogger(__name__)

CGROUPS: Final = Path("/sys/fs/cgroup")
NICE: Final = 10

_PERIOD_US: Final = 100_000
_REMOVE_S: Final = 1.0  # the kernel frees a group a moment after its last process


@dataclass(frozen=True, slots=True)
class Limits:
    """The most that a child may use; ``cpu`` in cores."""

    memory_bytes: int
    cpu: float


@dataclass(frozen=True, slots=True)
class Cell:
    """Limits in force for one child. ``text`` says what holds them."""

    text: str
    confinement: Confinement
    folders: tuple[Path, ...] = ()
    ooms: Path | None = field(default=None)
    """File in which the kernel counts processes that it ended for want of memory."""

    def oom_kills(self) -> int:
        """How often the kernel ended a process for want of memory, as far as is known."""
        if self.ooms is None:
            return 0
        with contextlib.suppress(OSError, ValueError):
            counts = dict(line.split()[:2] for line in self.ooms.read_text().splitlines())
            return int(counts.get("oom_kill", 0))
        return 0

    def close(self) -> None:
        """Remove the groups; the child has ended."""
        ends_at = time.monotonic() + _REMOVE_S
        for folder in self.folders:
            while True:
                try:
                    folder.rmdir()
                except FileNotFoundError:
                    break
                except OSError as error:
                    if time.monotonic() >= ends_at:
                        log.warning("%s was not removed: %s", folder, error.strerror)
                        break
                    time.sleep(0.01)
                    continue
                break
            with contextlib.suppress(OSError):
                folder.parent.rmdir()  # the last one takes ours with it


def confine(name: str, limits: Limits, root: Path = CGROUPS, own_groups: str | None = None) -> Cell:
    """Make what holds the limits of a child. ``own_groups`` is the text of /proc/self/cgroup."""
    for make in (_second, _first):
        try:
            cell = make(name, limits, root, Path("/proc/self/cgroup").read_text() if own_groups is None else own_groups)
        except OSError as error:
            log.debug("no control group for %s: %s", name, error)
            continue
        if cell is not None:
            return cell
    memory, cpu = _words(limits)
    text = f"resource limits: data {memory}, nice {NICE} in place of {cpu}"
    return Cell(text, Confinement(memory_bytes=limits.memory_bytes, nice=NICE))


def _second(name: str, limits: Limits, root: Path, own_groups: str) -> Cell | None:  # noqa: ARG001  # the other's seam
    controllers = root / "cgroup.controllers"
    if not controllers.exists() or not {"memory", "cpu"} <= set(controllers.read_text().split()):
        return None
    ours = root / _ours()
    for folder in (root, ours):
        folder.mkdir(exist_ok=True)
        _write(folder / "cgroup.subtree_control", "+memory +cpu")
    cell = ours / name
    cell.mkdir(exist_ok=True)
    _write(cell / "memory.max", str(limits.memory_bytes))
    with contextlib.suppress(OSError):  # a kernel without swap accounting
        _write(cell / "memory.swap.max", "0")
    _write(cell / "cpu.max", f"{round(limits.cpu * _PERIOD_US)} {_PERIOD_US}")
    return _cell("cgroup v2", limits, (cell,), cell / "memory.events")


def _first(name: str, limits: Limits, root: Path, own_groups: str) -> Cell | None:
    paths = {}
    for line in own_groups.splitlines():
        _, controllers, path = line.split(":", 2)
        for controller in controllers.split(","):
            paths[controller] = path.strip("/")
    folders = []
    for controller in ("memory", "cpu"):
        base = root / controller
        if not (base / "cgroup.procs").exists():
            return None
        if (base / paths.get(controller, "")).is_dir():  # else it lies outside of what we are shown
            base = base / paths.get(controller, "")
        folder = base / _ours() / name
        folder.mkdir(parents=True, exist_ok=True)
        folders.append(folder)
    memory, cpu = folders
    _write(memory / "memory.limit_in_bytes", str(limits.memory_bytes))
    with contextlib.suppress(OSError):  # a kernel without swap accounting
        _write(memory / "memory.memsw.limit_in_bytes", str(limits.memory_bytes))
    _write(cpu / "cpu.cfs_period_us", str(_PERIOD_US))
    _write(cpu / "cpu.cfs_quota_us", str(max(1000, round(limits.cpu * _PERIOD_US))))
    return _cell("cgroup v1", limits, (memory, cpu), memory / "memory.oom_control")


def _cell(kind: str, limits: Limits, folders: tuple[Path, ...], ooms: Path) -> Cell:
    memory, cpu = _words(limits)
    enter = tuple(str(folder / "cgroup.procs") for folder in folders)
    return Cell(f"{kind}: memory {memory}, {cpu}", Confinement(enter=enter), folders, ooms)


def _ours() -> str:
    return f"edgetwin-{os.getpid()}"


def _words(limits: Limits) -> tuple[str, str]:
    return f"{limits.memory_bytes / 2**20:g} MiB", f"cpu {limits.cpu:g}"


def _write(path: Path, text: str) -> None:
    path.write_text(text)
