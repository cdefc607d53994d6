"""Tells systemd how the hub is (sd_notify(3)): one datagram each to a unix socket that the environment names.

READY=1 once everything runs. WATCHDOG=1 again and again, but only while the loop turns and the broker answers: then
systemd lets the hub be, else it starts it anew. Without systemd nothing is said.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Final

log = logging.getLogger(__name__)

SOCKET: Final = "NOTIFY_SOCKET"
LIMIT: Final = "WATCHDOG_USEC"
"""After so many microseconds of silence the hub is ended."""
_BEATS: Final = 4
"""In that time; one that is lost, or a broker that is started anew, does no harm."""


class Notify:
    """One socket of systemd's."""

    def __init__(self, address: str) -> None:
        self._address = f"\0{address[1:]}" if address.startswith("@") else address

    def say(self, text: str) -> None:
        """Say it; a systemd that does not listen is no reason to end."""
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
                sender.setblocking(False)
                sender.sendto(text.encode(), self._address)
        except OSError as error:
            log.debug("systemd was not told %s: %s", text, error)


@asynccontextmanager
async def told_to_systemd(
    environment: Mapping[str, str], answers: Callable[[], Awaitable[bool]]
) -> AsyncIterator[None]:
    """Say that the hub is up, and that it lives for as long as it ``answers``; at the end, that it stops."""
    if not (address := environment.get(SOCKET, "")):
        yield
        return
    notify = Notify(address)
    notify.say("READY=1")
    beating = asyncio.create_task(_beat(notify, _limit_s(environment), answers), name="systemd's watchdog")
    try:
        yield
    finally:
        notify.say("STOPPING=1")
        beating.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await beating


async def _beat(notify: Notify, limit_s: float, answers: Callable[[], Awaitable[bool]]) -> None:
    if limit_s <= 0:
        return
    silent = False
    while True:
        if await answers():
            notify.say("WATCHDOG=1")
            silent = False
        elif not silent:
            silent = True
            log.warning("the broker does not answer the hub; if that goes on, systemd starts it anew")
        await asyncio.sleep(limit_s / _BEATS)


def _limit_s(environment: Mapping[str, str]) -> float:
    said = environment.get(LIMIT, "")
    return int(said) / 1e6 if said.isdecimal() else 0.0
