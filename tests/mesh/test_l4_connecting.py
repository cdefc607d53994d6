"""From the door to an endpoint: dead, black-holed and busy ones cost the client little and no connection."""

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Iterator
from random import Random

import pytest

from mesh.model.policies import (
    Balance,
    ConnectionPool,
    Degrade,
    KeyKind,
    KeyOf,
    LoadBalancer,
    Policy,
    RateLimit,
    TokenBucket,
    When,
)
from mesh.model.programme import BackendGroup, BoundRule
from mesh.model.routes import Backend, Rule
from mesh.model.services import Endpoint, PortKey
from mesh.planes.l4.connecting import HEDGE_S, Connecting
from mesh.planes.l4.poller import Poller
from mesh.upstream import Outcome, Refusal, Target, Upstream
from tests.mesh.raw_rig import Rig, abort, echo, free_port, named, port_key, read_all, rig, until

OUTLIERS_OFF = Policy(outlier=None)


@pytest.fixture
async def mesh() -> AsyncIterator[Rig]:
    async with rig() as made:
        yield made


@pytest.fixture
def hole() -> Iterator[Endpoint]:
    """An endpoint that never answers: its queue is full, so that the kernel drops who knocks."""
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        knocking = [socket.socket() for _ in range(4)]
        for one in knocking:
            one.setblocking(False)
            one.connect_ex(full.getsockname())
        yield Endpoint("127.0.0.1", full.getsockname()[1])
        for one in knocking:
            one.close()


async def test_a_dead_endpoint_costs_no_connection(mesh: Rig) -> None:
    port = await mesh.service(
        Endpoint("127.0.0.1", free_port()), await mesh.server(named(b"alive")), policy=OUTLIERS_OFF
    )
    assert [await read_all(port) for _ in range(20)] == [b"alive"] * 20


async def test_a_black_holed_endpoint_fails_nobody_and_delays_by_less_than_300_ms(mesh: Rig, hole: Endpoint) -> None:
    port = await mesh.service(hole, await mesh.server(named(b"alive")), policy=OUTLIERS_OFF)
    took_s = []
    for _ in range(6):
        began_s = time.monotonic()
        assert await read_all(port) == b"alive"
        took_s.append(time.monotonic() - began_s)
    assert HEDGE_S <= max(took_s) < 0.3


async def test_a_black_holed_endpoint_is_left_out_soon(mesh: Rig, hole: Endpoint) -> None:
    port = await mesh.service(hole, await mesh.server(named(b"alive")))
    for _ in range(8):
        assert await read_all(port) == b"alive"
    upstream = mesh.upstreams.get(port_key())
    assert upstream is not None
    assert upstream.targets[hole.place].out


class SlowLine:
    """A dialer by which each endpoint stands after a time of its own."""

    def __init__(self, *after_s: float) -> None:
        self.after_s = list(after_s)
        self.dialled: list[Endpoint] = []

    async def dial(self, port: PortKey, endpoint: Endpoint, timeout_s: float) -> socket.socket:
        self.dialled.append(endpoint)
        await asyncio.sleep(self.after_s[len(self.dialled) - 1])
        return socket.socket()


@pytest.mark.parametrize(("first_s", "second_s", "blamed"), [(0.2, 9.0, []), (9.0, 0.0, [0])])
async def test_who_loses_by_a_slow_line_is_not_blamed(first_s: float, second_s: float, blamed: list[int]) -> None:
    listed = tuple(Endpoint("127.0.0.1", 1 + number, via="gw-b") for number in range(2))
    upstream = Upstream(BackendGroup(port_key(), listed), Random(1))
    line, arrived = SlowLine(first_s, second_s), asyncio.Event()
    poller = Poller()

    def told(target: Target | None, sock: socket.socket | None, took_s: float) -> None:
        assert sock is not None
        sock.close()
        arrived.set()

    Connecting(upstream, poller, asyncio.get_running_loop().time, told, dialer=line).begin(None)
    async with asyncio.timeout(20):
        await arrived.wait()
    assert len(line.dialled) == 2
    failures = [upstream.targets[endpoint.place].failures for endpoint in line.dialled]
    assert [number for number, count in enumerate(failures) if count] == blamed


@pytest.mark.parametrize(("speaks", "failures"), [(True, 0), (False, 1)])
async def test_a_reset_counts_against_those_that_said_nothing(mesh: Rig, speaks: bool, failures: int) -> None:
    async def resets(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if speaks:
            writer.write(b"hello")
            await reader.read(1)
        abort(writer)

    port = await mesh.service(await mesh.server(resets))
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    async with asyncio.timeout(20):
        if speaks:
            assert await reader.readexactly(5) == b"hello"
            writer.write(b"x")
        with pytest.raises(ConnectionResetError):
            await reader.read(10)
    writer.close()
    await until(lambda: mesh.seen.outcomes)
    assert mesh.seen.outcomes == [Outcome.RESET]
    upstream = mesh.upstreams.get(port_key())
    assert upstream is not None
    assert upstream.failures == failures


async def test_with_nothing_but_a_black_hole_the_client_is_reset_after_the_connect_time_out(
    mesh: Rig, hole: Endpoint
) -> None:
    port = await mesh.service(hole)
    began_s = time.monotonic()
    with pytest.raises(ConnectionResetError):
        await read_all(port)
    assert 0.2 < time.monotonic() - began_s < 2
    assert mesh.seen.turned_away == [Refusal.NO_ENDPOINT]


async def test_a_service_without_endpoints_resets_its_clients(mesh: Rig) -> None:
    port = await mesh.service()
    with pytest.raises(ConnectionResetError):
        await read_all(port)
    assert mesh.seen.turned_away == [Refusal.NO_ENDPOINT]


async def test_an_endpoint_behind_a_tunnel_is_left_alone_where_no_tunnel_is(mesh: Rig) -> None:
    behind = Endpoint("127.0.0.1", free_port(), via="gw-b")
    port = await mesh.service(behind, await mesh.server(named(b"near")), policy=OUTLIERS_OFF)
    assert [await read_all(port) for _ in range(4)] == [b"near"] * 4


async def test_over_the_most_connections_the_next_is_reset_and_one_that_ends_makes_room(mesh: Rig) -> None:
    policy = Policy(pool=ConnectionPool(max_connections=1))
    port = await mesh.service(await mesh.server(echo), policy=policy)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"a")
    assert await reader.readexactly(1) == b"a"
    with pytest.raises(ConnectionResetError):
        await read_all(port, b"b")
    assert mesh.seen.turned_away == [Refusal.OVER_CONNECTIONS]
    writer.write_eof()
    assert await reader.read() == b""
    writer.close()
    assert await read_all(port, b"c") == b"c"


@pytest.mark.parametrize("of_route", [True, False])
async def test_over_the_rate_limit_the_next_connection_is_reset(mesh: Rig, of_route: bool) -> None:
    limit = RateLimit(TokenBucket(2, fill_interval_ms=3_600_000), KeyOf(KeyKind.SOURCE))
    rule = BoundRule(Rule((Backend(port_key()),)), rate_limit=limit if of_route else None)
    policy = Policy(rate_limit=None if of_route else limit)
    port = await mesh.service(await mesh.server(named(b"in")), policy=policy, rules=(rule,))
    assert [await read_all(port), await read_all(port)] == [b"in", b"in"]
    with pytest.raises(ConnectionResetError):
        await read_all(port)
    assert mesh.seen.turned_away == [When.OVER_LIMIT]


async def test_without_an_endpoint_the_other_service_that_the_rule_names_answers(mesh: Rig) -> None:
    other = port_key("other")
    mesh.endpoints(await mesh.server(named(b"other")), key=other)
    rule = BoundRule(Rule((Backend(port_key()),)), degrade=(Degrade(When.NO_ENDPOINT, Backend(other)),))
    port = await mesh.service(Endpoint("127.0.0.1", free_port()), rules=(rule,))
    assert await read_all(port) == b"other"


async def test_backends_get_their_share_by_weight_and_none_with_weight_0(mesh: Rig) -> None:
    keys = [port_key(name) for name in ("a", "b", "c")]
    for key in keys:
        mesh.endpoints(await mesh.server(named(key.service.name.encode())), key=key)
    shares = tuple(Backend(key, weight) for key, weight in zip(keys, (3, 1, 0), strict=True))
    port = await mesh.service(rules=(BoundRule(Rule(shares)),))
    heard = [await read_all(port) for _ in range(40)]
    assert {name: heard.count(name) for name in (b"a", b"b", b"c")} == {b"a": 30, b"b": 10, b"c": 0}


async def test_a_client_stays_with_its_endpoint_while_that_is_there(mesh: Rig) -> None:
    servers = [await mesh.server(named(name)) for name in (b"a", b"b", b"c")]
    port = await mesh.service(*servers, affinity_s=60)
    first = await read_all(port)
    assert {await read_all(port) for _ in range(9)} == {first}
    mesh.endpoints(*(one for one, name in zip(servers, (b"a", b"b", b"c"), strict=True) if name != first))
    second = await read_all(port)
    assert second != first
    assert {await read_all(port) for _ in range(9)} == {second}


async def test_clients_are_spread_by_their_address_where_the_policy_hashes_it(mesh: Rig) -> None:
    servers = [await mesh.server(named(name)) for name in (b"a", b"b", b"c")]
    policy = Policy(balancer=LoadBalancer(Balance.CONSISTENT_HASH, KeyOf(KeyKind.SOURCE)))
    port = await mesh.service(*servers, policy=policy)
    went: dict[str, set[bytes]] = {}
    for number in range(30):
        source = f"127.0.9.{number % 10 + 1}"
        reader, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=(source, 0))
        went.setdefault(source, set()).add(await reader.read())
        writer.close()
    assert all(len(one) == 1 for one in went.values())
    assert len(set.union(*went.values())) > 1


async def test_clients_that_go_away_while_nobody_answers_leave_nothing_behind(mesh: Rig, hole: Endpoint) -> None:
    port = await mesh.service(hole)
    for _ in range(5):
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.close()
    await until(lambda: not len(mesh.raw) and len(mesh.seen.turned_away) == 5)
    upstream = mesh.upstreams.get(port_key())
    assert upstream is not None
    assert upstream.active == 0
