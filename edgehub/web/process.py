"""The dashboard's process: ``python -m edgehub.web.process``, told what to do on standard input by the hub.

It is apart from the hub, so that nothing a browser sends can hold up a device, and it ends when nobody looks.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import logging
import os
import random
import secrets
import socket
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Final

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from edgehub.state import StateFolder
from edgehub.web.folder import USER, WebFolder
from edgehub.web.setup import PageSetup
from twin.client import TwinClient
from twin.errors import EdgetwinError
from twin.link.mqtt import MqttLink
from twin.link.options import LOCAL_RETRY_BASE_S, LOCAL_RETRY_CAP_S, MqttOptions
from twin.page.app import Page
from twin.page.passwords import is_password
from twin.page.sessions import Sessions
from twin.page.site import Visitor
from twin.parent import die_with_parent
from twin.supervisor import PARENT_ENV
from twin.wire.api import StatusReply, TwinBody
from twin.wire.mesh import MeshReply, MeshRequest

FAILED: Final = 5
CONCURRENT: Final = 200
KEEP_ALIVE_S: Final = 10
STOP_S: Final = 2
HEADER_BYTES: Final = 16 * 1024
LOOK_S: Final = 1.0
ASK_S: Final = 5.0

log = logging.getLogger(__name__)


def main() -> None:
    """Serve until SIGTERM, or until nobody has looked for a while."""
    try:
        setup = PageSetup.model_validate_json(sys.stdin.buffer.read())
        die_with_parent(int(os.environ[PARENT_ENV]))
        logging.basicConfig(level=setup.log_level.upper(), format="%(levelname)s %(name)s: %(message)s")
        logging.getLogger("uvicorn.error").setLevel(logging.WARNING)  # the hub says that it starts and ends
        asyncio.run(_serve(setup))
    except EdgetwinError as error:
        sys.stderr.write(f"ERROR dashboard: {error}\n")
        sys.exit(FAILED)


async def _serve(setup: PageSetup) -> None:
    folder = WebFolder(StateFolder(Path(setup.state)).web)
    name = f"edgetwin-web-{secrets.token_hex(6)}"
    options = MqttOptions(
        *(setup.broker_host, setup.broker_port, name, setup.account, setup.password),
        retry_base_s=LOCAL_RETRY_BASE_S,
        retry_cap_s=LOCAL_RETRY_CAP_S,
    )
    async with (
        MqttLink(options, rng=random.Random()) as link,
        TwinClient(link, account=setup.account, client=name, timeout_s=ASK_S) as client,
    ):
        site = GatewaySite(client, setup.gateway, StateFolder(Path(setup.state)))
        sessions = Sessions(lambda: time.time_ns() // 1_000_000, folder.sessions)
        page = Page(site, OneLogin(folder), sessions, names=setup.names, secure=bool(setup.certfile))
        server = uvicorn.Server(_config(page, setup))
        idle = asyncio.create_task(_look_after(server, setup.first_s, setup.idle_s), name="idle")
        try:
            await server.serve(sockets=[socket.socket(fileno=setup.fd)])
        finally:
            idle.cancel()
            await page.close()


def _config(page: Page, setup: PageSetup) -> uvicorn.Config:
    return uvicorn.Config(
        page.app,
        ssl_certfile=setup.certfile or None,
        ssl_keyfile=setup.keyfile or None,
        loop="asyncio",
        http="h11",
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,  # whoever asks would say itself where it comes from
        limit_concurrency=CONCURRENT,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=STOP_S,
        h11_max_incomplete_event_size=HEADER_BYTES,
    )


async def _look_after(server: uvicorn.Server, first_s: float, idle_s: float) -> None:
    """Close connections that ask nothing, and end when there are none for long enough."""
    busy_s = time.monotonic()
    silent: dict[object, float] = {}
    while not server.should_exit:
        await asyncio.sleep(min(LOOK_S, idle_s))
        now_s = time.monotonic()
        open_now = tuple(server.server_state.connections)
        silent = {one: silent.get(one, now_s) for one in open_now if getattr(one, "cycle", None) is None}
        for one, since_s in silent.items():
            if now_s - since_s >= first_s and isinstance(one, H11Protocol):
                one.transport.close()
        if open_now:
            busy_s = now_s
        elif now_s - busy_s >= idle_s:
            server.should_exit = True


class OneLogin:
    """The one login of a gateway, as the file has it now: another password ends every session."""

    def __init__(self, folder: WebFolder) -> None:
        self._folder = folder

    async def admit(self, name: str, secret: str) -> str | None:
        """The holder of a login; None if it is wrong."""
        kept = self._folder.kept()
        right = await asyncio.to_thread(is_password, kept, secret)
        if not (right and name.strip().lower() == USER):
            log.warning("a login to the dashboard was wrong")
            return None
        if hmac.compare_digest(self._folder.unused_password().encode(), secret.encode()):
            with suppress(OSError):
                self._folder.first_password.unlink(missing_ok=True)
        return _holder(kept)

    async def visitor(self, holder: str) -> Visitor | None:
        """Who that is; None once it may come no more."""
        kept = self._folder.kept()
        return Visitor(USER) if kept and hmac.compare_digest(_holder(kept), holder) else None


def _holder(kept: str) -> str:
    return hashlib.sha256(kept.encode()).hexdigest()


class GatewaySite:
    """The gateway that this is."""

    fleet = False

    def __init__(self, client: TwinClient, name: str, state: StateFolder) -> None:
        self._client = client
        self._state = state
        self.name = name

    async def client(self, _: Visitor) -> TwinClient:
        """The one client: the hub knows the dashboard, not who is logged in."""
        return self._client

    async def status(self, _: Visitor) -> StatusReply:
        """How the gateway is."""
        return await self._client.status()

    async def mesh(self, _: Visitor) -> MeshReply:
        """Who calls whom."""
        return await self._client.mesh(MeshRequest(parts=["calls", "traffic"]))

    async def pod_log(self, pod: TwinBody, container: str, lines: int) -> str:
        """The end of what a container has said. Raises NoSuchContainer."""
        from edgehub.pods.container_log import end_of_log  # memory that only who reads logs should pay

        return await asyncio.to_thread(end_of_log, self._state.pods, pod, container, lines)


if __name__ == "__main__":
    main()
