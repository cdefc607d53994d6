"""The mesh's own process: does what its owner says, outlives nonsense in it, and ends with it."""

import asyncio
import os
import signal
import sys
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from mesh.frames import Asked, Counted, Health, Refused, Whole
from mesh.model.policies import HealthCheck, Policy, RateLimit, TokenBucket
from mesh.model.services import Plane
from mesh.model.table import TableChange
from mesh.problems import Reason
from mesh.settings import Settings
from tests.mesh.owner import ROOT, Backend, Owner, free_port, greeting, until
from tests.mesh.tables import pkey, service, skey, table

ADDRESS = "127.96.77.1"
USERSPACE = Settings(node="gw-1", plane=Plane.USERSPACE)


@pytest.fixture
async def rig(tmp_path):
    async with AsyncExitStack() as stack:
        yield Rig(tmp_path, stack)


class Rig:
    def __init__(self, folder, stack):
        self.folder, self.stack = folder, stack
        self.port = free_port(ADDRESS)

    async def backend(self, name):
        return await self.stack.enter_async_context(Backend(name))

    async def owner(self, settings=USERSPACE):
        owner = await self.stack.enter_async_context(Owner(self.folder, settings))
        self.ready = await owner.ready()
        return owner

    async def has_two_doors(self):
        lines = Path("/proc/net/tcp").read_text(encoding="ascii").splitlines()
        return sum(f":{self.port:04X} 00000000:0000 0A" in line for line in lines) == 2

    async def nobody_answers(self):
        return not await greeting(ADDRESS, self.port)

    def web(self, *places, **fields):
        return service("web", *places, address=ADDRESS, port=self.port, **fields)


async def test_a_service_is_reached_and_its_endpoints_change_under_open_connections(rig):
    one, two = await rig.backend("one"), await rig.backend("two")
    owner = await rig.owner()
    done = await owner.whole(table(rig.web(one.place)))
    assert done.problems == {}
    reader, writer = await asyncio.open_connection(ADDRESS, rig.port)
    assert await reader.readline() == b"one\n"
    assert (await owner.change(services=(rig.web(two.place),))).problems is None
    assert await greeting(ADDRESS, rig.port) == "two"
    writer.write(b"still there\n")
    assert await reader.readline() == b"still there\n"
    writer.close()
    counted = await owner.hear(Counted, lambda frame: frame.snapshot.shares)
    assert counted.snapshot.shares[0].key.frontend == pkey(port=rig.port)
    await owner.change(gone_services=(skey(),))
    assert await greeting(ADDRESS, rig.port) == ""


async def test_killed_it_is_told_everything_again_and_serves_as_before(rig):
    one = await rig.backend("one")
    owner = await rig.owner()
    await owner.whole(table(rig.web(one.place)))
    owner.process.kill()
    await owner.process.wait()
    assert await greeting(ADDRESS, rig.port) == ""
    await owner.start()
    await owner.whole(table(rig.web(one.place)))
    assert await greeting(ADDRESS, rig.port) == "one"


async def test_what_cannot_be_opened_is_a_problem_of_its_service_and_heals(rig):
    one = await rig.backend("one")
    taken = await asyncio.start_server(lambda _, writer: writer.close(), ADDRESS, rig.port)
    owner = await rig.owner()
    other = service("other", one.place, address="127.96.77.2", port=rig.port)
    done = await owner.whole(table(rig.web(one.place), other))
    assert [(key, [one.reason for one in said]) for key, said in done.problems.items()] == [
        (skey(), [Reason.PLANE_FAILED])
    ]
    assert await greeting("127.96.77.2", rig.port) == "one"
    taken.close()
    await taken.wait_closed()
    await owner.hear(type(done), lambda frame: frame.problems == {})
    assert await greeting(ADDRESS, rig.port) == "one"


async def test_of_two_the_second_says_so_and_serves_once_the_first_is_killed(rig, tmp_path_factory):
    one = await rig.backend("one")
    first = await rig.owner()
    await first.whole(table(rig.web(one.place)))
    rig.folder = tmp_path_factory.mktemp("second")
    second = await rig.owner()
    done = await second.whole(table(rig.web(one.place)))
    assert "something else listens there" in done.problems[skey()][0].text
    first.process.kill()
    await first.process.wait()
    await second.hear(type(done), lambda frame: frame.problems == {})
    assert await greeting(ADDRESS, rig.port) == "one"


async def test_a_table_that_means_nothing_is_refused_and_the_last_one_stays(rig):
    one = await rig.backend("one")
    owner = await rig.owner()
    await owner.whole(table(rig.web(one.place)))
    bad = Whole(number=9, table=TableChange(services=(rig.web("nowhere:80"),)))
    owner.say(bad)
    refused = await owner.hear(Refused)
    assert refused.number == 9
    assert "its address is no IP address" in refused.why
    assert await greeting(ADDRESS, rig.port) == "one"


@pytest.mark.parametrize("nonsense", [b"\xff" * 8, (5).to_bytes(4, "big") + b"hello", (2).to_bytes(4, "big") + b"{}"])
async def test_nonsense_ends_the_process_for_whoever_started_it_to_begin_anew(rig, nonsense):
    owner = await rig.owner()
    owner.say_bytes(nonsense)
    async with asyncio.timeout(30):
        assert await owner.process.wait() == 0


async def test_asked_to_end_it_lets_open_connections_end_first(rig):
    one = await rig.backend("one")
    owner = await rig.owner()
    await owner.whole(table(rig.web(one.place)))
    reader, writer = await asyncio.open_connection(ADDRESS, rig.port)
    await reader.readline()
    owner.process.send_signal(signal.SIGTERM)
    await until(rig.nobody_answers)
    writer.write(b"last words\n")
    assert await reader.readline() == b"last words\n"
    writer.close()
    assert await owner.end() == 0


async def test_names_are_answered_and_who_was_asked_for_is_told(rig):
    port = free_port()
    owner = await rig.owner(Settings(plane=Plane.USERSPACE, dns_listen=(f"127.0.0.1:{port}",)))
    assert rig.ready.dns == (f"127.0.0.1:{port}",)
    await owner.whole(table(rig.web("127.0.0.1:9")))
    dig = await asyncio.create_subprocess_exec(
        sys.executable, "-c",
        "import dns.resolver as d, sys; r=d.Resolver(configure=False); r.nameservers=['127.0.0.1'];"
        f"r.port={port}; print(r.resolve('web.default.svc.cluster.local')[0])",
        stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert (await dig.communicate())[0] == f"{ADDRESS}\n".encode()
    assert (await owner.hear(Asked)).services == (skey(),)


async def test_an_endpoint_that_a_probe_finds_dead_is_left_and_taken_again(rig):
    one, gone = await rig.backend("one"), free_port()
    owner = await rig.owner()
    check = Policy(health_check=HealthCheck(interval_ms=50, unhealthy=1))
    await owner.whole(table(rig.web(one.place, f"127.0.0.1:{gone}"), policies={"web": check}))
    dead = await owner.hear(Health, lambda frame: not frame.votes[0].healthy)
    assert (dead.votes[0].port, dead.votes[0].place) == (pkey(port=rig.port), f"127.0.0.1:{gone}")
    assert {await greeting(ADDRESS, rig.port) for _ in range(6)} == {"one"}
    server = await asyncio.start_server(lambda _, writer: (writer.write(b"two\n"), writer.close()), "127.0.0.1", gone)
    await owner.hear(Health, lambda frame: frame.votes[0].place.endswith(f":{gone}") and frame.votes[0].healthy)
    assert {await greeting(ADDRESS, rig.port) for _ in range(6)} == {"one", "two"}
    server.close()


async def test_workers_share_the_doors_and_their_counters_are_added_up(rig):
    one = await rig.backend("one")
    owner = await rig.owner(Settings(plane=Plane.USERSPACE, workers=2))
    await owner.whole(table(rig.web(one.place)))
    asked = 0
    await until(rig.has_two_doors)
    children = children_of(owner.process.pid)
    assert len(children) == 1
    for _ in range(40):
        asked += await greeting(ADDRESS, rig.port) == "one"
    assert asked == 40

    def requests(frame):
        return sum(counts.requests for share in frame.snapshot.shares for _, counts in share.places)

    await owner.hear(Counted, lambda frame: requests(frame) == asked)
    os.kill(children[0], signal.SIGKILL)
    assert await greeting(ADDRESS, rig.port) in ("one", "")

    async def is_replaced():
        found = children_of(owner.process.pid)
        return found if found != children and await rig.has_two_doors() else []

    again = await until(is_replaced)
    assert await owner.end() == 0
    assert not alive(again[0])


async def test_a_limit_is_exact_whatever_the_number_of_workers(rig):
    one = await rig.backend("one")
    owner = await rig.owner(Settings(plane=Plane.USERSPACE, workers=2))
    await owner.whole(table(rig.web(one.place)))
    await until(rig.has_two_doors)
    limit = Policy(rate_limit=RateLimit(TokenBucket(5, fill_interval_ms=3_600_000)))
    await owner.whole(table(rig.web(one.place), policies={"web": limit}))

    async def has_one_door():
        return not await rig.has_two_doors()

    await until(has_one_door)
    assert [await greeting(ADDRESS, rig.port) for _ in range(20)].count("one") == 5


async def test_a_worker_that_hangs_is_killed_and_replaced(rig):
    one = await rig.backend("one")
    owner = await rig.owner(Settings(plane=Plane.USERSPACE, workers=2, hung_s=3.0))
    await owner.whole(table(rig.web(one.place)))
    await until(rig.has_two_doors)
    (stuck,) = children_of(owner.process.pid)
    os.kill(stuck, signal.SIGSTOP)

    async def is_replaced():
        found = children_of(owner.process.pid)
        return stuck not in found and found and await rig.has_two_doors()

    await until(is_replaced)
    assert [await greeting(ADDRESS, rig.port) for _ in range(20)] == ["one"] * 20


async def test_it_ends_with_its_owner_even_if_that_is_killed(tmp_path):
    script = (
        "import asyncio, pathlib, sys; from tests.mesh.test_process import Owner, USERSPACE\n"
        "async def main():\n"
        "    async with Owner(pathlib.Path(sys.argv[1]), USERSPACE) as owner:\n"
        "        print((await owner.ready()).pid, flush=True); await asyncio.sleep(600)\n"
        "asyncio.run(main())"
    )
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = (sys.executable, "-c", script, str(tmp_path))
    owner = await asyncio.create_subprocess_exec(*command, env=env, stdout=asyncio.subprocess.PIPE)
    async with asyncio.timeout(30):
        pid = int(await owner.stdout.readline())
        assert alive(pid)
        owner.kill()
        await owner.wait()

    async def is_gone():
        return not alive(pid)

    await until(is_gone)


def children_of(pid):
    return [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()]


def alive(pid):
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="ascii")
    except FileNotFoundError:
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"
