"""The mesh's process in the care of its owner: a real one, which crashes, hangs, and is told everything anew."""

import os
import random
import signal
from contextlib import asynccontextmanager

import pytest

from edgehub.mesh.carrier import Carrier
from mesh.frames import Alarms, Callers, Programmed, Ready
from mesh.model.services import Plane
from mesh.settings import Settings
from tests.mesh.owner import Backend, free_port, greeting, until
from tests.mesh.tables import service, skey, table
from twin.clock import SystemClock
from twin.supervisor import Supervisor

ADDRESS = "127.96.78.1"
HUNG_S = 4.0


class Carried:
    """A carrier, and what it passed on."""

    def __init__(self, run):
        self.heard = []
        self.touched = set()
        settings = Settings(node="gw-1", plane=Plane.USERSPACE)
        self.carrier = Carrier(settings, run, SystemClock(), self.heard.append, self.touched.update, HUNG_S)
        self.port = free_port(ADDRESS)

    def web(self, *places):
        return table(service("web", *places, address=ADDRESS, port=self.port))

    async def answers(self, name, but_not_of=0):
        """Wait until the service answers, from another process than this."""

        async def does():
            pid = self.carrier.pid
            return pid if pid != but_not_of and await greeting(ADDRESS, self.port) == name else 0

        return await until(does)


@asynccontextmanager
async def carried(run):
    async with Supervisor(clock=SystemClock(), rng=random.Random(1)) as supervisor:
        made = Carried(run)
        await made.carrier.open(supervisor)
        try:
            yield made
        finally:
            await made.carrier.close()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
async def test_a_process_that_crashes_or_hangs_is_replaced_and_carries_the_same(tmp_path, number):
    async with Backend("one") as one, carried(tmp_path) as made:
        made.carrier.follow(made.web(one.place))
        made.carrier.tell(Callers(names={"127.0.0.1": "plant/me"}))
        made.carrier.tell(Alarms(rules=()))
        before = await made.answers("one")
        assert made.carrier.alarms() == []
        made.touched.clear()
        os.kill(before, number)
        after = await made.answers("one", but_not_of=before)
        assert (after != before, made.carrier.restarts) == (True, 1)
        assert made.touched == {skey()}
        how = "ended (SIGKILL)" if number is signal.SIGKILL else "gave no sign of life for 4 s and was killed"
        (alarm,) = made.carrier.alarms()
        assert alarm.startswith(f"the mesh's process {how}")


async def test_what_changed_while_it_was_away_is_carried_by_the_next(tmp_path):
    async with Backend("one") as one, Backend("two") as two, carried(tmp_path) as made:
        made.carrier.follow(made.web(one.place))
        before = await made.answers("one")
        os.kill(before, signal.SIGKILL)

        async def is_gone():
            return made.carrier.state.ready is None

        await until(is_gone)
        made.carrier.follow(made.web(two.place))
        assert not made.carrier.is_current()
        assert made.carrier.is_catching_up()
        await made.answers("two", but_not_of=before)
        assert made.carrier.is_current()


async def test_a_table_that_is_refused_is_an_alarm_until_a_later_one_is_taken(tmp_path):
    async with Backend("one") as one, carried(tmp_path) as made:
        made.carrier.follow(made.web(one.place))
        pid = await made.answers("one")
        made.carrier.follow(table(service("web", one.place, address="no address", port=made.port)))

        async def is_refused():
            return any("goes on with an older table" in alarm for alarm in made.carrier.alarms())

        await until(is_refused)
        assert await greeting(ADDRESS, made.port) == "one"
        made.carrier.follow(made.web(one.place, "127.0.0.1:9"))

        async def is_well():
            return not made.carrier.alarms()

        await until(is_well)
        assert made.carrier.pid == pid
        assert [type(one) for one in made.heard if isinstance(one, Ready)] == [Ready]
        assert any(isinstance(one, Programmed) for one in made.heard)
