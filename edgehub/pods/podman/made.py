"""What the hub has in podman, by pod and container: made, looked at, removed. Names and REST calls end here."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Final

from edgehub.pods.model import Launch, PodDns, PodId
from edgehub.pods.podman.api import PodmanApi, Refused
from edgehub.pods.podman.bodies import (
    CONTAINER,
    UID,
    LogFile,
    Names,
    container_body,
    network_body,
    pod_body,
)
from edgehub.pods.podman.http import ServiceAway
from edgehub.pods.podman.replies import Inspected
from edgehub.pods.podman.service import PodmanService
from edgehub.pods.spec import CannotStart, Why
from twin.manifest.kube import PodSpec
from twin.manifest.kube_engine import has_own_network

log = logging.getLogger(__name__)

TROUBLE: Final = (Refused, ServiceAway, TimeoutError)
"""What any call of podman may raise."""
_PREFIX: Final = "unable to start container process: "
_PAUSES_S: Final = (0.1, 0.3, 1.0)
_CGROUPS: Final = Path("/sys/fs/cgroup")


class MadeByPodman:
    """The containers and pods of one hub in podman."""

    def __init__(
        self, service: PodmanService, names: Names, subnet: str, dns: Callable[[], PodDns | None] = lambda: None
    ) -> None:
        self._dns = dns
        self.names = names
        self.service = service
        self._subnet = subnet
        self._swept = False
        self._sweeping = asyncio.Lock()

    async def opened(self, known: Collection[str]) -> PodmanApi:
        """podman, answering. The first time, what is of no pod with a known uid is removed. Raises CannotStart."""
        api = await self.service.ready()
        async with self._sweeping:
            if not self._swept:
                try:
                    await self._sweep(api, known)
                except TROUBLE as error:
                    raise CannotStart(Why.CREATE, f"podman does not clear what is left: {error}") from None
                self._swept = True
        return api

    async def start(self, api: PodmanApi, launch: Launch, spec: PodSpec, output: LogFile) -> Inspected:
        """Make a container in place of its last run, and start it. Raises CannotStart."""
        name = self.names.container(launch.pod, launch.container)
        why = Why.CREATE
        try:
            if has_own_network(spec) and await api.inspect_pod(self.names.pod(launch.pod)) is None:
                await api.create_network(network_body(self.names.hub, self._subnet))
                await api.create_pod(pod_body(launch.pod, spec, self.names, self._dns()))
            await _removed(api, name)
            await api.create(container_body(launch, spec, output, self.names))
            why = Why.RUN
            await api.start(name)
            inspected = await api.inspect(name)
        except Refused as error:
            with suppress(*TROUBLE):
                await api.remove(name)
            raise CannotStart(why, _bare(error.message)) from None
        except TimeoutError:
            raise CannotStart(why, "podman does not answer in time") from None
        except ServiceAway as error:
            raise CannotStart(why, error.message, remedy=error.remedy) from None
        if inspected is None:
            raise CannotStart(why, "it was removed while it started")
        return inspected

    async def inspect(self, pod: PodId, container: str) -> Inspected | None:
        """What podman knows of a container. Raises CannotStart, and what calls raise."""
        return await (await self.service.ready()).inspect(self.names.container(pod, container))

    async def network_of(self, pod: PodId) -> Inspected | None:
        """The container that holds a pod's network. Raises CannotStart, and what calls raise."""
        api = await self.service.ready()
        made = await api.inspect_pod(self.names.pod(pod))
        return await api.inspect(made.infra) if made is not None and made.infra else None

    async def end(self, pod: PodId, container: str) -> None:
        """Remove a container, whatever it does. Raises CannotStart, and what calls raise."""
        await _removed(await self.service.ready(), self.names.container(pod, container))

    async def remove(self, api: PodmanApi, pod: PodId, containers: Iterable[str]) -> None:
        """Remove all that is a pod's. Raises what calls raise."""
        for container in containers:
            await _removed(api, self.names.container(pod, container))
        made = await api.inspect_pod(self.names.pod(pod))
        if made is not None:
            await api.remove_pod(made.id)
            await asyncio.to_thread(_remove_groups, made.id)

    async def _sweep(self, api: PodmanApi, known: Collection[str]) -> None:
        for listed in await api.containers(self.names.label):
            labels = listed.labels or {}
            if CONTAINER in labels and labels.get(UID) not in known:
                log.warning("the container %s is of no pod, it is removed", listed.id[:12])
                await api.remove(listed.id)
        for pod in await api.pods(self.names.label):
            if (pod.labels or {}).get(UID) not in known:
                await api.remove_pod(pod.id)


async def _removed(api: PodmanApi, name: str) -> None:
    """Remove a container; podman refuses one that ends in the same moment, and takes it the next time."""
    for pause_s in _PAUSES_S:
        try:
            return await api.remove(name)
        except Refused as error:
            log.debug("%s is not removed yet: %s", name, error.message)
        await asyncio.sleep(pause_s)
    return await api.remove(name)


def _bare(message: str) -> str:
    """Why podman refuses, without which of its parts said so to which."""
    return message.rpartition(_PREFIX)[2].split(": OCI runtime", 1)[0]


def _remove_groups(pod: str) -> None:
    """Remove the empty control groups of version 1 that podman leaves behind."""
    for group in _CGROUPS.glob(f"*/libpod_parent/{pod}"):
        with suppress(OSError):
            group.rmdir()
