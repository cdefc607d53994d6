"""What the monitor knows of raw connections and datagram flows."""

import asyncio
import socket
from dataclasses import replace
from random import Random

import pytest

from mesh.access_log import AccessLog
from mesh.model.programme import BackendGroup, BoundRule
from mesh.model.routes import Backend, RouteKey, RouteKind, Rule
from mesh.model.services import Endpoint, Transport
from mesh.snapshot import Own
from tests.mesh.raw_rig import WAIT_S, abort, echo, free_port, port_key, raw_frontend, read_all, rig, until


async def test_a_connection_is_counted_by_route_endpoint_and_caller_with_its_bytes() -> None:
    async with rig(metered=True) as mesh:
        lines: list[str] = []
        mesh.monitor.log = AccessLog(lines.append, lambda: 0.0, Random(1), sample=1.0)
        server = await mesh.server(echo)
        route = RouteKey(RouteKind.TCP, "default", "r")
        port = await mesh.service(server, rules=(BoundRule(Rule((Backend(port_key()),)), route),))
        assert await read_all(port, b"12345") == b"12345"
        await until(lambda: not len(mesh.raw))
        snapshot = mesh.monitor.snapshot(0.0)
        (share,) = snapshot.shares
        assert (share.key.frontend, share.key.route, share.key.backend) == (
            port_key("web", port),
            str(route),
            port_key(),
        )
        ((place, counts),) = share.places
        assert place == server.place
        assert (counts.requests, counts.failed, counts.bytes_in, counts.bytes_out, counts.active) == (1, 0, 5, 5, 0)
        (edge,) = snapshot.edges
        assert (edge.key.caller, edge.counts.bytes_in) == ("gateway", 5)
        (line,) = lines
        assert f'"endpoint":"{server.place}"' in line.replace(" ", "")


async def test_what_was_turned_away_and_what_broke_is_counted_by_its_reason() -> None:
    async with rig(metered=True) as mesh:
        port = await mesh.service()
        with pytest.raises(ConnectionResetError):
            await read_all(port)
        (share,) = mesh.monitor.snapshot(0.0).shares
        assert dict(share.own) == {Own.NO_ENDPOINT: 1}

        async def dies(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read(1)
            abort(writer)

        mesh.endpoints(await mesh.server(dies))
        with pytest.raises(ConnectionResetError):
            await read_all(port, b"x")
        await until(lambda: not len(mesh.raw))
        (share,) = mesh.monitor.snapshot(0.0).shares
        assert [counts.failed for _, counts in share.places] == [1]


async def test_a_flow_of_datagrams_is_counted() -> None:
    async with rig() as mesh:
        key = port_key("dns", 53, Transport.UDP)
        loop = asyncio.get_running_loop()
        with socket.socket(type=socket.SOCK_DGRAM) as server, socket.socket(type=socket.SOCK_DGRAM) as client:
            server.bind(("127.0.0.1", 0))
            server.setblocking(False)
            client.setblocking(False)
            mesh.upstreams.apply([BackendGroup(key, (Endpoint(*server.getsockname()),))], [])
            port = free_port(socket.SOCK_DGRAM)
            own = port_key("dns", port, Transport.UDP)
            assert await mesh.program(replace(raw_frontend(port, key), key=own)) == {}
            client.connect(("127.0.0.1", port))
            async with asyncio.timeout(WAIT_S):
                client.send(b"abc")
                heard, back = await loop.sock_recvfrom(server, 100)
                server.sendto(heard * 2, back)
                assert await loop.sock_recv(client, 100) == b"abcabc"
            (share,) = mesh.monitor.snapshot(0.0).shares
            ((_, counts),) = share.places
            assert (counts.requests, counts.bytes_in, counts.bytes_out, counts.active) == (1, 3, 6, 1)
