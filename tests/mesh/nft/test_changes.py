"""What becomes of connections when endpoints come, go, fail or end, and of the table when others touch it."""

import asyncio
import contextlib
import socket
import sys
import threading

import pytest

from mesh.anyip import our_routes
from mesh.errors import PlaneError
from mesh.model.policies import OutlierDetection
from mesh.model.services import Plane, Transport
from mesh.planes.nft.plane import remove_leftover
from mesh.upstream import Outcome
from tests.mesh.netns import Network, needs_netns
from tests.mesh.nft.kit import (
    NETWORKS,
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
DNS = key("dns", 53, Transport.UDP)


class Load:
    """Clients that open one connection after the other, in threads, and note each that failed."""

    def __init__(self, node, address, clients=2):
        self.failed: list[str] = []
        self.done = 0
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(node, address)) for _ in range(clients)]

    def _run(self, node, address):
        while not self._stop.is_set():
            try:
                who(node, address)
                self.done += 1
            except OSError as error:
                self.failed.append(repr(error))

    def __enter__(self):
        for one in self._threads:
            one.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        for one in self._threads:
            one.join(20)


@pytest.mark.parametrize("six", [False, True])
async def test_connections_to_an_endpoint_that_is_gone_are_reset_and_the_others_live(six):
    with site(3) as (_, client, (two, three)):
        async with gateway() as here:
            address = WEB6 if six else WEB4
            await here.program(frontend(WEB, address), group(WEB, at(two, six=six), at(three, six=six)))
            socks = {}
            while len(socks) < 2:
                sock = connect(client, address)
                socks[ask(sock)[0]] = sock
            await here.program(group(WEB, at(three, six=six)))
            assert ask(socks["node3"])[0] == "node3"
            with pytest.raises(ConnectionResetError):
                ask(socks["node2"])
            for sock in socks.values():
                sock.close()


async def test_what_ends_keeps_its_connections_and_gets_no_new_ones():
    with site(3) as (_, client, (two, three)):
        async with gateway() as here:
            await here.program(frontend(WEB, WEB4), group(WEB, at(two)), frontend(DNS, WEB4), group(DNS, at(two)))
            with connect(client, WEB4) as sock, client.socket(kind=socket.SOCK_DGRAM) as datagrams:
                assert ask(sock)[0] == who_by_datagram(datagrams, WEB4, 53) == "node2"
                leaving = at(two, ready=False, terminating=True)
                await here.program(group(WEB, leaving, at(three)), group(DNS, leaving, at(three)))
                assert ask(sock)[0] == who_by_datagram(datagrams, WEB4, 53) == "node2"
                assert spread(client, WEB4, 4) == {"node3": 4}


async def test_datagrams_to_an_endpoint_that_is_gone_or_left_out_go_elsewhere():
    with site(3) as (_, client, (two, three)):
        async with gateway() as here:
            await here.program(frontend(DNS, WEB4), group(DNS, at(two)))
            with client.socket(kind=socket.SOCK_DGRAM) as sock:
                assert who_by_datagram(sock, WEB4, 53) == "node2"
                await here.program(group(DNS, at(two, ready=False), at(three)))
                assert who_by_datagram(sock, WEB4, 53) == "node3"
                await here.program(group(DNS, at(two)))
                assert who_by_datagram(sock, WEB4, 53) == "node2"


async def test_an_endpoint_that_is_ejected_gets_nothing_new_until_it_is_back():
    with site(3) as (_, client, (two, three)):
        async with gateway() as here:
            await here.program(
                frontend(WEB, WEB4),
                group(WEB, at(two), at(three), outlier=OutlierDetection(base_ejection_ms=400)),
            )
            upstream = here.upstreams.get(WEB)
            upstream.on_change = lambda one: here.plane.retarget(one.key)
            target = upstream.targets[f"{two.address}:{PORT}"]
            now_s = asyncio.get_running_loop().time()
            for _ in range(2):
                upstream.began(target, now_s)
                upstream.ended(target, Outcome.CONNECT_FAILED, now_s, 0.0)
            assert target.ejected
            await until(lambda: spread(client, WEB4, 4) == {"node3": 4})
            await until(lambda: spread(client, WEB4, 4) == {"node2": 2, "node3": 2})


async def test_a_table_that_somebody_deleted_or_changed_is_put_back_and_said():
    with site(3) as (net, client, nodes):
        async with gateway() as here:
            await here.program(
                frontend(WEB, WEB4, node_port=30080),
                group(WEB, *(at(one) for one in nodes)),
            )
            breakages = (
                "flush ruleset",
                "delete table inet edgetwin_mesh",
                "flush chain inet edgetwin_mesh to/plant/web/80/tcp",
                "flush map inet edgetwin_mesh services4",
                "add rule inet edgetwin_mesh services drop",
                "add chain inet edgetwin_mesh stranger",
            )
            for breakage in breakages:
                said = len(here.mended)
                net.router.run("nft", breakage)
                await until(lambda said=said: len(here.mended) > said)
                assert who(client, WEB4).startswith("node")
                here.plane._mend_at_s = 0.0
            assert here.mended[0].startswith("another program changed what the mesh had set up (the table is gone)")
            assert "stranger has 0 rules instead of no place here" in here.mended[-1]
            net.router.run("ip", "route", "del", "local", "10.96.0.0/16", "dev", "lo")
            said = len(here.mended)
            await until(lambda: len(here.mended) > said)
            assert set(our_routes()) == set(NETWORKS)


async def test_tables_of_others_and_traffic_that_is_no_service_are_left_alone():
    other = """
        add table ip netavark
        add chain ip netavark published { type nat hook prerouting priority dstnat; }
        add rule ip netavark published tcp dport 8080 dnat to 10.77.2.1:7000
        add table inet guard
        add chain inet guard filter { type filter hook forward priority 0; }
        add rule inet guard filter counter
    """
    with site(3) as (net, client, (two, three)):
        net.router.run("nft", "-f", "-", stdin=other)
        before = net.router.run("nft", "-s", "list", "ruleset")
        async with gateway() as here:
            # A service with the endpoint that somebody else publishes at a port of this machine too.
            await here.program(frontend(WEB, WEB4), group(WEB, at(two), at(three)))
            for address, port in ((two.address, PORT), ("10.77.1.254", 8080)):
                with connect(client, address, port) as sock:
                    assert ask(sock) == ["node2", client.address, "who"]  # neither sent elsewhere nor masked
            assert refused(client, WEB4, 81)
            for _ in range(20):
                await here.program(group(WEB, at(two)))
                await here.program(group(WEB, at(three)))
        net.router.run("nft", "delete", "table", "inet", "edgetwin_mesh")
        assert net.router.run("nft", "-s", "list", "ruleset") == before


async def test_a_second_mesh_on_the_machine_is_refused_and_the_first_goes_on():
    with site(2) as (_, client, nodes):
        async with gateway() as here:
            await here.program(frontend(WEB, WEB4), group(WEB, at(nodes[0])))
            with pytest.raises(PlaneError, match="another mesh carries services"):
                async with gateway():
                    pass
            assert who(client, WEB4) == "node2"


async def test_a_restart_is_not_felt_and_forgets_what_is_gone():
    with site(4) as (_, client, nodes):
        async with gateway() as here:
            await here.program(
                frontend(WEB, WEB4),
                group(WEB, *(at(one) for one in nodes)),
                frontend(key("old"), "10.96.0.9"),
                group(key("old"), at(nodes[0])),
            )
            sock = connect(client, WEB4)
            first = ask(sock)[0]
        with Load(client, WEB4) as load:
            assert who(client, WEB4).startswith("node")  # nobody is there, the kernel carries on
            async with gateway() as here:
                assert await here.program(frontend(WEB, WEB4), group(WEB, *(at(one) for one in nodes))) == {}
                assert ask(sock)[0] == first
                await until(lambda: load.done > 50)
            # What was removed while nobody was there is found out too.
            async with gateway() as here:
                left = [one for one in nodes if one.name != first]
                await here.program(frontend(WEB, WEB4), group(WEB, *(at(one) for one in left)))
                with pytest.raises(ConnectionResetError):
                    ask(sock)
        assert load.failed == []
        assert refused(client, "10.96.0.9")
        sock.close()


@pytest.mark.parametrize("six", [False, True])
async def test_clients_stay_with_their_endpoint_over_a_restart(six):
    with site(4) as (net, client, nodes):
        address = WEB6 if six else WEB4
        told = frontend(WEB, address, affinity_s=600), group(WEB, *(at(one, six=six) for one in nodes))
        before = []
        async with gateway() as here:
            await here.program(*told)
            before.append(who(client, address))
        for _ in range(4):  # by chance alone they would all be the same once in 81 times
            async with gateway() as here:
                await here.program(*told)
                before.append(who(client, address))
        assert set(before) == {before[0]}
        # An endpoint that went meanwhile keeps nobody.
        left = [at(one, six=six) for one in nodes if one.name != before[0]]
        async with gateway() as here:
            await here.program(told[0], group(WEB, *left))
            after = who(client, address)
            assert after != before[0]
            # Our table is made anew while we live, too.
            net.router.run("nft", "add", "chain", "inet", "edgetwin_mesh", "strange")
            net.router.run("nft", "flush", "chain", "inet", "edgetwin_mesh", "services")
            await until(lambda: here.mended)
            assert spread(client, address, 4) == {after: 4}


async def test_nothing_is_taken_away_before_it_is_known_what_to_put_in_its_place():
    with site(2) as (_, client, nodes):
        async with gateway() as here:
            await here.program(frontend(WEB, WEB4), group(WEB, at(nodes[0])))
        async with gateway() as here:
            await here.program()
            assert who(client, WEB4) == "node2"
        # If it goes on like this, nobody wants it.
        async with gateway(settle_s=0.3) as here:
            await here.program()
            await until(lambda: refused(client, WEB4))


async def test_a_table_that_nobody_wants_is_removed_unless_a_mesh_is_alive():
    with site(2) as (_, client, nodes):
        assert not await remove_leftover()
        async with gateway() as here:
            await here.program(frontend(WEB, WEB4), group(WEB, at(nodes[0])))
            assert not await remove_leftover()
            assert who(client, WEB4) == "node2"
        assert await remove_leftover()
        assert refused(client, WEB4)


async def test_frontends_come_move_and_go():
    with site(3) as (_, client, (two, three)):
        async with gateway() as here:
            other = key("other")
            await here.program(frontend(WEB, WEB4), group(WEB, at(two)))
            # Its address goes to another service in the same step.
            await here.program(frontend(other, WEB4), group(other, at(three)), frontend(WEB, "10.96.0.2"))
            assert who(client, WEB4) == "node3"
            assert who(client, "10.96.0.2") == "node2"
            await here.program(gone=[other], gone_backends=[other])
            assert refused(client, WEB4)
            await here.program(frontend(WEB, "10.96.0.2", plane=Plane.USERSPACE))
            assert refused(client, "10.96.0.2")  # nobody listens there in this test
            await here.program(gone=[WEB], gone_backends=[WEB])


async def test_an_endpoint_that_goes_after_its_frontend_moved_to_another_plane_is_cut_too():
    with site(3) as (_, client, (two, three)):
        async with gateway() as here:
            await here.program(frontend(WEB, WEB4), group(WEB, at(two)))
            with connect(client, WEB4) as sock:
                assert ask(sock)[0] == "node2"
                await here.program(frontend(WEB, WEB4, plane=Plane.USERSPACE))
                assert ask(sock)[0] == "node2"
                await here.program(group(WEB, at(three)))
                with pytest.raises(ConnectionResetError):
                    ask(sock)


async def test_hundreds_of_endpoint_changes_under_load_drop_no_connection():
    await churn(changes=200, clients=2)


@pytest.mark.torture
async def test_a_thousand_endpoint_changes_under_load_drop_no_connection():
    await churn(changes=1000, clients=4)


async def churn(changes: int, clients: int) -> None:
    """Endpoints come and go as they should: what goes says so first, and is gone when it is idle."""
    with site(4) as (_, client, (two, three, four)):
        async with gateway() as here:
            await here.program(frontend(WEB, WEB4, node_port=30080), group(WEB, at(two), at(three), at(four)))
            with connect(client, WEB4) as long_lived, Load(client, WEB4, clients) as load:
                stays = ask(long_lived)[0]
                for number in range(changes):
                    ends = [one for one in (two, three, four) if one.name != stays][number // 2 % 2]
                    if number % 2 == 0:
                        members = [
                            at(one, ready=one is not ends, terminating=one is ends) for one in (two, three, four)
                        ]
                    else:
                        members = [at(one) for one in (two, three, four)]
                    assert not await here.program(group(WEB, *members))
                    if number % 50 == 0:
                        assert ask(long_lived)[0] == stays
                await until(lambda: load.done > 20)
                assert ask(long_lived)[0] == stays
            assert load.failed == []


async def test_a_black_holed_endpoint_is_left_out_once_it_is_said():
    with site(3) as (net, client, (two, three)):
        async with gateway() as here:
            await here.program(frontend(WEB, WEB4), group(WEB, at(two), at(three)))
            here.upstreams.get(WEB).on_change = lambda one: here.plane.retarget(one.key)
            net.blackhole(two.address, PORT)
            with contextlib.suppress(TimeoutError):
                for _ in range(2):
                    who(client, WEB4, timeout_s=0.2)
            here.upstreams.get(WEB).probed(f"{two.address}:{PORT}", asyncio.get_running_loop().time(), alive=False)
            here.plane.retarget(WEB)
            chain = ("nft", "list", "chain", "inet", "edgetwin_mesh", "to/plant/web/80/tcp")
            await until(lambda: two.address not in net.router.run(*chain))
            assert spread(client, WEB4, 10) == {"node3": 10}
            net.clear()
            here.upstreams.get(WEB).probed(f"{two.address}:{PORT}", asyncio.get_running_loop().time(), alive=True)
            await until(lambda: spread(client, WEB4, 4) == {"node2": 2, "node3": 2})


async def test_a_cut_link_and_its_repair_leave_the_rules_as_they_are():
    with site(3) as (net, client, (two, three)):
        async with gateway() as here:
            await here.program(frontend(WEB, WEB4), group(WEB, at(two), at(three)))
            with connect(client, WEB4) as sock:
                first = ask(sock)[0]
                net.cut(client)
                sock.sendall(b"who\n")
                net.join(client)
                assert sock.recv(100).decode().split()[0] == first
            assert spread(client, WEB4, 4) == {"node2": 2, "node3": 2}
            assert here.mended == []


async def test_a_machine_without_the_right_is_told_so():
    script = """
import asyncio
from tests.mesh.nft.kit import gateway
async def main():
    async with gateway(networks=()):
        pass
asyncio.run(main())
"""
    with Network(1) as net:
        less = ("setpriv", "--bounding-set=-net_admin", "--inh-caps=-net_admin")
        said = net.nodes[0].run(*less, sys.executable, "-c", script, ok=False)
    assert "PlaneError: the kernel gives no access to nftables" in said
    assert "Run as root or with CAP_NET_ADMIN" in said
