"""The link to one device, over a backend that misbehaves."""

import asyncio
from random import Random

from mappers.ble.config import BleConnection, BleDevice
from mappers.ble.ears import Ears
from mappers.ble.peripheral import Peripheral
from mappers.ble.radio import BleakRadio
from mappers.ble.virtual import VirtualClient
from tests.mappers.ble.conftest import MAC


class Deaf(VirtualClient):
    """Its connect loses a cancellation, as asyncio.wait_for of Python 3.11 does when an answer comes with it."""

    began: asyncio.Event

    async def connect(self, pair, **kwargs):
        self.began.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return


class Watching:
    """Who never lets go of the link by itself."""

    async def up(self, link):
        pass

    def down(self, error):
        pass

    def idle(self):
        pass


async def test_a_close_ends_though_its_cancellation_was_lost():
    Deaf.began = asyncio.Event()
    radio = BleakRadio("", client_backend=Deaf)
    config = BleConnection(adapter="")
    peripheral = Peripheral(BleDevice(mac=MAC), config, radio, Ears(radio), Random(1))
    peripheral.watch(Watching())
    async with asyncio.timeout(10):
        await Deaf.began.wait()
        await peripheral.close()
    assert not [task for task in asyncio.all_tasks() if task.get_name().startswith("ble ")]
