"""Raw connections through the userspace plane against the bare path and HAProxy: small requests, and bulk.

    client ──veth──> router: nothing, HAProxy or the plane ──veth──> one backend        each with one thread

The namespaces have reno, which each may choose: where a machine has BBR, its pacing would be measured in place of the
ways. Bulk has one more way, the least that a relay can be: two processes that only block in splice.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Final

from tests.bench.figure import Figure, Scale
from tests.bench.mesh_ways import (
    IPERF,
    Place,
    fixed_answers,
    gbytes_per_s,
    haproxy,
    iperf_server,
    plane,
    ratio,
    requests_per_s,
    rounds,
    router_address,
)
from tests.mesh.netns import Network

_ROUNDS: Final = 9
_BULK_ROUNDS: Final = 5
_HTTP: Final = 8000
_DIRECT, _HAPROXY, _OURS, _FLOOR = "direct", "haproxy", "ours", "floor"
_PROXY: Final = """
listen one
  mode tcp
  bind {listen}
  server one {backend}
"""


async def small_requests(scale: Scale) -> list[Figure]:
    """Requests a second of 16 connections that stay open."""
    with Network(2, routed=True) as net:
        fixed_answers(net.nodes[1], scale.folder / "backend.cfg", _HTTP)
        with _ways(net, _HTTP, scale.folder) as ways:
            got = rounds(net.nodes[0], ways, requests_per_s, _ROUNDS)
    return [
        Figure("mesh.l4.haproxy", ratio(got, _OURS, _HAPROXY), "x", "against HAProxy TCP, keep-alive requests/s", 1.0),
        Figure("mesh.l4.per_s", median(got[_OURS]), "requests/s", "through the userspace plane"),
        Figure("mesh.l4", ratio(got, _OURS, _DIRECT), "x", "keep-alive requests/s through it against direct", 0.5),
    ]


async def bulk(scale: Scale) -> list[Figure]:
    """One stream of as many bytes as it takes."""
    with Network(2, routed=True) as net:
        iperf_server(net.nodes[1])
        with _ways(net, IPERF, scale.folder) as ways:
            ways[_FLOOR] = (router_address(net), 8103)
            plane(net.router, "tests.bench.splice_floor", f"{ways[_FLOOR][0]}:8103", f"{net.nodes[1].address}:{IPERF}")
            net.nodes[0].answers(*ways[_FLOOR])
            got = rounds(net.nodes[0], ways, gbytes_per_s, _BULK_ROUNDS)
    least = "two processes a connection that only block in splice, the least a relay can be"
    return [
        Figure("mesh.bulk.haproxy", ratio(got, _OURS, _HAPROXY), "x", "against HAProxy's default, GB/s", 1.5),
        Figure("mesh.bulk.gb_per_s", median(got[_OURS]), "GB/s", "one stream through the userspace plane"),
        Figure("mesh.bulk.floor", ratio(got, _FLOOR, _DIRECT), "x", f"GB/s through {least}, against direct"),
        Figure("mesh.bulk.of_floor", ratio(got, _OURS, _FLOOR), "x", f"GB/s against {least}"),
        Figure("mesh.bulk", ratio(got, _OURS, _DIRECT), "x", "GB/s of one stream against direct", 0.9),
    ]


@contextmanager
def _ways(net: Network, port: int, folder: Path) -> Iterator[dict[str, Place]]:
    client, server = net.nodes
    for node in (*net.nodes, net.router):
        node.sysctl("net.ipv4.tcp_congestion_control", "reno")
    gateway = router_address(net)
    backend = f"{server.address}:{port}"
    places = {_DIRECT: (server.address, port), _HAPROXY: (gateway, 8101), _OURS: (gateway, 8102)}
    haproxy(net.router, folder / "proxy.cfg", _PROXY.format(listen=f"{gateway}:8101", backend=backend))
    plane(net.router, "tests.bench.mesh_plane", f"{gateway}:8102", backend)
    for place in places.values():
        client.answers(*place)
    yield places
