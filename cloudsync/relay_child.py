"""The relay's process: ``python -m cloudsync.relay_child``. Told what to do on standard input."""

from __future__ import annotations

import asyncio
import logging
import ssl
import sys
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Final

from cloudsync.brokers import SERVERS
from cloudsync.enrolled import Enrolled
from cloudsync.identity.directory import Directory
from cloudsync.identity.folder import GATEWAYS, CloudFolder
from cloudsync.identity.sql_store import identity_store
from cloudsync.relay import Bounds, Relay
from cloudsync.setup import RelaySetup, read_setup
from mesh.tunnel.identity import RELAY_ALPN
from twin.errors import EdgetwinError
from twin.parent import die_with_parent

FAILED: Final = 5
LOOK_S: Final = 0.5
TIMEOUT_S: Final = 5.0

log = logging.getLogger(__name__)


def main() -> None:
    """Serve until SIGTERM."""
    try:
        setup = read_setup(RelaySetup)
        die_with_parent(setup.parent_pid)
        logging.basicConfig(level=setup.log_level.upper(), format="%(levelname)s %(name)s: %(message)s")
        asyncio.run(_serve(setup))
    except (EdgetwinError, OSError) as error:
        sys.stderr.write(f"ERROR relay: {error}\n")
        sys.exit(FAILED)


class Contexts:
    """The server's TLS, made anew when its certificate was."""

    def __init__(self, folder: CloudFolder) -> None:
        self._folder = folder
        self._stamp = 0
        self._context: ssl.SSLContext | None = None

    def now(self) -> ssl.SSLContext:
        """For the next connection. Raises OSError, ssl.SSLError."""
        certificate = self._folder.certificate(SERVERS)
        stamp = certificate.stat().st_mtime_ns
        if self._context is None or stamp != self._stamp:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.minimum_version = ssl.TLSVersion.TLSv1_3
            context.verify_mode = ssl.CERT_REQUIRED
            context.load_verify_locations(cafile=str(self._folder.certificate(GATEWAYS)))
            context.load_cert_chain(certificate, self._folder.key(SERVERS))
            context.set_alpn_protocols([RELAY_ALPN])
            self._context, self._stamp = context, stamp
        return self._context


async def _serve(setup: RelaySetup) -> None:
    async with AsyncExitStack() as stack:
        store = await stack.enter_async_context(identity_store(setup.store_url))
        directory = await stack.enter_async_context(Directory.at(setup.store_url))
        enrolled = Enrolled(directory, store)
        await enrolled.refresh()
        contexts = Contexts(CloudFolder(Path(setup.state)))
        contexts.now()
        bounds = Bounds(setup.relay.connections, setup.relay.bytes_per_second)
        relay = Relay(contexts.now, enrolled, asyncio.get_running_loop().time, bounds)
        await relay.open(setup.host, setup.port)
        stack.push_async_callback(relay.close)
        log.info("gateways meet at %s:%d", setup.host, setup.port)
        await enrolled.follow(relay.look)


if __name__ == "__main__":
    main()
