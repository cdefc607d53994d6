"""Raw connections through the userspace plane against the bare path and HAProxy: small requests, and bulk.

    client ──veth──> router: nothing, HAProxy or the plane ──veth──> one backend        each with one thread

Every round measures all ways one after the other, so that a ratio is always of the same second of this machine. The
namespaces have reno, which each may choose: where a machine has BBR, its pacing would be measured in place of the ways.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Final

from tests.bench.figure import Figure, Scale
from tests.bench.rig import ROOT
from tests.mesh.netns import Network, Node

_ROUNDS: Final = 9
_BULK_ROUNDS: Final = 5
_BULK_S: Final = "1.5"
_TRIES: Final = 5
_HTTP: Final = 8000
_IPERF: Final = 5201
_DIRECT: Final = "direct"
_HAPROXY: Final = "haproxy"
_OURS: Final = "ours"
_BACKEND: Final = """
global
  nbthread 1
  maxconn 4000
defaults
  mode http
  timeout connect 2s
  timeout client 30s
  timeout server 30s
frontend fixed
  bind {address}:{port}
  http-request return status 200 content-type text/plain string "{body}"
"""
_PROXY: Final = """
global
  nbthread 1
  maxconn 4000
defaults
  mode tcp
  timeout connect 2s
  timeout client 30s
  timeout server 30s
listen one
  bind {listen}
  server one {backend}
"""


@dataclass(frozen=True, slots=True)
class Ways:
    """Where the client finds the backend: bare, behind HAProxy, behind us."""

    client: Node
    places: dict[str, tuple[str, int]]


async def small_requests(scale: Scale) -> list[Figure]:
    """Requests a second of 16 connections that stay open."""
    with Network(2, routed=True) as net:
        _, server = net.nodes
        config = scale.folder / "backend.cfg"
        config.write_text(_BACKEND.format(address=server.address, port=_HTTP, body="x" * 90))
        server.start("haproxy", "-f", str(config), "-db", stderr=subprocess.DEVNULL)
        with _ways(net, _HTTP, scale.folder) as ways:
            best = _rounds(ways, _ROUNDS, _requests_per_s)
    return [
        Figure(
            "mesh.l4.haproxy", _ratio(best, _OURS, _HAPROXY), "x", "against HAProxy TCP, keep-alive requests/s", 1.0
        ),
        Figure("mesh.l4.per_s", median(best[_OURS]), "requests/s", "through the userspace plane"),
        Figure("mesh.l4", _ratio(best, _OURS, _DIRECT), "x", "keep-alive requests/s through it against direct", 0.5),
    ]


async def bulk(scale: Scale) -> list[Figure]:
    """One stream of as many bytes as it takes."""
    with Network(2, routed=True) as net:
        _, server = net.nodes
        server.start("iperf3", "-s", "-p", str(_IPERF), stderr=subprocess.DEVNULL)
        with _ways(net, _IPERF, scale.folder) as ways:
            best = _rounds(ways, _BULK_ROUNDS, _gbytes_per_s)
    return [
        Figure("mesh.bulk.haproxy", _ratio(best, _OURS, _HAPROXY), "x", "against HAProxy's default, GB/s", 1.5),
        Figure("mesh.bulk.gb_per_s", median(best[_OURS]), "GB/s", "one stream through the userspace plane"),
        Figure("mesh.bulk", _ratio(best, _OURS, _DIRECT), "x", "GB/s of one stream against direct", 0.9),
    ]


@contextmanager
def _ways(net: Network, port: int, folder: Path) -> Iterator[Ways]:
    client, server = net.nodes
    for node in (*net.nodes, net.router):
        node.sysctl("net.ipv4.tcp_congestion_control", "reno")
    gateway = client.address.rsplit(".", 1)[0] + ".254"
    backend = f"{server.address}:{port}"
    places = {_DIRECT: (server.address, port), _HAPROXY: (gateway, 8101), _OURS: (gateway, 8102)}
    config = folder / "proxy.cfg"
    config.write_text(_PROXY.format(listen=f"{gateway}:8101", backend=backend))
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    net.router.start("haproxy", "-f", str(config), "-db", stderr=subprocess.DEVNULL)
    net.router.start(sys.executable, "-m", "tests.bench.mesh_plane", f"{gateway}:8102", backend, env=environment)
    for address, at in places.values():
        client.answers(address, at)
    yield Ways(client, places)


def _rounds(ways: Ways, rounds: int, measure: Callable[[Node, str, int], float]) -> dict[str, list[float]]:
    got: dict[str, list[float]] = {way: [] for way in ways.places}
    for _ in range(rounds):
        for way, (address, port) in ways.places.items():
            got[way].append(measure(ways.client, address, port))
    return got


def _requests_per_s(client: Node, address: str, port: int) -> float:
    printed = client.run("wrk", "-t1", "-c16", "-d1", f"http://{address}:{port}/")
    if "Socket errors" in printed or "Non-2xx" in printed:
        msg = f"requests failed at {address}:{port}: {printed}"
        raise RuntimeError(msg)
    found = re.search(r"Requests/sec:\s+([\d.]+)", printed)
    assert found is not None
    return float(found.group(1))


def _gbytes_per_s(client: Node, address: str, port: int) -> float:
    """Up and down, one after the other; the mean of both."""
    both = [_stream(client, address, port, *way) for way in ((), ("-R",))]
    return sum(both) / len(both)


def _stream(client: Node, address: str, port: int, *way: str) -> float:
    for _ in range(_TRIES):
        printed = client.run("iperf3", "-J", "-c", address, "-p", str(port), "-t", _BULK_S, *way, ok=False)
        found = re.search(r'"sum_received":\s*(\{[^}]*\})', printed)
        if found is not None:
            return float(json.loads(found.group(1))["bits_per_second"]) / 8e9
        time.sleep(0.2)  # its server takes one after the other, and has not noticed the end of the last
    msg = f"iperf3 measures nothing at {address}:{port}: {printed}"
    raise RuntimeError(msg)


def _ratio(got: dict[str, list[float]], ours: str, other: str) -> float:
    return median(one / two for one, two in zip(got[ours], got[other], strict=True))
