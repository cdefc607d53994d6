"""What the nftables plane carries, in the real kernel: by both families, TCP and UDP, and by the rules of a service."""

import asyncio
import socket

import pytest

from mesh.model.policies import Balance, ConnectionPool, KeyKind, KeyOf, LoadBalancer, RateLimit, TokenBucket
from mesh.model.routes import Backend
from mesh.model.services import Endpoint, Origin, Transport
from tests.mesh.netns import needs_netns
from tests.mesh.nft.kit import (
    PORT,
    WEB4,
    WEB6,
    ask,
    at,
    connect,
    frontend,
    gateway,
    group,
    key,
    refused,
    site,
    spread,
    until,
    who,
    who_by_datagram,
)

pytestmark = needs_netns
WEB = key()


async def test_connections_are_shared_out_in_turn_by_both_families():
    with site() as (_, client, nodes):
        endpoints = [*(at(one) for one in nodes)]
        async with gateway() as here:
            web6 = key("web6")
            assert not await here.program(
                frontend(WEB, WEB4),
                group(WEB, *endpoints),
                frontend(web6, WEB6),
                group(web6, *(at(one, six=True) for one in nodes)),
            )
            for address in (WEB4, WEB6):
                assert spread(client, address, 9) == {"node2": 3, "node3": 3, "node4": 3}


async def test_weights_of_endpoints_and_of_backends_hold():
    with site() as (_, client, (two, three, four)):
        async with gateway() as here:
            other = key("other")
            await here.program(
                frontend(WEB, WEB4, to=[Backend(WEB, 3), Backend(other, 1), Backend(key("none"), 0)]),
                group(WEB, at(two, weight=3), at(three)),
                group(other, at(four)),
            )
            seen = spread(client, WEB4, 400)
            assert seen["node4"] == pytest.approx(100, abs=40)
            assert seen["node2"] == pytest.approx(3 * seen["node3"], abs=12)


async def test_datagrams_stay_with_their_endpoint_and_those_of_another_socket_go_elsewhere():
    with site() as (_, client, nodes):
        async with gateway() as here:
            dns = key("dns", 53, Transport.UDP)
            await here.program(frontend(dns, WEB4), group(dns, *(at(one) for one in nodes)))
            seen = set()
            for _ in range(3):
                with client.socket(kind=socket.SOCK_DGRAM) as sock:
                    first = who_by_datagram(sock, WEB4, 53)
                    assert {who_by_datagram(sock, WEB4, 53) for _ in range(3)} == {first}
                    seen.add(first)
            assert seen == {"node2", "node3", "node4"}


async def test_a_node_port_is_open_at_every_address_of_the_gateway():
    with site() as (net, client, nodes):
        async with gateway() as here:
            await here.program(
                frontend(WEB, WEB4, node_port=30080),
                group(WEB, *(at(one) for one in nodes)),
            )
            for address in ("10.77.1.254", "10.77.2.254"):
                assert who(client, address, 30080).startswith("node")
            assert refused(client, "10.77.1.254", 30081)
            assert who(net.router, "10.77.3.254", 30080).startswith("node")  # from the gateway itself


async def test_the_gateway_itself_reaches_services():
    with site() as (net, _, nodes):
        async with gateway() as here:
            await here.program(frontend(WEB, WEB4), group(WEB, *(at(one) for one in nodes)))
            assert spread(net.router, WEB4, 6) == {"node2": 2, "node3": 2, "node4": 2}


@pytest.mark.parametrize("routed", [True, False])
async def test_an_endpoint_reaches_the_service_that_it_is_behind_itself(routed):
    with site(routed=routed) as (net, _, nodes):
        if not routed:  # where the kernel filters bridges too, a frame does not go back where it came from otherwise
            net.router.run("ip", "link", "set", nodes[0].name, "type", "bridge_slave", "hairpin", "on")
        async with gateway() as here:
            await here.program(frontend(WEB, WEB4), group(WEB, at(nodes[0])))
            assert who(nodes[0], WEB4) == "node2"
            assert who(nodes[1], WEB4) == "node2"


@pytest.mark.parametrize("six", [False, True])
async def test_an_endpoint_of_this_gateway_sees_its_client_unless_they_are_neighbours(six):
    with site(3) as (net, client, (two, three)):
        async with gateway() as here:
            address = WEB6 if six else WEB4
            of = {one.name: one.address6 if six else one.address for one in (client, two, three)}
            here_too = [at(two, six=six, origin=Origin.HERE)]
            await here.program(frontend(WEB, address, node_port=30080), group(WEB, *here_too))
            router = "fd77:1::254" if six else "10.77.1.254"
            for to, port in ((address, 80), (router, 30080)):
                with connect(client, to, port) as sock:
                    assert ask(sock)[:2] == ["node2", of["node1"]]
            # One that is elsewhere has to answer through here.
            await here.program(group(WEB, at(three, six=six)))
            with connect(client, address) as sock:
                assert ask(sock)[:2] == ["node3", of["node3"].removesuffix("1") + "254"]
            # The endpoint itself, and the gateway, are answered by nobody else.
            await here.program(group(WEB, *here_too))
            assert who(two, address) == who(net.router, address) == "node2"
    with site(3, routed=False) as (_, client, (two, three)):
        async with gateway() as here:
            await here.program(frontend(WEB, WEB4), group(WEB, at(two, origin=Origin.HERE)))
            with connect(three, WEB4) as sock:
                assert ask(sock)[:2] == ["node2", "10.77.0.254"]


async def test_a_service_without_endpoints_refuses_at_once():
    with site(2) as (net, client, _):
        async with gateway() as here:
            dns = key("dns", 53, Transport.UDP)
            web6 = key("web6")
            await here.program(
                frontend(WEB, WEB4),
                group(WEB, Endpoint("10.77.2.1", PORT, ready=False)),
                frontend(web6, WEB6),
                frontend(dns, WEB4),
            )
            for node in (client, net.router):
                assert refused(node, WEB4)
                assert refused(node, WEB6)
            with client.socket(kind=socket.SOCK_DGRAM) as sock:
                sock.settimeout(5)
                sock.connect((WEB4, 53))
                sock.send(b"who\n")
                with pytest.raises(ConnectionRefusedError):
                    sock.recv(100)


async def test_a_client_stays_with_its_endpoint_for_as_long_as_affinity_says():
    with site() as (net, client, nodes):
        async with gateway() as here:
            members = [at(one) for one in nodes]
            await here.program(frontend(WEB, WEB4, affinity_s=1), group(WEB, *members))
            first = who(client, WEB4)
            assert spread(client, WEB4, 8) == {first: 8}
            # Another client is another matter.
            net.nodes[0].run("ip", "addr", "add", "10.77.1.2/24", "dev", "eth0")
            gone = next(one for one in nodes if one.name == first)
            await here.program(group(WEB, *(one for one in members if one.address != gone.address)))
            second = who(client, WEB4)
            assert second != first
            assert spread(client, WEB4, 8) == {second: 8}
            seen = {second}
            # Nobody came for a while: it is forgotten.
            for _ in range(20):
                await asyncio.sleep(1.2 if len(seen) == 1 else 0)
                seen.add(who(client, WEB4))
                if len(seen) == 2:
                    break
            assert seen == {one.name for one in nodes} - {first}


async def test_a_hash_of_the_client_moves_only_the_keys_of_the_endpoint_that_left():
    with site() as (_, client, nodes):
        for last in range(2, 60):
            client.run("ip", "addr", "add", f"10.77.1.{last}/24", "dev", "eth0")

        def owners():
            found = {}
            for last in range(2, 60):
                with client.socket() as sock:
                    sock.bind((f"10.77.1.{last}", 0))
                    sock.settimeout(5)
                    sock.connect((WEB4, 80))
                    found[last] = ask(sock)[0]
            return found

        async with gateway() as here:
            by_client = LoadBalancer(Balance.CONSISTENT_HASH, KeyOf(KeyKind.SOURCE))
            await here.program(frontend(WEB, WEB4), group(WEB, *(at(one) for one in nodes), balancer=by_client))
            before = owners()
            assert before == owners()
            assert set(before.values()) == {"node2", "node3", "node4"}
            await here.program(group(WEB, *(at(one) for one in nodes[:2]), balancer=by_client))
            after = owners()
            assert all(after[one] == owner for one, owner in before.items() if owner != "node4")


async def test_no_more_connections_than_allowed_and_a_change_of_endpoints_forgets_none():
    with site() as (_, client, nodes):
        async with gateway() as here:
            few = ConnectionPool(max_connections=3)
            await here.program(frontend(WEB, WEB4), group(WEB, *(at(one) for one in nodes), pool=few))
            open_ = [connect(client, WEB4) for _ in range(3)]
            assert refused(client, WEB4)
            await here.program(group(WEB, *(at(one) for one in nodes[:2]), at(nodes[2], weight=2), pool=few))
            assert refused(client, WEB4)
            open_.pop().close()
            await until(lambda: not refused(client, WEB4))
            for sock in open_:
                sock.close()


@pytest.mark.parametrize("per", [KeyKind.ALL, KeyKind.SOURCE])
async def test_more_connections_a_second_than_allowed_are_refused(per):
    with site(3) as (_, client, nodes):
        client.run("ip", "addr", "add", "10.77.1.2/24", "dev", "eth0")
        async with gateway() as here:
            limit = RateLimit(TokenBucket(5, 1, 60_000), KeyOf(per))
            await here.program(frontend(WEB, WEB4, rate_limit=limit), group(WEB, *(at(one) for one in nodes)))
            assert spread(client, WEB4, 5).total() == 5
            assert refused(client, WEB4)
            with client.socket() as other:
                other.bind(("10.77.1.2", 0))
                other.settimeout(5)
                if per is KeyKind.SOURCE:
                    other.connect((WEB4, 80))
                else:
                    with pytest.raises(ConnectionRefusedError):
                        other.connect((WEB4, 80))


async def test_what_endpoints_carried_is_counted():
    with site(3) as (net, client, nodes):
        net.router.sysctl("net.netfilter.nf_conntrack_acct", "1")
        async with gateway(count_s=0.05) as here:
            dns = key("dns", 53, Transport.UDP)
            await here.program(
                frontend(WEB, WEB4, node_port=30080),
                group(WEB, *(at(one) for one in nodes)),
                frontend(dns, WEB4),
                group(dns, at(nodes[0])),
            )
            spread(client, WEB4, 6)
            who(client, "10.77.1.254", 30080)
            who(net.router, WEB4)
            with client.socket(kind=socket.SOCK_DGRAM) as sock:
                who_by_datagram(sock, WEB4, 53)

            def connections():
                return {(one.port, one.place): one.connections for one in here.plane.traffic()}

            expected = {(WEB, "10.77.2.1:7000"): 4, (WEB, "10.77.3.1:7000"): 4, (dns, "10.77.2.1:7000"): 1}
            await until(lambda: connections() == expected)
            await until(
                lambda: all(
                    one.packets > 1 and one.bytes_in > 20 and one.bytes_out > 20 for one in here.plane.traffic()
                )
            )
            # The table is built anew, the sums go on.
            net.router.run("nft", "flush", "ruleset")
            await until(lambda: here.mended)
            who(client, WEB4)
            await until(lambda: sum(connections().values()) == 10)


async def test_what_the_kernel_cannot_do_is_said_and_the_frontend_goes_on_as_it_was():
    with site(3) as (_, client, nodes):
        async with gateway() as here:
            assert not await here.program(frontend(WEB, WEB4), group(WEB, at(nodes[0])))
            problems = await here.program(group(WEB, Endpoint("127.0.0.1", PORT)))
            assert "only this machine itself reaches 127.0.0.1" in problems[WEB]
            assert who(client, WEB4) == "node2"
            problems = await here.program(group(WEB, Endpoint("broker.example", PORT)))
            assert "broker.example is no address" in problems[WEB]
            problems = await here.program(group(WEB, at(nodes[0], six=True)))
            assert "does not translate between IPv4 and IPv6" in problems[WEB]
            assert who(client, WEB4) == "node2"
            assert not await here.program(group(WEB, at(nodes[1])))
            assert who(client, WEB4) == "node3"
