"""The web process: ``python -m cloudsync.web``. HTTPS for joining, REST and the dashboard; told what to do on stdin."""

from __future__ import annotations

import asyncio
import logging
import random
import secrets
import ssl
import sys
import time
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import uvicorn
from fastapi import FastAPI

from cloudsync.brokers import SERVERS
from cloudsync.bundle_routes import bundle_router
from cloudsync.bundles import BundleFolder
from cloudsync.clients import Clients
from cloudsync.dashboard import add_page, fleet_page
from cloudsync.enrolled import Enrolled
from cloudsync.http_errors import tell_errors
from cloudsync.identity.admin_routes import admin_router
from cloudsync.identity.audit import audit_log
from cloudsync.identity.bearer import Bearer
from cloudsync.identity.directory import Directory
from cloudsync.identity.folder import GATEWAYS, USERS, CloudFolder
from cloudsync.identity.rate import RateLimit
from cloudsync.identity.routes import router
from cloudsync.identity.service import Identities
from cloudsync.identity.sql_store import identity_store
from cloudsync.mosquitto_conf import CIPHERS
from cloudsync.peer_certificate import ShowsCertificate
from cloudsync.rest import refuse_clearly, rest_router
from cloudsync.setup import WebSetup, read_setup
from twin.clock import SystemClock
from twin.errors import EdgetwinError
from twin.parent import die_with_parent

FAILED: Final = 5
CONCURRENT: Final = 500
UNKNOWN_PER_MINUTE: Final = 120
KEEP_ALIVE_S: Final = 10
STOP_S: Final = 3
HEADER_BYTES: Final = 16 * 1024

log = logging.getLogger(__name__)


def main() -> None:
    """Serve until SIGTERM."""
    try:
        setup = read_setup(WebSetup)
        die_with_parent(setup.parent_pid)
        logging.basicConfig(level=setup.log_level.upper(), format="%(levelname)s %(name)s: %(message)s")
        logging.getLogger("uvicorn.error").setLevel(logging.WARNING)  # which would tell people to press CTRL+C
        asyncio.run(_serve(setup))
    except EdgetwinError as error:
        sys.stderr.write(f"ERROR web: {error}\n")
        sys.exit(FAILED)


async def _serve(setup: WebSetup) -> None:
    folder = CloudFolder(Path(setup.state))
    clock = SystemClock()
    gateways = folder.authority(GATEWAYS)
    async with AsyncExitStack() as stack:
        store = await stack.enter_async_context(identity_store(setup.store_url))
        audit = await stack.enter_async_context(audit_log(setup.store_url, clock))
        identities = Identities(
            store,
            gateways,
            folder.authority(USERS),
            servers=setup.servers,
            lives=setup.identity.lives,
            clock=clock,
            audit=audit,
        )
        link = await stack.enter_async_context(setup.links(random.Random()))
        clients = await stack.enter_async_context(Clients(link, f"web-{secrets.token_hex(6)}"))
        app = web_app()
        bearer = Bearer(store, RateLimit(UNKNOWN_PER_MINUTE, time.monotonic))
        app.include_router(rest_router(clients.of, bearer))
        app.include_router(admin_router(identities, store, bearer))
        directory = await stack.enter_async_context(Directory.at(setup.store_url))
        enrolled = Enrolled(directory, store)
        await enrolled.refresh()
        stack.callback(asyncio.create_task(enrolled.follow(), name="revocations").cancel)
        app.include_router(bundle_router(BundleFolder(folder.bundles), enrolled))
        app.include_router(router(identities, RateLimit(setup.joins_per_minute, time.monotonic), gateways.certificate))
        if setup.dashboard:
            title = urlsplit(setup.servers.url).hostname or "cloud"
            page = fleet_page(clients.of, store, title=title, names=setup.dashboard_hosts, sessions=folder.web_sessions)
            stack.push_async_callback(page.close)
            add_page(app, page)
            log.info("the page of the fleet is at %s", setup.servers.url)
        await server(app, setup.host, setup.port, folder).serve()


def web_app() -> FastAPI:
    """An application without routes yet. Its description is at /openapi.json."""
    app = FastAPI(title="edgetwin cloud", docs_url=None, redoc_url=None)
    tell_errors(app)
    refuse_clearly(app)
    return app


def server(app: FastAPI, host: str, port: int, folder: CloudFolder) -> uvicorn.Server:
    """The HTTPS server, with bounds on what strangers may make it hold."""
    config = uvicorn.Config(
        app,
        host=host,
        port=port,
        ssl_certfile=folder.certificate(SERVERS),
        ssl_keyfile=folder.key(SERVERS),
        ssl_ca_certs=folder.certificate(GATEWAYS),
        ssl_cert_reqs=ssl.CERT_OPTIONAL,  # gateways show theirs for bundles, people have none
        ssl_ciphers=CIPHERS,
        http=ShowsCertificate,
        log_config=None,
        access_log=False,
        server_header=False,
        ws="none",
        lifespan="off",
        limit_concurrency=CONCURRENT,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=STOP_S,
        h11_max_incomplete_event_size=HEADER_BYTES,
    )
    return uvicorn.Server(config)


if __name__ == "__main__":
    main()
