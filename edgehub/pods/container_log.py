"""Where a container of this gateway lies, by the twin of its pod, and the end of what it has said."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from edgehub.pods.cri_log import PlainText
from edgehub.pods.model import PodId
from edgehub.pods.records import PodFolders, PodRecord, read
from twin.errors import EdgetwinError
from twin.manifest.kube_fields import Engine
from twin.model import TwinKey
from twin.wire.api import TwinBody

MOST_BYTES: Final = 256 * 1024
"""Read of the end of each log file."""


class NoSuchContainer(EdgetwinError):
    """A container that the pod does not have, or that has to be named."""

    code = "no_such_container"


def container_folder(pods: Path, body: TwinBody, container: str) -> Path:
    """Where a container of the pod lies; the only one if none is named. Raises NoSuchContainer."""
    leaf = body.reported.get("containers")
    known = list(leaf.value) if leaf is not None and isinstance(leaf.value, dict) else []
    if container not in known and not (container == "" and len(known) == 1):
        text = f"{body.twin} has no container {container}" if container else f"{body.twin} has several containers"
        raise NoSuchContainer(text, remedy=f"Name one with -c: {', '.join(known) or 'it has none yet'}.")
    key = TwinKey.parse(body.twin)
    pod = PodId(key.namespace, key.name, body.uid)
    return PodFolders(pods).container(pod, container or known[0])


def engine_at(place: Path) -> Engine:
    """Which engine runs the container whose folder is ``place``."""
    record = read(PodRecord, place.parent.parent / "pod.json")
    return record.engine if record is not None else Engine.PROCESS


def end_of_log(pods: Path, body: TwinBody, container: str, lines: int) -> str:
    """The last lines of what a container has said, as text. Raises NoSuchContainer."""
    place = container_folder(pods, body, container)
    raw = _end_of(place / "log")
    if raw.count(b"\n") < lines:
        raw = _end_of(place / "log.1") + raw
    if engine_at(place) is Engine.PODMAN:
        raw = PlainText().feed(raw)
    return "\n".join(raw.decode(errors="replace").splitlines()[-lines:])


def _end_of(log: Path) -> bytes:
    try:
        with log.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            file.seek(max(0, size - MOST_BYTES))
            return file.read(MOST_BYTES)
    except OSError:
        return b""
