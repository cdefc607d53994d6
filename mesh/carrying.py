"""What carries the bytes in one process: upstreams, data planes, counters, all put together.

The first process of a mesh has all planes; further workers have the userspace plane alone and share its doors.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from ipaddress import ip_network
from random import Random
from typing import Final

from mesh.access_log import AccessLog
from mesh.counted_elsewhere import CountedElsewhere
from mesh.difference import programme_after
from mesh.errors import PlaneError
from mesh.leading import Leading
from mesh.mended import Mended
from mesh.model.programme import Programme, ProgrammeDelta
from mesh.model.services import AppProtocol, Plane, PortKey
from mesh.monitor import Monitor
from mesh.planes import DataPlane
from mesh.planes.l4.carrier import RawCarrier
from mesh.planes.l4.datagrams import Datagrams
from mesh.planes.l4.metered import Metered
from mesh.planes.listeners import Carrier, Listeners
from mesh.planes.userspace import Userspace
from mesh.programming import Programmer
from mesh.settings import Settings
from mesh.upstream import Here, Upstreams

log = logging.getLogger(__name__)

_LOW_NUMBERS: Final = 8
RETRY_S: Final = 2.0
"""How soon what a plane could not do is tried again without a change."""


class Carrying:
    """The planes of a process and all that they share. ``done`` is called when the programme was carried out anew."""

    def __init__(
        self,
        settings: Settings,
        clock: Callable[[], float],
        rng: Random,
        offline: Callable[[], bool],
        done: Callable[[], None],
        *,
        lets_gateways_in: bool = True,
    ) -> None:
        self.upstreams = Upstreams(rng, Here(settings.node, settings.zone))
        self.monitor = Monitor(self.upstreams)
        if settings.access_log:
            access = logging.getLogger("mesh.access")
            self.monitor.log = AccessLog(lambda line: access.info("%s", line), time.time, rng, settings.access_log)
        self.leading = Leading(settings, self.upstreams, rng, clock, serves=lets_gateways_in)
        self.programme = Programme()
        self.mended = Mended()
        self._elsewhere = CountedElsewhere(self.monitor, self.upstreams)
        self._settings = settings
        self._clock = clock
        self._rng = rng
        self._offline = offline
        self._done = done
        self._planes: dict[Plane, DataPlane] = {}
        self._programmer = Programmer(self._planes)
        self._changed = asyncio.Event()
        self._low_numbers = _LowNumbers()

    async def open(self) -> None:
        """Have the userspace plane ready."""
        self._low_numbers.keep()
        await self._add(Plane.USERSPACE, self._userspace())

    async def open_kernel(self) -> str:
        """Have nftables ready; returns why this machine has not, empty if it has."""
        if Plane.NFTABLES in self._planes:
            return ""
        from mesh.planes.nft.plane import Nftables  # memory that only machines with nftables should pay

        plane = Nftables(self.upstreams, self._clock, (ip_network(self._settings.network),), self.mended.took)
        self._low_numbers.give()
        try:
            await self._add(Plane.NFTABLES, plane)
        except PlaneError as error:
            self._low_numbers.keep()
            log.warning("nftables: %s", error)
            return str(error)
        self.upstreams.on_change = lambda upstream: plane.retarget(upstream.key)
        for upstream in self.upstreams.all():
            upstream.on_change = self.upstreams.on_change
        return ""

    @property
    def planes(self) -> tuple[Plane, ...]:
        """The planes that are ready."""
        return tuple(self._planes)

    @property
    def failed(self) -> dict[PortKey, str]:
        """Frontends that are not as they should be, and why."""
        return self._programmer.failed

    def count(self) -> None:
        """Bring what planes count themselves into the monitor."""
        if kernel := self._planes.get(Plane.NFTABLES):
            self._elsewhere.took(kernel.traffic())

    def take(self, delta: ProgrammeDelta) -> None:
        """Carry out a change: endpoints are other at once, frontends as soon as the planes have them."""
        self.programme = programme_after(self.programme, delta)
        self.upstreams.apply(delta.backends, delta.gone_backends)
        if delta.gone_frontends:
            self.monitor.forget(delta.gone_frontends)
        self._changed.set()

    async def run(self) -> None:
        """Keep the planes in step, until cancelled."""
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(RETRY_S if self.failed else None):
                    await self._changed.wait()
            self._changed.clear()
            await self._programmer.bring(self.programme)
            self._done()

    async def close(self) -> None:
        """Let no more clients in, and end what is open after a moment."""
        for plane, carrier in self._planes.items():
            try:
                await carrier.close()
            except PlaneError as error:
                log.warning("%s: %s", plane, error)
        await self.leading.close()
        self._low_numbers.give()

    async def _add(self, plane: Plane, carrier: DataPlane) -> None:
        await carrier.open()
        self._planes[plane] = carrier
        self._programmer.add(plane, carrier)

    def _userspace(self) -> Userspace:
        metered = Metered(self.monitor, self._clock)
        raw = RawCarrier(self.upstreams, self._rng, metered, self._clock, self.leading)
        raw.open()
        datagrams = Datagrams(self.upstreams, raw.choosing, raw.wire.poller, self._clock, metered)
        carriers = _Carriers({AppProtocol.RAW: raw, AppProtocol.TLS: raw}, self._http)
        return Userspace(carriers, datagrams, Listeners(reuse_port=self._settings.workers > 1))

    def _http(self) -> Carrier:
        from mesh.planes.http import HttpCarrier, HttpMetered  # memory that only meshes with HTTP should pay

        carrier = HttpCarrier(
            self.upstreams,
            self._rng,
            self._clock,
            watcher=HttpMetered(self.monitor),
            dialer=self.leading,
            offline=self._offline,
        )
        carrier.open()
        return carrier


class _LowNumbers:
    """File numbers below 1024 for libnftables: it waits by select, which ends the process at a greater one."""

    def __init__(self) -> None:
        self._kept: list[int] = []

    def keep(self) -> None:
        """Have some, before clients and services take them all."""
        self._kept += [os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC) for _ in range(_LOW_NUMBERS)]

    def give(self) -> None:
        """Give them back, for what is opened next: the least free number is always taken first."""
        for number in self._kept:
            os.close(number)
        self._kept.clear()


class _Carriers(dict[AppProtocol, Carrier]):
    """Those that are there, and that of HTTP once it is asked for."""

    def __init__(self, ready: Mapping[AppProtocol, Carrier], http: Callable[[], Carrier]) -> None:
        super().__init__(ready)
        self._http = http

    def __missing__(self, app: AppProtocol) -> Carrier:
        carrier = self[app] = self._http()
        return carrier
