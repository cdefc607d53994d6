"""Bluetooth LE with bleak; I/O only. Each device has a link of its own, one scanner listens for all.

A device that is not there costs its connection nothing: its link is made in the background.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass, field
from random import Random

from mappers.ble.config import BleConnection, BleDevice, BleScan
from mappers.ble.discover import discover
from mappers.ble.ears import Ears
from mappers.ble.gatt import Reader, read, write
from mappers.ble.peripheral import Peripheral
from mappers.ble.point import BlePoint
from mappers.ble.radio import FAILURES, BleakRadio, error_of, radio_of
from mappers.ble.told import HeardWatch, LinkWatch
from mappers.sdk import (
    FoundDevice,
    Listener,
    MapperError,
    NotConnected,
    Point,
    Progress,
    Readings,
    Subscribed,
    Value,
    WriteRefused,
)


@dataclass(slots=True, eq=False)
class BlePlan:
    """Points of one device: those behind its link, and those that it advertises."""

    device: BleDevice
    linked: tuple[Reader, ...]
    heard: tuple[Reader, ...]
    watch: LinkWatch | HeardWatch | None = field(default=None)


class BleDriver:
    """The devices of one adapter."""

    def __init__(self, config: BleConnection, radio: BleakRadio | None = None, rng: Random | None = None) -> None:
        """Store the settings; ``connect`` acts. Another radio is for tests."""
        self._config = config
        self._radio = radio or radio_of(config.adapter)
        self._rng = rng or Random()  # jitter, no secret
        self._timeout_s = config.timeout_ms / 1000
        self._peripherals: dict[BleDevice, Peripheral] = {}
        self._ears = Ears(self._radio)
        self._written: dict[str, dict[str, Value]] = {}
        self._is_open = False

    async def connect(self) -> None:
        """Begin anew; devices are connected to when they are needed."""
        await self.close()
        self._is_open = True

    async def close(self) -> None:
        """Let go of all devices, at once."""
        self._is_open = False
        links = list(self._peripherals.values())
        await asyncio.gather(self._ears.close(), *(link.close() for link in links), return_exceptions=True)
        await self._radio.close()
        self._peripherals.clear()  # at last, so that a close that was cancelled can be made again

    def plan(self, device: BleDevice, points: Sequence[Point[BlePoint]]) -> BlePlan:
        """Sort points by how they are reached."""
        readers = [Reader.of(point) for point in points]
        return BlePlan(
            device,
            tuple(one for one in readers if not one.address.heard),
            tuple(one for one in readers if one.address.heard),
        )

    async def read(self, plan: BlePlan) -> Readings:
        """Read characteristics; what is advertised is as it was last heard. Raises NotConnected or DeviceTimeout."""
        self._check_open()
        readings = Readings()
        if plan.linked:
            written = self._written.get(plan.device.mac, {})
            link = self._link(plan.device)
            client = (await link.link()).client
            try:
                readings = await read(client, plan.linked, written, self._timeout_s)
            except FAILURES as error:
                link.doubt()
                raise error_of(error, f"reading {plan.device.mac}") from error
        if plan.heard:
            heard = await self._ears.heard(plan.device)
            now_s = asyncio.get_running_loop().time()
            for reader in plan.heard:
                heard.put(readings, reader, now_s)
        return readings

    async def write(self, device: BleDevice, point: Point[BlePoint], value: Value) -> None:
        """Write a characteristic, or a part of one. Raises WriteRefused, NotConnected or DeviceTimeout."""
        if point.address.heard:
            message = f"{point.name} is advertised by {device.mac} and cannot be written"
            raise WriteRefused(message, remedy="Make the property read-only, or give it a characteristic.")
        self._check_open()
        link = self._link(device)
        client = (await link.link()).client
        try:
            await write(client, Reader.of(point), value, self._timeout_s)
        except FAILURES as error:
            link.doubt()
            raise error_of(error, f"writing {point.name} of {device.mac}") from error
        self._written.setdefault(device.mac, {})[point.name] = value

    async def subscribe(self, plan: BlePlan, cycle_ms: int, listener: Listener) -> Subscribed:  # noqa: ARG002  # the device's own pace
        """Have values told that the device notifies or advertises. Raises MapperError and its kinds."""
        self._check_open()
        if not plan.linked:
            heard = await self._ears.heard(plan.device)
            plan.watch = watch = HeardWatch(plan.heard, listener)
            self._ears.watch(plan.device.mac, watch.take)
            watch.first(heard)
            return Subscribed(plan.device.silence_ms / 1000)
        peripheral = self._link(plan.device)
        link = await peripheral.link()
        linked = LinkWatch(plan.linked, listener, self._timeout_s)
        try:
            await linked.up(link)
        except FAILURES as error:
            peripheral.doubt()
            raise error_of(error, f"subscribing at {plan.device.mac}") from error
        if not linked.names:
            linked.close()
            message = f"{plan.device.mac} has no notifications for these points"
            raise MapperError(message)
        plan.watch = linked
        peripheral.watch(linked)
        everything = frozenset(reader.name for reader in (*plan.linked, *plan.heard))
        return Subscribed(plan.device.idle_ms / 1000, everything - linked.names)

    async def unsubscribe(self, plan: BlePlan) -> None:
        """Tell nothing more of a plan; its link ends when it is idle."""
        watch, plan.watch = plan.watch, None
        if isinstance(watch, HeardWatch):
            self._ears.forget(plan.device.mac, watch.take)
        elif watch is not None:
            watch.close()
            self._link(plan.device).forget(watch)

    async def discover(self, wanted: BleScan, tell: Callable[[Progress], None]) -> AsyncGenerator[FoundDevice, None]:
        """Listen for a while. Raises NotConnected."""
        async for found in discover(self._radio, self._config, wanted, tell):
            yield found

    def _check_open(self) -> None:
        """Raise NotConnected if nobody has connected; a link made behind the runner's back would be nobody's."""
        if not self._is_open:
            message = f"{self._config.adapter or 'the adapter'} is closed"
            raise NotConnected(message)

    def _link(self, device: BleDevice) -> Peripheral:
        if device not in self._peripherals:
            self._peripherals[device] = Peripheral(device, self._config, self._radio, self._ears, self._rng)
        return self._peripherals[device]
