"""The networks of podman pods: their addresses, and the containers that hold them, whose end ends the network."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final

from edgehub.pods.model import PodId
from edgehub.pods.podman.made import TROUBLE, MadeByPodman
from edgehub.pods.podman.watch import Running, let_go, watch
from edgehub.pods.runtime import HERE
from edgehub.pods.spec import CannotStart

log = logging.getLogger(__name__)

_RUNNING: Final = "running"


class PodNetworks:
    """Watches the network of each pod that has one of its own."""

    def __init__(self, made: MadeByPodman, on_end: Callable[[PodId], None]) -> None:
        self._made = made
        self._on_end = on_end
        self._holders: dict[PodId, Running] = {}
        self._addresses: dict[PodId, str] = {}

    async def address(self, pod: PodId) -> str:
        """A pod's own address, 127.0.0.1 while it is not known."""
        await self.watch(pod)
        return self._addresses.get(pod, HERE)

    async def watch(self, pod: PodId) -> None:
        """Learn the address of a pod of which something runs, and tell when its network has ended."""
        if pod in self._holders:
            return
        try:
            inspected = await self._made.network_of(pod)
        except (CannotStart, *TROUBLE) as error:
            log.debug("the network of %s/%s is not known yet: %s", pod.namespace, pod.name, error)
            return
        if pod in self._holders:
            return
        if inspected is None or inspected.state.status != _RUNNING:
            self._on_end(pod)  # it has ended while no hub looked
            return
        if inspected.address:
            self._addresses[pod] = inspected.address
        self._holders[pod] = Running(pod, "", 0, inspected.state.conmon, inspected.state.pid)
        watch(self._holders[pod], self._on_holder_end)

    def forget(self, pod: PodId) -> None:
        """The pod goes."""
        holder = self._holders.pop(pod, None)
        if holder is not None:
            let_go(holder)
        self._addresses.pop(pod, None)

    def close(self) -> None:
        """Watch none any more."""
        for pod in list(self._holders):
            self.forget(pod)

    def _on_holder_end(self, holder: Running) -> None:
        let_go(holder)
        if self._holders.get(holder.pod) is holder:
            self.forget(holder.pod)
            self._on_end(holder.pod)
