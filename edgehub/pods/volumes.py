"""The volumes of pods on the gateway: folders, files of ConfigMaps, and files of Secrets in memory only."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Final

from edgehub.pods.model import API_VOLUME, PodId, PodPlan
from edgehub.pods.records import PodFolders
from edgehub.pods.spec import CannotStart, Surroundings, Why, volume_files
from twin.manifest.kube import HostPath, Volume
from twin.manifest.kube_engine import engine_of
from twin.manifest.kube_fields import Engine

MEMORY: Final = Path("/dev/shm")
"""For what must not reach a disk."""


class Volumes:
    """Makes volumes and keeps their files what the documents say. Its methods block."""

    def __init__(self, folders: PodFolders, memory: Path | None = None) -> None:
        self._folders = folders
        self._memory = memory or (MEMORY if _is_memory(MEMORY) else None)

    def place(self, pod: PodId, volume: Volume) -> Path:
        """Where a volume of a pod lies."""
        if volume.host_path is not None:
            return Path(volume.host_path.path)
        if volume.secret is not None and self._memory is not None:
            return self._in_memory(self._memory, pod) / volume.name
        return self._folders.volumes(pod) / volume.name

    def make(self, plan: PodPlan, around: Surroundings) -> None:
        """Make all volumes of a pod, or bring their files up to date. Raises CannotStart, OSError."""
        for volume in plan.volumes:
            place = self.place(plan.id, volume)
            if volume.host_path is not None:
                _check(volume.host_path, place)
                continue
            files = {} if volume.empty_dir is not None else volume_files(plan, volume, around)
            if volume.secret is not None and self._memory is not None:
                place.parent.mkdir(mode=0o700, exist_ok=True)
            # An image may name any user to run as; the folder above is the hub's alone.
            any_user = engine_of(plan.spec) is Engine.PODMAN
            is_open = any_user or volume.secret is None or volume is API_VOLUME
            place.mkdir(mode=0o755 if is_open else 0o700, parents=True, exist_ok=True)
            if volume.empty_dir is None:
                _fill(place, files, 0o644 if volume.secret is None else 0o444 if is_open else 0o400)
            elif any_user:
                place.chmod(0o777)

    def remove(self, pod: PodId) -> None:
        """Remove what is not in the pod's own folder."""
        if self._memory is not None:
            shutil.rmtree(self._in_memory(self._memory, pod), ignore_errors=True)

    def _in_memory(self, memory: Path, pod: PodId) -> Path:
        return memory / f"edgetwin-{pod.folder}"


def _check(volume: HostPath, place: Path) -> None:
    if volume.type == "DirectoryOrCreate":
        place.mkdir(parents=True, exist_ok=True)
    there = {"File": place.is_file, "Directory": place.is_dir}.get(volume.type, place.exists)
    if not there():
        what = {"File": "file", "Directory": "folder"}.get(volume.type, "path")
        text = f"there is no {what} {place} on this gateway"
        raise CannotStart(Why.MOUNT, text, remedy="Make it, or use type: DirectoryOrCreate.")


def _fill(place: Path, files: dict[str, bytes], mode: int) -> None:
    """Make the files of a folder exactly these; a reader sees an old or a new file, never half of one."""
    wanted = {place / name: content for name, content in files.items()}
    for known in [one for one in place.rglob("*") if one.is_file() and one not in wanted]:
        known.unlink()
    for path, content in wanted.items():
        if path.is_file() and path.read_bytes() == content:
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f".{path.name}.part")
        part.touch(mode=0o600)
        part.write_bytes(content)
        part.chmod(mode)
        part.replace(path)


def _is_memory(path: Path) -> bool:
    try:
        lines = Path("/proc/mounts").read_text(encoding="utf-8").splitlines()
    except OSError:
        return False
    return any(line.split(" ")[1:3] == [str(path), "tmpfs"] for line in lines)
