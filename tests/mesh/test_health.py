"""Probes of real sockets: who answers lives, who does not is found out in time, and none is asked too much."""

import asyncio
import socket
import time
from contextlib import asynccontextmanager
from random import Random

import pytest

from mesh.health import Prober, lives
from mesh.model.policies import HealthCheck, Policy, ProbeKind
from mesh.model.programme import BackendGroup
from mesh.model.services import Endpoint
from mesh.probes import Probe
from mesh.upstream import Upstreams
from tests.mesh.service import WEB

HTTP = HealthCheck(ProbeKind.HTTP, "/ready", interval_ms=20, timeout_ms=300)
TCP = HealthCheck(interval_ms=20, timeout_ms=300)


class Backend(asyncio.Protocol):
    """Answers whatever it is told to; None: nothing."""

    def __init__(self, site):
        self.site = site
        self.heard = b""

    def connection_made(self, transport):
        self.transport = transport
        self.site["connections"] = self.site.get("connections", 0) + 1

    def data_received(self, data):
        self.heard += data
        if b"\r\n\r\n" in self.heard:
            self.site["request"] = self.heard
            if self.site["answer"] is not None:
                self.transport.write(self.site["answer"])
                self.transport.close()


@asynccontextmanager
async def backend(answer=b"HTTP/1.1 200 OK\r\n\r\n", host="127.0.0.1"):
    site = {"answer": answer}
    server = await asyncio.get_running_loop().create_server(lambda: Backend(site), host, 0)
    site["port"] = server.sockets[0].getsockname()[1]
    try:
        yield site
    finally:
        server.close()
        for transport in list(getattr(server, "_clients", ())):
            transport.abort()


@pytest.mark.parametrize(
    ("answer", "good"),
    [
        (b"HTTP/1.1 200 OK\r\n\r\n", True),
        (b"HTTP/1.0 204 \r\n", True),
        (b"HTTP/1.1 399 x\n", True),
        (b"HTTP/1.1 400 x\r\n\r\n", False),
        (b"HTTP/1.1 503 x\r\n\r\n", False),
        (b"HTTP/1.1 abc\r\n\r\n", False),
        (b"HTTP/1.1\r\n\r\n", False),
        (b"SSH-2.0-OpenSSH\r\n", False),
        (b"x" * 5_000, False),
        (b"", False),
        (None, False),
    ],
)
async def test_the_status_counts(answer, good):
    async with backend(answer) as site:
        assert await lives(Probe("127.0.0.1", site["port"], HTTP)) is good
        assert site["request"].startswith(b"GET /ready HTTP/1.1\r\nHost: 127.0.0.1:")


async def test_a_connection_is_enough_for_tcp():
    async with backend(None) as site:
        assert await lives(Probe("127.0.0.1", site["port"], TCP))


async def test_nobody_there_is_death():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        assert not await lives(Probe("127.0.0.1", free.getsockname()[1], TCP))


async def test_ipv6_is_asked_too():
    try:
        async with backend(host="::1") as site:
            assert await lives(Probe("::1", site["port"], HTTP))
            assert b"Host: [::1]:" in site["request"]
    except OSError:
        pytest.skip("this machine has no IPv6")


async def test_what_never_answers_costs_its_time_out_and_no_more():
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        port = full.getsockname()[1]
        held = []
        for _ in range(4):  # fill its backlog: further connections hang
            held.append(socket.socket())
            held[-1].setblocking(False)
            held[-1].connect_ex(("127.0.0.1", port))
        began = time.monotonic()
        assert not await lives(Probe("127.0.0.1", port, TCP))
        assert 0.25 <= time.monotonic() - began < 5
        for one in held:
            one.close()


@asynccontextmanager
async def running(found, **more):
    prober = Prober(found, time.monotonic, Random(1), **more)
    task = asyncio.create_task(prober.run())
    try:
        yield prober
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def until(holds):
    async with asyncio.timeout(20):
        while not holds():  # noqa: ASYNC110 what is waited for has no event
            await asyncio.sleep(0.005)


async def test_an_endpoint_that_dies_is_left_out_and_used_again_when_it_lives():
    async with backend() as site, backend() as other:
        ups = Upstreams(Random(1))
        listed = tuple(Endpoint("127.0.0.1", one["port"]) for one in (site, other))
        group = BackendGroup(WEB, listed, Policy(health_check=HTTP))
        ups.apply([group], [])
        up = ups.get(WEB)

        def told(findings):
            for finding in findings:
                ups.get(finding.port).probed(finding.place, time.monotonic(), alive=finding.alive)

        async with running(told) as prober:
            prober.follow([group], [])
            await until(lambda: len(prober.findings()) == 2)
            assert len(up.in_use(time.monotonic())) == 2
            site["answer"] = b"HTTP/1.1 500 x\r\n\r\n"
            await until(lambda: len(up.in_use(time.monotonic())) == 1)
            assert up.in_use(time.monotonic())[0].endpoint.port == other["port"]
            site["answer"] = b"HTTP/1.1 200 x\r\n\r\n"
            await until(lambda: len(up.in_use(time.monotonic())) == 2)
            prober.follow([], [WEB])
            assert prober.findings() == []


async def test_no_more_at_once_than_said():
    async with backend(None) as site:
        groups = BackendGroup(
            WEB,
            tuple(Endpoint(f"127.0.1.{number}", site["port"]) for number in range(1, 200)),
            Policy(health_check=HealthCheck(ProbeKind.HTTP, interval_ms=1, timeout_ms=60_000)),
        )
        async with backend(None, host="0.0.0.0") as everywhere:
            listed = tuple(Endpoint(one.address, everywhere["port"]) for one in groups.endpoints)
            async with running(lambda found: None, most_at_once=7, most_per_s=100_000) as prober:
                prober.follow([BackendGroup(WEB, listed, groups.policy)], [])
                await until(lambda: everywhere.get("connections", 0) >= 7)
                for _ in range(20):
                    await asyncio.sleep(0.002)
                assert everywhere["connections"] == 7
                assert len(prober._running) == 7


async def test_probes_keep_their_pace():
    async with backend(host="0.0.0.0") as site:
        listed = tuple(Endpoint(f"127.0.1.{number}", site["port"]) for number in range(1, 200))
        check = HealthCheck(interval_ms=1)
        async with running(lambda found: None, most_per_s=50) as prober:
            began = time.monotonic()
            prober.follow([BackendGroup(WEB, listed, Policy(health_check=check))], [])
            await until(lambda: site.get("connections", 0) >= 15)
            assert time.monotonic() - began >= (15 - 7) / 50


async def test_ending_it_ends_what_is_under_way():
    async with backend(None) as site:
        check = HealthCheck(ProbeKind.HTTP, interval_ms=1, timeout_ms=60_000)
        async with running(lambda found: None) as prober:
            prober.follow([BackendGroup(WEB, (Endpoint("127.0.0.1", site["port"]),), Policy(health_check=check))], [])
            await until(lambda: site.get("connections"))
        assert all(task.done() for task in prober._running)
