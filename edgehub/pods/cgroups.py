"""Limits of CPU and memory, written into the control groups of this machine: version 2, or the older version 1."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Final

from edgehub.pods.model import Launch, PodId

_PERIOD_US: Final = 100_000


class Cgroups:
    """One group a limited container, below ``edgetwin``. Needs root."""

    def __init__(self, root: Path = Path("/sys/fs/cgroup")) -> None:
        self._root = root
        self._unified = (root / "cgroup.controllers").exists()

    def make(self, launch: Launch) -> list[str]:
        """Make the groups of a container with limits; returns the folders to join. Raises OSError."""
        groups: list[str] = []
        if launch.memory_bytes:
            file = "memory.max" if self._unified else "memory.limit_in_bytes"
            groups.append(self._limit("memory", launch, file, str(launch.memory_bytes)))
        if launch.cpu_milli:
            quota = max(launch.cpu_milli * _PERIOD_US // 1000, 1000)  # the kernel takes 1 ms at least
            file = "cpu.max" if self._unified else "cpu.cfs_quota_us"
            groups.append(self._limit("cpu", launch, file, f"{quota} {_PERIOD_US}" if self._unified else str(quota)))
        return list(dict.fromkeys(groups))

    def was_out_of_memory(self, pod: PodId, container: str) -> bool:
        """Whether the kernel has killed something of the container for its memory."""
        return oom_killed(self._group("memory", pod) / container)

    def remove(self, pod: PodId) -> None:
        """Remove the groups of a pod of which nothing runs."""
        for controller in ("memory", "cpu"):
            group = self._group(controller, pod)
            for container in (one for one in group.glob("*") if one.is_dir()):
                with suppress(OSError):
                    container.rmdir()
            with suppress(OSError):
                group.rmdir()

    def _limit(self, controller: str, launch: Launch, file: str, value: str) -> str:
        pod_group = self._group(controller, launch.pod)
        group = pod_group / launch.container
        group.mkdir(parents=True, exist_ok=True)
        if self._unified:
            for above in (self._root, pod_group.parent, pod_group):
                (above / "cgroup.subtree_control").write_text(f"+{controller}", encoding="ascii")
        (group / file).write_text(value, encoding="ascii")
        return str(group)

    def _group(self, controller: str, pod: PodId) -> Path:
        base = self._root if self._unified else self._root / controller
        return base / "edgetwin" / pod.folder


def oom_killed(group: Path) -> bool:
    """Whether the kernel has killed something in a memory group for its memory."""
    for file in ("memory.events", "memory.oom_control"):
        with suppress(OSError):
            lines = (group / file).read_text(encoding="ascii").splitlines()
            return any(line.startswith("oom_kill ") and not line.endswith(" 0") for line in lines)
    return False


def memory_group(pid: int, root: Path = Path("/sys/fs/cgroup")) -> Path | None:
    """The group that counts the memory of a process."""
    try:
        lines = Path(f"/proc/{pid}/cgroup").read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    for controllers, place in ((line.split(":", 2)[1:]) for line in sorted(lines, reverse=True)):
        if controllers == "memory" or (not controllers and (root / "cgroup.controllers").exists()):
            return root / controllers / place.lstrip("/")
    return None
