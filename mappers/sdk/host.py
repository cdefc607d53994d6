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
from collections.abc import Iterator
from random import Random
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError

from mappers.sdk.connections import Connections
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

    ``parent_pid`` lets the child notice a parent that died before the child could ask.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    host: str
    port: Annotated[int, Field(gt=0, lt=65536)]
    account: str
    username: str = ""
    password: SecretStr
    client_id: str
    parent_pid: int = 0


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
    async with link:
        connections = Connections(arguments.account, link, registry, SystemClock(), rng)
        with _birth(link, state):
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
    asyncio.run(serve(arguments, Registry.installed()))


@contextlib.contextmanager
def _birth(link: Link, topic: str) -> Iterator[None]:
    """Say that we are online with each connection; the will says the opposite."""
    online = codec.encode(MapperState(online=True))

    def on_state(state: LinkState) -> None:
        if state is LinkState.UP:
            link.publish(topic, online, qos=1, retain=True)

    stop = link.on_state(on_state)
    try:
        yield
    finally:
        stop()


if __name__ == "__main__":
    main()
