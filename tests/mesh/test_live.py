"""What of a mesh fails is said, and the rest works on: counters, DNS, metrics, an owner that hangs."""

import asyncio
import logging
import random
import time
from contextlib import asynccontextmanager

from mesh.difference import table_difference
from mesh.frames import Counted, Programmed, Reached, Whole
from mesh.live import Live
from mesh.model.services import Plane
from mesh.model.table import Table
from mesh.settings import Settings
from tests.mesh.owner import Backend, free_port, greeting, until
from tests.mesh.tables import service, table

ADDRESS = "127.96.77.5"


class Told(list):
    def of(self, kind):
        return [one for one in self if isinstance(one, kind)]


@asynccontextmanager
async def living(listens=lambda: True, **about):
    told = Told()
    live = Live(Settings(plane=Plane.USERSPACE, **about), time.monotonic, random.Random(1), told.append, listens)
    ready = await live.open()
    running = asyncio.get_running_loop().create_task(live.run())
    try:
        yield live, told, ready
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await live.close()


def whole(found, number=1):
    return Whole(number=number, table=table_difference(Table(), found))


async def test_what_of_the_settings_cannot_be_had_is_said_and_the_rest_serves():
    port, taken = free_port(ADDRESS), await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
    where = f"127.0.0.1:{taken.sockets[0].getsockname()[1]}"
    async with Backend("one") as one, living(dns_listen=(where,), metrics_listen=where) as (live, told, ready):
        assert len(ready.problems) == 2
        assert all(where.rpartition(":")[2] in problem for problem in ready.problems)
        assert ready.dns == ()
        live.took(whole(table(service("web", one.place, address=ADDRESS, port=port))))
        await until(lambda: is_there(told.of(Programmed)))
        assert await greeting(ADDRESS, port) == "one"
    taken.close()


async def test_a_fault_of_the_counters_is_logged_once_and_ends_nothing(caplog):
    async with living() as (live, told, _):
        live.carrying.monitor.snapshot = None
        with caplog.at_level(logging.ERROR):
            for _ in range(3):
                live._try_to_count()
        assert [record.levelname for record in caplog.records] == ["ERROR"]
        assert told.of(Counted) == []


async def test_an_owner_that_hangs_is_told_no_counters_and_what_it_missed_afterwards():
    asked, hears = [], []

    def listens():
        asked.append(True)
        return bool(hears)

    async with living(listens) as (live, told, _):
        live.took(whole(table(service("web", "127.0.0.1:9", address=ADDRESS, port=free_port(ADDRESS)))))
        await until(lambda: is_there(told.of(Programmed)))
        await until(lambda: is_there(asked))
        assert told.of(Counted) == []
        hears.append(True)
        await until(lambda: is_there(told.of(Counted)))
        assert told.of(Counted)[0].snapshot.upstreams


async def test_without_the_cloud_it_is_offline():
    async with living() as (live, _, _):
        assert not live._is_offline()
        live.took(Reached(cloud=False))
        assert live._is_offline()
        live.took(Reached(cloud=True))
        assert not live._is_offline()


async def is_there(found):
    return bool(found)
