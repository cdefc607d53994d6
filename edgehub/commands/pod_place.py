"""Which pod and container a command means, and where they lie on this gateway."""

from __future__ import annotations

from pathlib import Path

from edgehub.commands.session import folder, hub_client
from edgehub.offline import stored_twins
from edgehub.pods import container_log
from edgehub.pods.container_log import NoSuchContainer as NoSuchContainer  # what commands raise
from edgehub.pods.container_log import engine_at as engine_at
from edgehub.state import NotRunning
from twin.errors import UnknownTwin
from twin.model import Kind, TwinKey
from twin.wire.api import TwinBody


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


def container_folder(body: TwinBody, container: str) -> Path:
    """Where a container of the pod lies; the only one if none is named. Raises NoSuchContainer."""
    return container_log.container_folder(folder().pods, body, container)
