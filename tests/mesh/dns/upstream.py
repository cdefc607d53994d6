"""Servers upstream: a real dnsmasq, and one of our own that answers as badly as it is told to."""

import asyncio
import shutil
import socket
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager

import dns.message
import dns.rrset
import pytest

from mesh.dns.places import Place

DNSMASQ = shutil.which("dnsmasq", path="/usr/sbin:/usr/bin:/usr/local/sbin")


@contextmanager
def dnsmasq(port: int, *records: str) -> Iterator[Place]:
    """A dnsmasq that knows what it is told and denies all else. ``records`` are options of its, without the dashes."""
    if DNSMASQ is None:
        pytest.skip("dnsmasq is not installed")
    options = [f"--{one}" for one in (*records, f"port={port}", "listen-address=127.0.0.1", "bind-interfaces")]
    fixed = ["--keep-in-foreground", "--no-resolv", "--no-hosts", "--conf-file=/dev/null", "--pid-file", "--user="]
    forwards = any(one.startswith("server=") for one in records)
    command = [DNSMASQ, *fixed, *([] if forwards else ["--local=/#/"]), *options]
    process = subprocess.Popen(command, stderr=subprocess.PIPE)
    try:
        yield Place("127.0.0.1", port)
    finally:
        process.kill()
        process.wait(10)
        process.stderr.close()


async def is_up(place: Place) -> None:
    """Wait until a server answers anything."""
    query = dns.message.make_query("up.test", "A").to_wire()
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(20):
        while True:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
                sock.setblocking(False)
                sock.connect((place.address, place.port))
                try:
                    async with asyncio.timeout(0.2):
                        sock.send(query)
                        await loop.sock_recv(sock, 512)
                        return
                except OSError:
                    await asyncio.sleep(0.02)


Reply = bytes | None


class FakeUpstream(asyncio.DatagramProtocol):
    """Answers with what ``replies`` makes of a query; remembers whom it heard."""

    def __init__(self, replies: Callable[[dns.message.Message], Reply | list[bytes]]) -> None:
        self.replies = replies
        self.queries: list[dns.message.Message] = []
        self.clients: list[tuple[str, int]] = []
        self.place = Place("127.0.0.1", 0)

    def connection_made(self, transport) -> None:
        self.transport = transport
        self.place = Place(*transport.get_extra_info("sockname")[:2])

    def datagram_received(self, data: bytes, addr) -> None:
        query = dns.message.from_wire(data)
        if str(query.question[0].name).endswith("loop-check."):
            return
        self.queries.append(query)
        self.clients.append(addr)
        replies = self.replies(query)
        for reply in replies if isinstance(replies, list) else [replies]:
            if reply is not None:
                self.transport.sendto(reply, addr)


@asynccontextmanager
async def upstream(
    replies: Callable[[dns.message.Message], Reply | list[bytes]], port: int = 0
) -> AsyncIterator[FakeUpstream]:
    loop = asyncio.get_running_loop()
    transport, fake = await loop.create_datagram_endpoint(lambda: FakeUpstream(replies), ("127.0.0.1", port))
    try:
        yield fake
    finally:
        transport.close()


def saying(*values: str, ttl: int = 300, kind: str = "A") -> Callable[[dns.message.Message], bytes]:
    """Answers every question with the same."""

    def reply(query: dns.message.Message) -> bytes:
        response = dns.message.make_response(query, recursion_available=True)
        response.answer.append(dns.rrset.from_text(query.question[0].name, ttl, "IN", kind, *values))
        return response.to_wire()

    return reply


def failing(rcode: int) -> Callable[[dns.message.Message], bytes]:
    def reply(query: dns.message.Message) -> bytes:
        response = dns.message.make_response(query, recursion_available=True)
        response.set_rcode(rcode)
        return response.to_wire()

    return reply


def silence(query: dns.message.Message) -> None:
    del query
