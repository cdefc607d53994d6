"""A frontend moves between userspace and the kernel while its connections are open, in both directions."""

import asyncio
import hashlib
import socket
import threading
from random import Random

import pytest

from mesh.model.services import AppProtocol, Plane, Transport
from mesh.monitor import Monitor
from mesh.planes.l4.carrier import RawCarrier
from mesh.planes.l4.datagrams import Datagrams
from mesh.planes.l4.metered import Metered
from mesh.planes.listeners import Listeners
from mesh.planes.nft import flush
from mesh.planes.userspace import Userspace
from tests.mesh.netns import needs_netns
from tests.mesh.nft.kit import (
    WEB4,
    WEB6,
    Gateway,
    ask,
    at,
    connect,
    delta,
    frontend,
    gateway,
    group,
    key,
    site,
    until,
    who,
)

pytestmark = needs_netns
WEB, DNS = key(), key("dns", 53, Transport.UDP)
BYTES = 400_000


class Both:
    """The two planes of one process, over the same upstreams."""

    def __init__(self, kernel: Gateway) -> None:
        self.kernel = kernel
        upstreams, clock = kernel.upstreams, asyncio.get_running_loop().time
        watcher = Metered(Monitor(upstreams), clock)
        raw = RawCarrier(upstreams, Random(1), watcher, clock, None)
        raw.open()
        datagrams = Datagrams(upstreams, raw.choosing, raw.wire.poller, clock, watcher)
        self.userspace = Userspace({AppProtocol.RAW: raw}, datagrams, Listeners())

    async def program(self, *items) -> None:
        change = delta(*items)
        self.kernel.upstreams.apply(change.backends, change.gone_backends)
        to_kernel = any(one.plane is Plane.NFTABLES for one in change.frontends)
        # First who takes over, then who lets go.
        for plane in (self.kernel.plane, self.userspace) if to_kernel else (self.userspace, self.kernel.plane):
            assert not await plane.program(change)


class Transfer(threading.Thread):
    """A long download, read slowly."""

    def __init__(self, node, address) -> None:
        super().__init__()
        self.sock = connect(node, address, timeout_s=20)
        self.got = 0
        self.digest = hashlib.sha256()
        self.fault = ""
        self.start()

    def run(self) -> None:
        try:
            self.sock.sendall(f"stream {BYTES}\n".encode())
            while chunk := self.sock.recv(65536):
                self.got += len(chunk)
                self.digest.update(chunk)
        except OSError as error:
            self.fault = repr(error)
        self.sock.close()


@pytest.mark.parametrize("address", [WEB4, WEB6])
async def test_long_transfers_outlive_swaps_in_both_directions(address):
    with site(3) as (_, client, nodes):
        async with gateway() as here:
            planes = Both(here)
            members = [at(one, six=":" in address) for one in nodes]
            await planes.program(frontend(WEB, address, plane=Plane.USERSPACE), group(WEB, *members))
            transfers = []
            for number in range(6):
                transfers.append(await asyncio.to_thread(Transfer, client, address))
                await until(lambda: all(one.got > 0 for one in transfers))
                plane = Plane.USERSPACE if number % 2 else Plane.NFTABLES
                await planes.program(frontend(WEB, address, plane=plane))
            assert any(one.is_alive() for one in transfers)  # the first swaps were in the middle of them
            await until(lambda: not any(one.is_alive() for one in transfers), 60)
            expected = hashlib.sha256(b"x" * BYTES).digest()
            assert [(one.fault, one.got, one.digest.digest()) for one in transfers] == [("", BYTES, expected)] * 6
            await planes.userspace.close()


async def test_new_connections_are_never_refused_while_a_frontend_swaps():
    with site(3) as (_, client, nodes):
        async with gateway() as here:
            planes = Both(here)
            await planes.program(frontend(WEB, WEB4, plane=Plane.USERSPACE), group(WEB, *(at(one) for one in nodes)))
            failed, done, stop = [], [0], threading.Event()

            def load():
                while not stop.is_set():
                    try:
                        who(client, WEB4)
                        done[0] += 1
                    except OSError as error:
                        failed.append(repr(error))

            threads = [threading.Thread(target=load) for _ in range(2)]
            for one in threads:
                one.start()
            try:
                for number in range(40):
                    before = done[0]
                    await until(lambda before=before: done[0] > before or failed)
                    plane = Plane.USERSPACE if number % 2 else Plane.NFTABLES
                    await planes.program(frontend(WEB, WEB4, plane=plane))
            finally:
                stop.set()
                await asyncio.to_thread(lambda: [one.join(20) for one in threads])
            assert failed == []
            assert done[0] >= 40
            await planes.userspace.close()


async def test_a_connection_of_userspace_stays_there_even_if_the_kernel_has_tracked_none_before():
    with site(2) as (_, client, nodes):
        async with gateway() as first:
            userspace = Both(first).userspace
            first.upstreams.apply([group(WEB, at(nodes[0]))], [])
            assert not await userspace.program(delta(frontend(WEB, WEB4, plane=Plane.USERSPACE)))
            await first.plane.close()
            flush()
            async with gateway() as late:
                late.upstreams.apply([group(WEB, at(nodes[0]))], [])
                with await asyncio.to_thread(connect, client, WEB4) as sock:
                    assert (await asyncio.to_thread(ask, sock))[0] == "node2"
                    assert not await late.plane.program(delta(frontend(WEB, WEB4), group(WEB, at(nodes[0]))))
                    assert (await asyncio.to_thread(ask, sock))[0] == "node2"
                await userspace.close()


async def test_datagrams_of_one_socket_are_answered_through_a_swap():
    with site(2) as (_, client, nodes):
        async with gateway() as here:
            planes = Both(here)
            await planes.program(frontend(DNS, WEB4, plane=Plane.USERSPACE), group(DNS, at(nodes[0])))
            with client.socket(kind=socket.SOCK_DGRAM) as sock:
                sock.settimeout(5)
                sock.connect((WEB4, 53))

                def answered() -> bool:
                    sock.send(b"who\n")
                    return sock.recv(100).startswith(b"node2")

                for plane in (Plane.NFTABLES, Plane.USERSPACE, Plane.NFTABLES):
                    assert await asyncio.to_thread(answered)
                    await planes.program(frontend(DNS, WEB4, plane=plane))
                assert await asyncio.to_thread(answered)
            await planes.userspace.close()
