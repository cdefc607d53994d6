"""The process of the pushes: ``python -m edgehub.push.process``, told what to do on standard input by the hub.

It is apart from the hub, so that no other system can hold up a device, and no library of one takes the hub's memory.
It reads the queues, which the hub writes, and writes how far they are delivered, which the hub reads.
"""

from __future__ import annotations

import asyncio
import logging
import os
import random
import signal
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from edgehub.push.control import TestReply, serve_tests
from edgehub.push.sender import Sender
from edgehub.push.setup import PushesSetup
from edgehub.push.target import Delivered, Later, Outcome, Reading
from edgehub.state import StateFolder
from mappers.sdk.beat import beat
from twin.clock import Clock, SystemClock
from twin.errors import EdgetwinError
from twin.link.backoff import Backoff
from twin.parent import die_with_parent
from twin.sqlite_outbound_reader import OutboundReader
from twin.sqlite_progress import Progress, ProgressFile
from twin.supervisor import PARENT_ENV

FAILED: Final = 5
RETRY_BASE_S: Final = 0.5
TEST_NAME: Final = "edgetwin-test"

log = logging.getLogger(__name__)


def main() -> None:
    """Deliver until SIGTERM."""
    try:
        setup = PushesSetup.model_validate_json(sys.stdin.buffer.read())
        die_with_parent(int(os.environ[PARENT_ENV]))
        logging.basicConfig(level=setup.log_level.upper(), format="%(levelname)s %(name)s: %(message)s")
        logging.getLogger("httpx").setLevel(logging.WARNING)  # it says each request
        asyncio.run(_deliver(setup, SystemClock()))
    except EdgetwinError as error:
        sys.stderr.write(f"ERROR push: {error}\n")
        sys.exit(FAILED)


async def _deliver(setup: PushesSetup, clock: Clock) -> None:
    folder = StateFolder(Path(setup.state))
    file = ProgressFile(folder.pushes)
    file.open()
    try:
        senders = _senders(setup, folder, file, clock)
        stop = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one.run(), name=f"push {name}") for name, one in senders.items()]
            tasks.append(group.create_task(serve_tests(folder.run, _Tests(senders, clock)), name="tests of pushes"))
            tasks.append(group.create_task(beat(setup.watchdog_s), name="beat"))
            await stop.wait()
            for task in tasks:
                task.cancel()
    finally:
        file.close()


def _senders(setup: PushesSetup, folder: StateFolder, file: ProgressFile, clock: Clock) -> dict[str, Sender]:
    file.keep_only({one.queue for one in setup.pushes})
    known, rng = file.load(), random.Random()
    top = OutboundReader(folder.database).last_tick()
    senders: dict[str, Sender] = {}
    for one in setup.pushes:
        progress = begun(known.get(one.queue), one.name, top)
        if progress != known.get(one.queue):
            file.put(one.queue, progress)  # before the hub deletes by a place that is not this push's
        backoff = Backoff(RETRY_BASE_S, setup.retry_cap_s, rng)
        reader = OutboundReader(folder.database)
        senders[one.name] = Sender(one, setup.gateway, reader, file, progress, clock=clock, backoff=backoff)
    return senders


def begun(known: Progress | None, name: str, top: int) -> Progress:
    """Where a push goes on. Another's place is not its own, nor is one beyond the last tick: its store was lost."""
    if known is None or known.name != name:
        return Progress(name)
    if known.cursor <= top:
        return known
    return Progress(name, cursor=top, sent=known.sent, aside=known.aside, lost=known.lost, last_ms=known.last_ms)


class _Tests:
    """Sends a reading that no device has made."""

    def __init__(self, senders: Mapping[str, Sender], clock: Clock) -> None:
        self._senders = senders
        self._clock = clock

    async def __call__(self, push: str) -> TestReply:
        sender = self._senders.get(push)
        if sender is None:
            return TestReply(outcome="unknown", why=f"there is no push {push}; there are {', '.join(self._senders)}")
        now_us = self._clock.now_us()
        reading = Reading(now_us, "default", TEST_NAME, TEST_NAME, "", sender.route, now_us // 1000, 1)
        began_s = time.monotonic()
        outcome = await sender.try_one(reading)
        return _reply(outcome, round((time.monotonic() - began_s) * 1000))


def _reply(outcome: Outcome, took_ms: int) -> TestReply:
    if isinstance(outcome, Delivered):
        return TestReply(outcome="delivered", took_ms=took_ms)
    return TestReply(outcome="later" if isinstance(outcome, Later) else "refused", why=outcome.why, took_ms=took_ms)


if __name__ == "__main__":
    main()
