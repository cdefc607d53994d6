"""Reads that somebody asked for: made before any poll, after any write."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from mappers.sdk.convert import Sample
from mappers.sdk.device import PollClass, ServedDevice
from mappers.sdk.errors import MapperError, NotConnected

_MOST_ASKERS: Final = 100


@dataclass(slots=True, eq=False)
class _Asker:
    device: ServedDevice
    poll: PollClass
    sample: asyncio.Future[Sample]


class Asking:
    """Those of one connection. ``read`` reads and reports one poll class."""

    def __init__(self, name: str, read: Callable[[ServedDevice, PollClass], Awaitable[None]]) -> None:
        self._name = name
        self._read = read
        self._askers: list[_Asker] = []

    def add(self, device: ServedDevice | None, name: str) -> asyncio.Future[Sample]:
        """Ask for all that is read together with one property. Raises MapperError."""
        poll = next((poll for poll in device.classes if name in poll.names), None) if device else None
        if device is None or poll is None:
            message = f"connection {self._name} reads no such property as {name} there"
            raise MapperError(message, remedy="`edgetwin get` shows what a device has.")
        if len(self._askers) >= _MOST_ASKERS:
            message = f"connection {self._name} is asked for more than {_MOST_ASKERS} reads at once"
            raise MapperError(message, remedy="Wait for some of them, or ask less often.")
        asker = _Asker(device, poll, asyncio.get_running_loop().create_future())
        self._askers.append(asker)
        return asker.sample

    async def turn(self) -> bool:
        """Answer one that waits; false if none does, or only for a read that is under way. Raises NotConnected."""
        for asker in self._askers:
            if not asker.poll.reading:
                self._askers.remove(asker)
                if not asker.sample.done():
                    await self._answer(asker)
                    return True
        return False

    def fail(self, error: MapperError) -> None:
        """Tell all that wait that there is no answer."""
        askers, self._askers = self._askers, []
        for asker in askers:
            _fail(asker, error)

    async def _answer(self, asker: _Asker) -> None:
        device = asker.device
        if device.down is None and asker.poll in device.classes:
            try:
                await self._read(device, asker.poll)
            except NotConnected as error:
                _fail(asker, error)
                raise
        if device.down is not None:
            _fail(asker, device.down)
        elif not asker.sample.done():
            asker.sample.set_result(Sample(dict(asker.poll.values), dict(asker.poll.marks)))


def _fail(asker: _Asker, error: MapperError) -> None:
    if not asker.sample.done():
        asker.sample.set_exception(error)
        asker.sample.exception()  # taken: whoever asked may have left
