"""One reading up and one desired value down, with the real parts and a broker inside the process."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from random import Random

from edgehub.twins import LocalTwins
from mappers.sdk import ConnectionConfig, DeviceConfig, Mapper, Point, PointConfig, Readings, Value
from mappers.sdk.binding import bind_devices
from mappers.sdk.config import ConnectionSettings, DeviceSettings, PointSettings
from mappers.sdk.outbox import Outbox
from mappers.sdk.runner import MapperRunner
from twin.api import ApiServer, TwinVerbs
from twin.client import TwinClient
from twin.clock import SystemClock
from twin.engine import TwinEngine
from twin.link.memory import MemoryBroker
from twin.model import Access, PropertySpec, TwinKey, TwinSpec, ValueType
from twin.sqlite_store import SqliteStore

LAMP = TwinKey.parse("hall/lamp")


class LampDriver:
    """A lamp with one register: it is as bright as was written last."""

    def __init__(self) -> None:
        self.brightness: Value = 20

    async def connect(self) -> None:
        """A lamp is always there."""

    async def close(self) -> None:
        """Nothing is open."""

    def plan(self, device: DeviceConfig, points: Sequence[Point[PointConfig]]) -> list[str]:  # noqa: ARG002  one lamp
        """There is nothing to prepare."""
        return [point.name for point in points]

    async def read(self, plan: list[str]) -> Readings:
        """What the register holds."""
        return Readings(dict.fromkeys(plan, self.brightness))

    async def write(self, device: DeviceConfig, point: Point[PointConfig], value: Value) -> None:  # noqa: ARG002  one lamp
        """Set the register."""
        self.brightness = value


async def main(folder: Path) -> list[str]:
    """Run both ways; returns what a client saw."""
    seen: list[str] = []
    clock, rng, broker = SystemClock(), Random(1), MemoryBroker()
    hub_link, mapper_link, client_link = broker.link(), broker.link(), broker.link()
    store = SqliteStore(folder / "state.db")
    store.open()
    with ThreadPoolExecutor(1) as disk:
        async with hub_link, mapper_link, client_link:
            # The hub: an engine with one twin, on its broker.
            engine = TwinEngine(store, clock=clock, executor=disk)
            engine.open()
            brightness = PropertySpec("brightness", ValueType.INT, Access.READ_WRITE, minimum=0, maximum=100)
            engine.define(TwinSpec(LAMP, uid="1", properties={"brightness": brightness}))
            twins = LocalTwins(engine, hub_link, clock, gateway="gw-1")
            await twins.open()
            api = ApiServer(hub_link, TwinVerbs(engine, hub_link, clock).verbs())
            await api.open()

            # The mapper host: one connection with the lamp on it.
            mapper = Mapper("lamp", ConnectionConfig, DeviceConfig, PointConfig, lambda _: LampDriver())
            point = PointSettings(
                property="brightness", type=ValueType.INT, access=Access.READ_WRITE, maximum=100, visitor={}
            )
            device = DeviceSettings(twin=str(LAMP), address={}, points=(point,))
            settings = ConnectionSettings(name="hall/wire", mapper="lamp", config={}, devices=(device,))
            outbox = Outbox(mapper_link, "mapper", clock, rng)
            await outbox.open()
            runner = MapperRunner(
                "hall/wire", mapper.driver(ConnectionConfig()), link=mapper_link, outbox=outbox, clock=clock, rng=rng
            )
            await runner.serve(bind_devices(settings, mapper).devices)

            # A client follows the twin, sees the first reading, and asks for more light.
            async with (
                TwinClient(client_link, account="me", client="1") as client,
                client.watch("hall/lamp") as events,
            ):
                async for event in events:
                    if event.ready:
                        break
                serving = asyncio.create_task(runner.run())
                async for event in events:
                    assert event.body is not None, "nobody removes the lamp"
                    seen += [f"reported {event.body.reported[name].value}" for name in event.reported]
                    seen += [f"desired {event.body.desired[name].value}" for name in event.desired]
                    if not event.body.desired:
                        await client.set("hall/lamp", {"brightness": 80})
                    elif not event.body.delta:
                        seen.append("delta empty")
                        break
            serving.cancel()
            await asyncio.wait([serving])
            runner.close()
            outbox.close()
            await api.close()
            twins.close()
            await engine.close()
    store.close()
    return seen


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        print("\n".join(asyncio.run(main(Path(name)))))  # noqa: T201  what the reader came for
