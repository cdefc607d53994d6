"""What lies on disk of each pod, so that any later hub finds it again.

pods/<uid>/pod.json                    what the pod was made from
pods/<uid>/volumes/<name>/             emptyDir, files of ConfigMaps
pods/<uid>/c/<container>/run.json      the number of the run, written before it starts
                         lock          held by the shim while it lives
                         started.json  written by the shim: its pid and the program's
                         exit.json     written by the shim: how the program ended
                         log, log.1    what it said

Of a pod that podman runs there is no lock, the shim is podman's conmon, and the hub writes started.json and exit.json.
"""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ConfigDict, JsonValue, ValidationError

from edgehub.pods.model import PodId
from twin.manifest.kube_fields import Engine

M = TypeVar("M", bound=BaseModel)


class PodRecord(BaseModel):
    """What a pod was made from."""

    model_config = ConfigDict(frozen=True)

    namespace: str
    name: str
    uid: str
    fingerprint: str
    spec: dict[str, JsonValue]
    engine: Engine = Engine.PROCESS

    @property
    def id(self) -> PodId:
        """Which pod it is."""
        return PodId(self.namespace, self.name, self.uid)


class RunRecord(BaseModel):
    """Which run of a container is the last, and how many ends in a row came before it."""

    run: int = 0
    crashes: int = 0


class StartRecord(BaseModel):
    """That a run has begun."""

    run: int
    shim: int
    pid: int
    at: float
    boot: str
    enter: tuple[str, ...] = ()
    """What runs a command in it, followed by options, ``inside`` and the command; empty: as its processes are found."""
    inside: str = ""


class ExitRecord(BaseModel):
    """That a run has ended."""

    run: int
    code: int
    at: float
    boot: str


class PodFolders:
    """Where each thing of each pod lies."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def pod(self, pod: PodId) -> Path:
        """The folder of a pod."""
        return self.path / pod.folder

    def volumes(self, pod: PodId) -> Path:
        """The folder of its volumes."""
        return self.pod(pod) / "volumes"

    def container(self, pod: PodId, name: str) -> Path:
        """The folder of one of its containers."""
        return self.pod(pod) / "c" / name

    def log(self, pod: PodId, name: str) -> Path:
        """What a container has said last."""
        return self.container(pod, name) / "log"

    def records(self, engine: Engine) -> Iterator[PodRecord]:
        """All pods of an engine that are there; what a power cut left in pieces is removed, for nothing of it runs."""
        for folder in sorted(self.path.glob("*/")) if self.path.is_dir() else ():
            record = read(PodRecord, folder / "pod.json")
            if record is not None and record.id.folder == folder.name:
                if record.engine is engine:
                    yield record
            elif folder.name != "images":
                shutil.rmtree(folder, ignore_errors=True)

    def engines(self) -> set[Engine]:
        """The engines of all pods that are there."""
        found = (read(PodRecord, path) for path in self.path.glob("*/pod.json"))
        return {record.engine for record in found if record is not None}

    def write_record(self, record: PodRecord) -> None:
        """Make the folders of a pod. Raises OSError."""
        folder = self.pod(record.id)
        (folder / "volumes").mkdir(mode=0o700, parents=True, exist_ok=True)
        write(folder / "pod.json", record)

    def remove(self, pod: PodId) -> None:
        """Remove all of a pod."""
        folder = self.pod(pod)
        (folder / "pod.json").unlink(missing_ok=True)  # first: what is left without it is removed at the next start
        shutil.rmtree(folder, ignore_errors=True)


def write(path: Path, record: BaseModel) -> None:
    """Write a record, so that a reader sees the old or the new one. Raises OSError.

    It is not forced to disk: after a power cut nothing runs that it could tell of.
    """
    part = path.with_suffix(".part")
    try:
        part.write_text(record.model_dump_json(), encoding="utf-8")
        part.chmod(0o600)
        part.replace(path)
    except OSError:
        part.unlink(missing_ok=True)
        raise


def read(model: type[M], path: Path) -> M | None:
    """Read a record, None if it is missing or in pieces."""
    try:
        return model.model_validate_json(path.read_bytes())
    except (OSError, ValidationError):
        return None


def try_lock(folder: Path) -> int | None:
    """Take the lock of a container; None if its shim lives. Raises OSError."""
    fd = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        return None
    except BaseException:
        os.close(fd)
        raise
    return fd


def boot_id() -> str:
    """Differs after each start of the machine."""
    return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
