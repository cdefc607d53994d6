"""The link to one device: connects when somebody needs it, connects again, tells who watches.

        need                    connected
resting ────> connecting ──────────────────> up
   ^            ^    │ failed, after a wait    │ lost
   └── idle ────┴────┴─────────────────────────┘
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from random import Random
from typing import Final, Protocol

from bleak import BleakClient
from bleak.backends.device import BLEDevice

from mappers.ble.config import BleConnection, BleDevice
from mappers.ble.ears import Ears
from mappers.ble.gatt import Link
from mappers.ble.radio import FAILURES, BleakRadio, error_of
from mappers.sdk import DeviceTimeout, MapperError
from twin.link.backoff import Backoff

log = logging.getLogger(__name__)

_FIRST_WAIT_S: Final = 1.0
_STABLE_S: Final = 10.0  # a link that stood for so long is worth a quick reconnect
_LEAVE_S: Final = 0.8
_CANCEL_AGAIN_S: Final = 2.0
"""Libraries beneath may lose a cancellation: asyncio.wait_for of Python 3.11 does, where an answer comes with it."""
PATIENCE_S: Final = 0.3
"""How long a call waits for a link that is being made: the runner lets a device rest 19 times as long."""


class Watcher(Protocol):
    """Who wants to know how the link is. Raising one of bleak's errors in ``up`` has it made anew."""

    async def up(self, link: Link) -> None:
        """Take a link that was just made."""
        ...

    def down(self, error: MapperError) -> None:
        """Note that it is gone."""
        ...

    def idle(self) -> None:
        """Note that it still stands."""
        ...


class Peripheral:
    """One device. ``link`` is its link; ``close`` ends it for good."""

    def __init__(self, device: BleDevice, config: BleConnection, radio: BleakRadio, ears: Ears, rng: Random) -> None:
        self._device = device
        self._timeout_s = config.connect_timeout_ms / 1000
        self._radio = radio
        self._ears = ears
        self._backoff = Backoff(_FIRST_WAIT_S, config.reconnect_max_ms / 1000, rng)
        self._watchers: list[Watcher] = []
        self._client: BleakClient | None = None
        self._link: Link | None = None
        self._changed = asyncio.Event()
        self._lost = asyncio.Event()
        self._error: MapperError | None = None
        self._task: asyncio.Task[None] | None = None
        self._needed_at = 0.0
        self._is_closing = False

    async def link(self, patience_s: float = PATIENCE_S) -> Link:
        """The link, once it stands. Raises DeviceTimeout, or NotConnected if there is no adapter."""
        self._need()
        if self._link is None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(patience_s):
                    await self._changed.wait()
        if self._link is None:
            message = f"{self._device.mac}: not connected yet"
            raise self._error or DeviceTimeout(message)
        return self._link

    def watch(self, watcher: Watcher) -> None:
        """Tell a watcher of the link from now on, and keep the link."""
        self._watchers.append(watcher)
        self._need()

    def forget(self, watcher: Watcher) -> None:
        """Tell it nothing more."""
        if watcher in self._watchers:
            self._watchers.remove(watcher)

    def doubt(self) -> None:
        """Make the link anew: a request was not answered, and nothing that follows on it can be trusted."""
        self._lost.set()

    async def close(self) -> None:
        """Let go of the link."""
        self._is_closing = True
        while self._task is not None and not self._task.done():
            self._task.cancel()
            await asyncio.wait({self._task}, timeout=_CANCEL_AGAIN_S)
        self._task = None

    def _need(self) -> None:
        self._needed_at = asyncio.get_running_loop().time()
        if self._task is None or self._task.done():
            self._error = None
            self._changed.clear()
            self._task = asyncio.create_task(self._run(), name=f"ble {self._device.mac}")

    async def _run(self) -> None:
        while self._wanted():
            began_s = asyncio.get_running_loop().time()
            try:
                await self._hold()
            except FAILURES as error:
                self._fail(error)
            finally:
                self._link = None
                await self._leave()
            if asyncio.get_running_loop().time() - began_s > _STABLE_S:
                self._backoff.reset()
            if self._wanted():
                await asyncio.sleep(self._backoff.next_s())

    async def _hold(self) -> None:
        """Connect and stay until the link is lost or nobody needs it."""
        self._lost = lost = asyncio.Event()  # an earlier client may still call back
        place = await self._place()
        async with self._radio.connecting, asyncio.timeout(self._timeout_s):
            self._client = client = self._radio.client(
                place, lambda _: lost.set(), timeout_s=self._timeout_s, pair=self._device.pair
            )
            await client.connect()
        async with asyncio.timeout(self._timeout_s):
            link = Link(client)
            for watcher in list(self._watchers):
                await watcher.up(link)
        if self._error is not None:
            log.info("%s: is back", self._device.mac)
        self._link, self._error = link, None
        self._changed.set()
        while self._wanted():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._device.idle_ms / 1000 / 4):
                    await self._lost.wait()
                    raise _Lost
            for watcher in self._watchers:
                watcher.idle()

    async def _place(self) -> BLEDevice | str:
        """What to connect to. A device that is silent may be connected already, by an earlier run of ours."""
        if self._radio.seeks and self._error is None:
            async with asyncio.timeout(self._timeout_s):
                if (device := await self._radio.connected(self._device.mac)) is not None:
                    return device
        return await self._ears.seek(self._device.mac, self._timeout_s)

    def _fail(self, error: BaseException) -> None:
        told = error_of(error, self._device.mac)
        level = logging.DEBUG if self._error is not None else logging.WARNING
        log.log(level, "%s: %s; connecting again", self._device.mac, told.message)
        self._error = told
        self._changed.set()
        for watcher in list(self._watchers):
            watcher.down(told)

    async def _leave(self) -> None:
        client, self._client = self._client, None
        if client is None:
            return
        with contextlib.suppress(*FAILURES):
            async with asyncio.timeout(_LEAVE_S):
                await client.disconnect()

    def _wanted(self) -> bool:
        if self._is_closing:
            return False
        if self._watchers:
            return True
        return asyncio.get_running_loop().time() - self._needed_at < self._device.idle_ms / 1000


class _Lost(OSError):
    """The link ended without our wish."""

    def __str__(self) -> str:
        return "the link was lost"
