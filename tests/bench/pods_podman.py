"""How fast pods of images start by podman: with a network of their own, and in the gateway's."""

from __future__ import annotations

import asyncio
import logging
import os
import subprocess
from pathlib import Path
from statistics import median
from typing import Final

from edgehub.pods.podman.conf import PodmanPlace
from tests.bench.figure import Figure, Scale
from tests.bench.pods import start_ms
from tests.bench.rig import EDGETWIN, api, child, free_port, hub_environment, until
from tests.edgehub.pods.own_podman import IMAGE, busybox_image, missing, removed
from twin.client import TwinClient
from twin.wire.api import ApplyMode, DocumentSource

log = logging.getLogger(__name__)

_TRIES: Final = 10
_POD: Final = """apiVersion: v1
kind: Pod
metadata: {{name: {name}}}
spec:
  terminationGracePeriodSeconds: 0
  hostNetwork: {host_network}
  containers:
  - {{name: app, image: "{image}", command: [sleep, "1000000"]}}
"""
_SAYS: Final = (
    f"median of {_TRIES}, one after the other: apply of a pod sent -> a watcher hears that it runs and is ready"
)


async def figures(scale: Scale) -> list[Figure]:
    """Both kinds of network on one gateway; nothing where podman is not installed."""
    if why := missing():
        log.warning("pods.start.podman is not measured: %s", why)
        return []
    state = scale.folder / "podman-hub"
    place = PodmanPlace.of(state / "podman")
    place.make()
    await asyncio.to_thread(_podman, place, "import", "-", IMAGE, data=busybox_image())
    try:
        own, gateway = await _measured(state)
    finally:
        for words in (("pod", "rm"), ("rm",)):
            await asyncio.to_thread(_podman, place, *words, "--all", "--force", "--time", "0")
        await asyncio.to_thread(removed, place)
    return [
        Figure("pods.start.podman_host", median(gateway), "ms", f"{_SAYS}, hostNetwork", reach=1000, at_most=True),
        Figure("pods.start.podman", median(own), "ms", f"{_SAYS}, a network of its own", reach=1000, at_most=True),
    ]


async def _measured(state: Path) -> tuple[list[float], list[float]]:
    """Milliseconds of each start with a network of its own, and in the gateway's."""
    env = hub_environment(state, port=free_port()) | {"EDGETWIN_PODS_PODMAN_SUBNET": "10.85.250.0/24"}
    with child([*EDGETWIN, "run"], env=env, log=state.with_suffix(".log")) as process:
        async with api(state, process) as client:
            await _start(client, "first", "false")  # the service, and the image of what holds the network, are there
            own = [await _start(client, f"own-{number}", "false") for number in range(_TRIES)]
            gateway = [await _start(client, f"gateway-{number}", "true") for number in range(_TRIES)]
            names = ["first", *(f"{kind}-{number}" for number in range(_TRIES) for kind in ("own", "gateway"))]
            text = "---\n".join(_POD.format(name=name, image=IMAGE, host_network="true") for name in names)
            await client.apply([DocumentSource(name="pods.yaml", text=text)], mode=ApplyMode.DELETE)
            await until(lambda: not list((state / "pods").glob("*/pod.json")), timeout_s=60.0)
    return own, gateway


def _podman(place: PodmanPlace, *words: str, data: bytes = b"") -> None:
    environment = {**os.environ, **place.environment}
    subprocess.run(["podman", *words], env=environment, input=data, check=True, capture_output=True)


async def _start(client: TwinClient, name: str, host_network: str) -> float:
    return await start_ms(client, name, _POD.format(name=name, image=IMAGE, host_network=host_network))
