"""A worker as a process of its own, for tests that kill it: told what to do by one line of JSON on standard input."""

import asyncio
import json
import os
import secrets
import signal
import sys
from random import Random

from cloudsync.serving import WorkerOptions, serving
from cloudsync.store.opening import open_store
from twin.clock import SystemClock
from twin.link.mqtt import MqttLink, MqttOptions
from twin.parent import die_with_parent


async def known(_gateway):
    return True


async def main():
    said = json.loads(sys.stdin.readline())
    die_with_parent(said["parent_pid"])
    clock = SystemClock()
    options = MqttOptions(
        said["host"],
        said["port"],
        f"worker-{os.getpid()}",
        said["username"],
        said["password"],
        retry_base_s=0.05,
        retry_cap_s=0.5,
    )
    worker = WorkerOptions(f"w-{os.getpid()}-{secrets.token_hex(4)}", said["run"])
    ended = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
    store = open_store(said["store"], clock)
    async with (
        MqttLink(options) as link,
        serving(link, store, worker, known=known, clock=clock, nonce=lambda: secrets.token_hex(8), rng=Random()),
    ):
        await link.connected(10)
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        await ended.wait()


if __name__ == "__main__":
    asyncio.run(main())
