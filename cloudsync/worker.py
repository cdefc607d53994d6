"""A worker process: ``python -m cloudsync.worker``, told what to do on standard input by `edgetwin cloud run`."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import secrets
import signal
import sys
from importlib.metadata import version
from pathlib import Path
from random import Random
from typing import Final

from cloudsync.api.server import Api
from cloudsync.collector import relax
from cloudsync.duty import on_duty
from cloudsync.identity.directory import Directory
from cloudsync.metrics import WorkerMetrics
from cloudsync.rollout.keeper import Keeper
from cloudsync.scheduler.keeper import scheduler
from cloudsync.serving import Line, WorkerOptions, serving
from cloudsync.setup import WorkerSetup, read_setup
from cloudsync.store.opening import open_store
from twin.clock import SystemClock
from twin.errors import EdgetwinError
from twin.parent import die_with_parent
from twin.sealing import Sealer

FAILED: Final = 5


def main() -> None:
    """Serve until SIGTERM or SIGINT; killed at any time, nothing is lost."""
    try:
        setup = read_setup(WorkerSetup)
        die_with_parent(setup.parent_pid)
        logging.basicConfig(level=setup.log_level.upper(), format="%(levelname)s %(name)s: %(message)s")
        asyncio.run(_serve(setup))
    except EdgetwinError as error:
        sys.stderr.write(f"ERROR worker: {error}\n")
        sys.exit(FAILED)


async def _serve(setup: WorkerSetup) -> None:
    rng = Random()  # jitter, not a secret
    clock = SystemClock()
    store = open_store(setup.store_url, clock)
    options = WorkerOptions(
        name=f"{setup.name}-{os.getpid()}-{secrets.token_hex(4)}",
        run=setup.run,
        hello_rate_hz=setup.sync.hellos_per_second,
        hello_burst=setup.sync.hellos_at_once,
        shared=setup.sync.shared_subscriptions,
        history_days=setup.sync.history_days,
        audit_days=setup.audit.days,
    )
    credentials = os.environ.get("CREDENTIALS_DIRECTORY", "")
    sealer = Sealer(Path(setup.secrets_key), credentials=credentials, makes=False)  # several have one key
    ended = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    async with contextlib.AsyncExitStack() as stack:
        link = await stack.enter_async_context(setup.links(rng))
        directory = await stack.enter_async_context(Directory.at(setup.store_url))
        line, known = Line(link), directory.known
        hub = await stack.enter_async_context(
            serving(link, store, options, known=known, clock=clock, nonce=_nonce, rng=rng, line=line)
        )
        api = Api(
            store,
            hub,
            link,
            clock,
            directory.role,
            new_id=_nonce,
            version=version("edgetwin"),
            known=known,
            worker=options.name,
            sealer=sealer,
        )
        await stack.enter_async_context(api)
        schedules = scheduler(hub, store, sealer, options.name, known=known, clock=clock)
        keeps = Keeper(hub, store, options.name, known=known, clock=clock)
        await stack.enter_async_context(on_duty(schedules))
        await stack.enter_async_context(on_duty(keeps))
        if setup.metrics is not None:
            duties = (schedules.duty, keeps.duty)
            metrics = WorkerMetrics(setup.name, store, hub, line, api.verbs, duties, clock)
            await stack.enter_async_context(metrics.served(*setup.metrics))
        relax()
        await ended.wait()


def _nonce() -> str:
    return secrets.token_hex(8)


if __name__ == "__main__":
    main()
