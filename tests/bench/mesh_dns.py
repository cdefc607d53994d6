"""The mesh's DNS beside dnsmasq: the same 1 000 names, the same client, turn by turn; and how soon a change is seen."""

from __future__ import annotations

import asyncio
import os
import random
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import Final

import dns.message

from mesh.dns import DnsServer, DnsSettings
from mesh.model.services import Endpoint, Service, ServiceKey, ServicePort
from mesh.model.table import Table
from tests.bench.figure import Figure, Scale
from tests.bench.rig import WAIT_S, Child, child, free_port, module

_SERVICES: Final = 1000
_ROUNDS: Final = 11
_ROUND_S: Final = 1
_CHANGES: Final = 200
_DOMAIN: Final = "default.svc.cluster.local"
_PEER: Final = shutil.which("dnsmasq", path="/usr/sbin:/usr/bin:/usr/local/sbin")


async def figures(scale: Scale) -> list[Figure]:
    """Queries a second, with and without uvloop, then the delay of changes."""
    (scale.folder / "hosts").write_text("".join(f"{_address(n)} svc{n}.{_DOMAIN}\n" for n in range(_SERVICES)))
    (scale.folder / "asked").write_text("".join(f"svc{n}.{_DOMAIN} A\n" for n in range(_SERVICES)))
    ours, plain, peer = free_port(), free_port(), free_port()
    with ExitStack() as children:
        server = children.enter_context(child(module("tests.bench.mesh_dns", str(ours), "uvloop")))
        other = children.enter_context(child(module("tests.bench.mesh_dns", str(plain), "asyncio")))
        children.enter_context(child(_dnsmasq(scale.folder, peer)))
        for one in (server, other):
            await one.line()
        rounds = await asyncio.to_thread(lambda: list(_rounds(scale.folder, ours, plain, peer)))
        delays_ms = [await _seen_ms(server, ours, number) for number in range(_CHANGES)]
    against, without, rates = zip(*rounds, strict=True)
    return [
        Figure("mesh.dns.rate", median(rates), "queries/s", "queries a second of dnsperf, 1 000 services, uvloop"),
        Figure("mesh.dns.asyncio", median(without), "x", "the same without uvloop, against dnsmasq", reach=0.7),
        Figure(
            "mesh.dns.visible",
            sorted(delays_ms)[int(0.99 * len(delays_ms))],
            "ms",
            f"an endpoint of one of 1 000 headless services changes: table given to answer seen, p99 of {_CHANGES}",
            reach=20,
            at_most=True,
        ),
        Figure(
            "mesh.dns",
            median(against),
            "x",
            f"queries a second against dnsmasq with a hosts file, 1 000 names, median of {_ROUNDS} rounds",
            reach=0.9,
        ),
    ]


def _rounds(folder: Path, ours: int, plain: int, peer: int) -> Iterator[tuple[float, float, float]]:
    for port in (ours, plain, peer):
        _rate(folder, port)  # what is ready after the first asking is ready for all
    for number in range(_ROUNDS):
        order = (ours, peer, plain) if number % 2 else (plain, peer, ours)
        rates = {port: _rate(folder, port) for port in order}
        yield rates[ours] / rates[peer], rates[plain] / rates[peer], rates[ours]


def _rate(folder: Path, port: int) -> float:
    command = ["dnsperf", "-s", "127.0.0.1", "-p", str(port), "-d", str(folder / "asked"), "-c", "4", "-q", "100"]
    said = subprocess.run(
        [*command, "-l", str(_ROUND_S)], capture_output=True, text=True, check=True, timeout=_ROUND_S + WAIT_S
    ).stdout
    lost = re.search(r"Queries lost:\s+(\d+)", said)
    rate = re.search(r"Queries per second:\s+([\d.]+)", said)
    if rate is None or lost is None or int(lost[1]):
        message = f"dnsperf lost queries, or failed:\n{said}"
        raise RuntimeError(message)
    return float(rate[1])


def _dnsmasq(folder: Path, port: int) -> list[str]:
    if _PEER is None:
        message = "dnsmasq is not installed: apt-get install dnsmasq-base dnsperf"
        raise RuntimeError(message)
    where = [f"--port={port}", "--listen-address=127.0.0.1", "--bind-interfaces", f"--addn-hosts={folder / 'hosts'}"]
    quiet = ["--keep-in-foreground", "--no-resolv", "--no-hosts", "--conf-file=/dev/null", "--pid-file", "--user="]
    return [_PEER, *quiet, *where, "--cache-size=10000"]


async def _seen_ms(server: Child, port: int, number: int) -> float:
    """Change one endpoint and ask for it without a pause until the answer is the new one."""
    query = dns.message.make_query(f"pets{number}.{_DOMAIN}", "A").to_wire()
    new = socket.inet_aton(f"10.200.0.{number % 250 + 1}")

    def ask() -> float:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.settimeout(WAIT_S)
            sock.connect(("127.0.0.1", port))
            sock.send(query)
            sock.recv(512)  # the old answer is ready, as it would be
            began_s = time.perf_counter()
            server.tell(f"{number} 10.200.0.{number % 250 + 1}")
            while True:
                sock.send(query)
                if sock.recv(512).endswith(new):
                    return (time.perf_counter() - began_s) * 1000

    return await asyncio.to_thread(ask)


def _address(number: int) -> str:
    return f"127.96.{number // 250}.{number % 250 + 1}"


def _table() -> dict[ServiceKey, Service]:
    virtual = [Service(ServiceKey("default", f"svc{n}"), _address(n), (ServicePort(80),)) for n in range(_SERVICES)]
    return {one.key: one for one in (*virtual, *(_pets(n, f"10.100.0.{n % 250 + 1}") for n in range(_SERVICES)))}


def _pets(number: int, address: str) -> Service:
    endpoints = tuple(Endpoint(f"10.1.{number // 250}.{m}", 80, ready=False) for m in range(3))
    return Service(
        ServiceKey("default", f"pets{number}"), "", (ServicePort(80, endpoints=(*endpoints, Endpoint(address, 80))),)
    )


async def _serve(port: int) -> None:
    """Run in a child: a server that is told of changes, a line each."""
    server = DnsServer(DnsSettings(listen=(f"127.0.0.1:{port}",), forward=False), rng=random.SystemRandom())
    services = _table()
    server.program(Table(services=services))
    await server.open()
    sys.stdout.write("open\n")
    sys.stdout.flush()
    ended = asyncio.Event()

    def told() -> None:
        line = os.read(sys.stdin.fileno(), 100).decode()
        if not line:
            ended.set()
            return
        number, address = line.split()
        changed = _pets(int(number), address)
        services[changed.key] = changed
        server.program(Table(services=dict(services)))

    asyncio.get_running_loop().add_reader(sys.stdin.fileno(), told)
    await ended.wait()
    await server.close()


if __name__ == "__main__":
    if sys.argv[2] == "uvloop":
        import uvloop

        uvloop.run(_serve(int(sys.argv[1])))
    else:
        asyncio.run(_serve(int(sys.argv[1])))
