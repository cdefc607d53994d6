"""The process that speaks with Kubernetes: ``python -m cloudsync.kube.child``, a child of `edgetwin cloud run`."""

from __future__ import annotations

import asyncio
import logging
import secrets
import signal
import sys
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path
from random import Random
from typing import Final
from uuid import uuid4

from cloudsync.api.following import Follower
from cloudsync.hints import Hints
from cloudsync.hub import Hub
from cloudsync.identity.directory import Directory
from cloudsync.kube.bridge import Bridge
from cloudsync.kube.client import connected
from cloudsync.pacing import Pacing
from cloudsync.placing import Placing
from cloudsync.serving import opened, sender
from cloudsync.setup import KubeSetup, read_setup
from cloudsync.store.opening import open_store
from twin.clock import SystemClock
from twin.errors import EdgetwinError
from twin.parent import die_with_parent
from twin.private_file import write_private

FAILED: Final = 5
LOOK_S: Final = 2.0

log = logging.getLogger(__name__)


def main() -> None:
    """Serve until SIGTERM or SIGINT; killed at any time, nothing is lost."""
    failed = False
    try:
        setup = read_setup(KubeSetup)
        die_with_parent(setup.parent_pid)
        logging.basicConfig(level=setup.log_level.upper(), format="%(levelname)s %(name)s: %(message)s")
        logging.getLogger("httpx2").setLevel(logging.WARNING)  # a line a request
        asyncio.run(_serve(setup))
    except* EdgetwinError as group:
        for error in group.exceptions:
            sys.stderr.write(f"ERROR kube: {error}\n")
        failed = True
    if failed:
        sys.exit(FAILED)


async def _serve(setup: KubeSetup) -> None:
    rng = Random()  # jitter, not a secret
    clock = SystemClock()
    store = open_store(setup.store_url, clock)
    async with AsyncExitStack() as stack:
        link = await stack.enter_async_context(setup.links(rng))
        directory = await stack.enter_async_context(Directory.at(setup.store_url))
        client = await stack.enter_async_context(connected(setup.kube.kubeconfig, setup.kube.context))
        stack.push_async_callback(store.close)
        await opened(store, setup.run, rng)
        hub = Hub(
            store,
            send=sender(link),
            hint=Hints(link).changed,
            known=directory.known,
            clock=clock,
            nonce=lambda: secrets.token_hex(8),
            pacing=Pacing(rate_hz=1.0, burst=1, max_wait_s=1.0),  # it is never said Hello to
        )
        stack.push_async_callback(hub.close)
        follower = Follower(store, link)
        stack.push_async_callback(follower.close)
        await follower.open()
        placing = Placing(hub, store, new_uid=lambda: str(uuid4()))
        bridge = Bridge(client, store, placing, follower, setup.kube, known=directory.known, clock=clock, rng=rng)
        telling = asyncio.create_task(_keep_told(Path(setup.trouble), bridge.trouble), name="trouble")
        stack.callback(telling.cancel)
        serving = asyncio.create_task(bridge.run(), name="kube")
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, serving.cancel)
        await asyncio.wait({serving})
        if not serving.cancelled():
            serving.result()


async def _keep_told(place: Path, trouble: Callable[[], str]) -> None:
    """Have the parent know what is wrong, for `edgetwin cloud status`, until cancelled."""
    told = ""
    while True:
        if (now := trouble()) != told:
            try:
                write_private(place, now)
                told = now
            except OSError as error:
                log.debug("what is wrong with the cluster was not written down: %s", error)
        await asyncio.sleep(LOOK_S)


if __name__ == "__main__":
    main()
