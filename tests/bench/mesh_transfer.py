"""What one transfer of 4 MB from another gateway takes by the mesh against direct, over a line of 1 Gbit/s.

    client ─> userspace plane ─┐ node 1 ──1 Gbit/s── node 2: sends 4 MB to whoever connects
    client ────────────────────┘

The case in which EdgeMesh's users measured 321 ms where the bare network took 40 (edgemesh#551).
"""

from __future__ import annotations

import sys
import time
from statistics import median
from typing import Final

from tests.bench.figure import Figure, Scale
from tests.mesh.netns import Network, Node

SIZE_BYTES: Final = 4 * 1024 * 1024
_ROUNDS: Final = 40
_ADDRESS: Final = "127.96.0.1"
_PORT: Final = 7100
_LINE: Final = ("rate", "1gbit", "burst", "128kb", "latency", "50ms")
_SENDER: Final = f"""
import contextlib, socketserver
CONTENT = b"4" * {SIZE_BYTES}
class Sender(socketserver.BaseRequestHandler):
    def handle(self):
        with contextlib.suppress(ConnectionError):  # who only looks whether we are there
            self.request.sendall(CONTENT)
socketserver.ThreadingTCPServer.allow_reuse_address = True
socketserver.ThreadingTCPServer(("0.0.0.0", {_PORT}), Sender).serve_forever()
"""


async def figures(scale: Scale) -> list[Figure]:
    """The median of the ways, one after the other in each round."""
    del scale
    with Network(2) as net:
        here, there = net.nodes
        for node in (here, there):
            node.run("tc", "qdisc", "replace", "dev", "eth0", "root", "tbf", *_LINE)
        there.start(sys.executable, "-c", _SENDER)
        here.answers(there.address, _PORT)
        here.start(sys.executable, "-m", "tests.bench.mesh_plane", f"{_ADDRESS}:{_PORT}", f"{there.address}:{_PORT}")
        here.answers(_ADDRESS, _PORT)
        ways = {"direct": there.address, "ours": _ADDRESS}
        took_s: dict[str, list[float]] = {way: [] for way in ways}
        for number in range(_ROUNDS):
            for way in sorted(ways, reverse=bool(number % 2)):
                took_s[way].append(_transfer_s(here, ways[way]))
    ratio = median(ours / direct for ours, direct in zip(took_s["ours"], took_s["direct"], strict=True))
    direct_ms, ours_ms = median(took_s["direct"]) * 1000, median(took_s["ours"]) * 1000
    says = "one transfer of 4 MB from another gateway over 1 Gbit/s, connection and all: time of ours over direct"
    return [
        Figure("mesh.transfer.direct", direct_ms, "ms", "the same, direct"),
        Figure("mesh.transfer.ours", ours_ms, "ms", "the same, by the userspace plane"),
        Figure("mesh.transfer", ratio, "x", f"{says}, median of {_ROUNDS} rounds", 1.15, at_most=True),
    ]


def _transfer_s(client: Node, address: str) -> float:
    began_s = time.perf_counter()
    with client.socket() as sock:
        sock.settimeout(20)
        sock.connect((address, _PORT))
        left = SIZE_BYTES
        room = memoryview(bytearray(256 * 1024))
        while left:
            got = sock.recv_into(room)
            if not got:
                message = f"{left} bytes are missing"
                raise ConnectionError(message)
            left -= got
    return time.perf_counter() - began_s
