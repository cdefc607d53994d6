"""The child process that serves mappers: ``python -m mappers.sdk.host``, told who it is by one JSON line on stdin.

The line carries the password, so that no secret stands in arguments or environment. All else comes as one retained
message from the hub. The process dies with its parent.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import sys
from collections.abc import AsyncIterator
from random import Random
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError

from mappers.sdk.beat import beat
from mappers.sdk.confine import Confinement, take_on
from mappers.sdk.connections import Connections
from mappers.sdk.fence import FencedLink
from mappers.sdk.registry import Registry
from twin.clock import SystemClock
from twin.errors import LinkError
from twin.link import Link, LinkState, Will
from twin.link.mqtt import MqttLink
from twin.link.options import LOCAL_RETRY_BASE_S, LOCAL_RETRY_CAP_S, MqttOptions
from twin.parent import ParentGone, die_with_parent
from twin.wire import codec, topics
from twin.wire.messages import MapperState


class HostArguments(BaseModel):
    """The line on stdin. ``account`` is the name it reports under, ``username`` its login where the two differ.

    ``parent_pid`` lets the child notice a parent that died before the child could ask. ``mapper`` names the one plugin
    that it serves; without it, it serves ours. ``watchdog_s`` is how long it may give no sign of life, 0: nobody looks.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    host: str
    port: Annotated[int, Field(gt=0, lt=65536)]
    account: str
    username: str = ""
    password: SecretStr
    client_id: str
    parent_pid: int = 0
    mapper: str = ""
    confinement: Confinement = Confinement()
    watchdog_s: float = 0.0


async def serve(arguments: HostArguments, registry: Registry) -> None:
    """Serve until SIGTERM or SIGINT; a clean end says goodbye to the broker and takes less than two seconds."""
    state = topics.mapper_state(arguments.account)
    offline = codec.encode(MapperState(online=False))
    rng = Random()  # jitter, not a secret
    link = MqttLink(
        MqttOptions(
            host=arguments.host,
            port=arguments.port,
            client_id=arguments.client_id,
            username=arguments.username or arguments.account,
            password=arguments.password.get_secret_value(),
            will=Will(state, offline),
            retry_base_s=LOCAL_RETRY_BASE_S,
            retry_cap_s=LOCAL_RETRY_CAP_S,
        )
    )
    birth = _Birth(link, state)
    own: Link = link
    if arguments.mapper:
        own = fence = FencedLink(link, arguments.account, birth.tell)
        await link.subscribe(topics.mapper_config(arguments.account), fence.learn)  # before all others
    async with link, _beating(arguments.watchdog_s):
        connections = Connections(arguments.account, own, registry, SystemClock(), rng)
        with birth:
            task = asyncio.create_task(connections.run(), name="mapper host")
            loop = asyncio.get_running_loop()
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.add_signal_handler(number, task.cancel)
            with contextlib.suppress(asyncio.CancelledError):
                await task
        with contextlib.suppress(LinkError):
            link.publish(state, offline, qos=1, retain=True)


def main() -> None:
    """Read who we are, then serve."""
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    # So that no two hosts ever write to one device.
    try:
        die_with_parent(os.getppid())
    except ParentGone as error:
        sys.exit(str(error))
    line = sys.stdin.readline()
    try:
        arguments = HostArguments.model_validate_json(line)
    except ValidationError as error:
        wanted = ", ".join(HostArguments.model_fields)
        problem = codec.first_problem(error)
        sys.exit(f"standard input: {problem}\n  Write one line of JSON with {wanted}; the hub does so.")
    if arguments.parent_pid and os.getppid() != arguments.parent_pid:
        sys.exit("the parent has ended")
    try:
        take_on(arguments.confinement)
    except OSError as error:
        sys.exit(f"the limits of memory and processor cannot be taken on: {error}")
    asyncio.run(serve(arguments, _registry(arguments.mapper)))


def _registry(plugin: str) -> Registry:
    """The one plugin; or ours, for those of others are not to run in this process."""
    installed = Registry.installed()
    if plugin:
        return installed.only(plugin)
    return installed.without([name for name in installed.names() if installed.is_plugin(name)])


class _Birth:
    """Says that we are online with each connection, and what is wrong with us; the will says the opposite."""

    def __init__(self, link: Link, topic: str) -> None:
        self._link = link
        self._topic = topic
        self._problem = ""

    def tell(self, problem: str) -> None:
        """Say what is wrong."""
        self._problem = problem
        self._say(self._link.state)

    def __enter__(self) -> None:
        """Begin."""
        self._stop = self._link.on_state(self._say)

    def __exit__(self, *exc: object) -> None:
        """End."""
        self._stop()

    def _say(self, state: LinkState) -> None:
        if state is LinkState.UP:
            online = codec.encode(MapperState(online=True, problem=self._problem))
            self._link.publish(self._topic, online, qos=1, retain=True)


@contextlib.asynccontextmanager
async def _beating(patience_s: float) -> AsyncIterator[None]:
    beating = asyncio.create_task(beat(patience_s), name="signs of life")
    try:
        yield
    finally:
        beating.cancel()


if __name__ == "__main__":
    main()
