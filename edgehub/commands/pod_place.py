"""Which pod and container a command means, and where they lie on this gateway."""

from __future__ import annotations

from pathlib import Path

from edgehub.commands.session import folder, hub_client
from edgehub.offline import stored_twins
from edgehub.pods.model import PodId
from edgehub.pods.records import PodFolders, PodRecord, read
from edgehub.state import NotRunning
from twin.errors import EdgetwinError, UnknownTwin
from twin.manifest.kube_fields import Engine
from twin.model import Kind, TwinKey
from twin.wire.api import TwinBody


class NoSuchContainer(EdgetwinError):
    """A container that the pod does not have, or that has to be named."""

    code = "no_such_container"


async def pod_twin(text: str) -> TwinBody:
    """The twin of ``name`` or ``namespace/name``; as the last hub left it if none runs. Raises UnknownTwin."""
    key = pod_key(text)
    try:
        async with hub_client() as client:
            return await client.get(str(key))
    except NotRunning:
        if not folder().registry.exists():
            raise
        twins = stored_twins(folder())
        if key not in twins:
            message = f"{key} is not known here"
            raise UnknownTwin(message, remedy="`edgetwin pods` lists them.") from None
        return twins[key]


def pod_key(text: str) -> TwinKey:
    """The key of ``name`` or ``namespace/name``. Raises InvalidName."""
    return TwinKey.parse(text if text.count("/") == 2 else f"{Kind.POD}/{text if '/' in text else f'default/{text}'}")


def engine_at(place: Path) -> Engine:
    """Which engine runs the container whose folder is ``place``."""
    record = read(PodRecord, place.parent.parent / "pod.json")
    return record.engine if record is not None else Engine.PROCESS


def container_folder(body: TwinBody, container: str) -> Path:
    """Where a container of the pod lies; the only one if none is named. Raises NoSuchContainer."""
    leaf = body.reported.get("containers")
    known = list(leaf.value) if leaf is not None else []
    if container not in known and not (container == "" and len(known) == 1):
        text = f"{body.twin} has no container {container}" if container else f"{body.twin} has several containers"
        raise NoSuchContainer(text, remedy=f"Name one with -c: {', '.join(known) or 'it has none yet'}.")
    key = TwinKey.parse(body.twin)
    pod = PodId(key.namespace, key.name, body.uid)
    return PodFolders(folder().pods).container(pod, container or known[0])
