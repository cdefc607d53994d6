"""What the benches of data planes share: backends, clients, rounds in which every way has its turn, ratios.

Every round measures all ways one after the other, each round in the other order than the one before, so that a ratio
is always of the same seconds of this machine.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import median
from typing import Final

from tests.bench.rig import ROOT
from tests.mesh.netns import Network, Node

IPERF: Final = 5201
_BULK_S: Final = "1"
_TRIES: Final = 5
_HAPROXY: Final = """
global
  nbthread 1
  maxconn 4000
defaults
  timeout connect 2s
  timeout client 30s
  timeout server 30s
"""
_FIXED: Final = """
frontend fixed
  mode http
  http-request return status 200 content-type text/plain string "{body}"
"""

Place = tuple[str, int]
"""Where a way begins for the client."""


def haproxy(node: Node, config: Path, text: str) -> None:
    """A HAProxy with one thread; ``text``: what it carries, and what of the defaults is otherwise."""
    config.write_text(_HAPROXY + text)
    node.start("haproxy", "-f", str(config), "-db", stderr=subprocess.DEVNULL)


def fixed_answers(node: Node, config: Path, *ports: int) -> None:
    """A backend: one HAProxy that gives the same small answer at all these ports."""
    binds = "".join(f"  bind {node.address}:{port}\n" for port in ports)
    haproxy(node, config, _FIXED.format(body="x" * 90) + binds)


def plane(node: Node, module: str, *arguments: str) -> None:
    """One of our programs."""
    node.start(sys.executable, "-m", module, *arguments, env={**os.environ, "PYTHONPATH": str(ROOT)})


def iperf_server(node: Node) -> None:
    """The other end of streams."""
    node.start("iperf3", "-s", "-p", str(IPERF), stderr=subprocess.DEVNULL)


def router_address(net: Network) -> str:
    """Where the router is for the first node."""
    return net.nodes[0].address.rsplit(".", 1)[0] + ".254"


def rounds(
    client: Node, ways: Mapping[str, Place], measure: Callable[[Node, str, int], float], count: int
) -> dict[str, list[float]]:
    """What each way gave, round by round."""
    got: dict[str, list[float]] = {way: [] for way in ways}
    for number in range(count):
        for way in ways if number % 2 else reversed(ways):
            got[way].append(measure(client, *ways[way]))
    return got


def ratio(got: Mapping[str, list[float]], one: str, other: str) -> float:
    """The one against the other, as the median of the rounds."""
    return median(mine / theirs for mine, theirs in zip(got[one], got[other], strict=True))


def requests_per_s(client: Node, host: str, port: int, *more: str, path: str = "/") -> float:
    """Of 16 connections for a second; ``more``: options for wrk. Raises RuntimeError if one failed."""
    printed = client.run("wrk", "-t1", "-c16", "-d1", *more, f"http://{host}:{port}{path}")
    if "Socket errors" in printed or "Non-2xx" in printed:
        msg = f"requests failed at {host}:{port}: {printed}"
        raise RuntimeError(msg)
    found = re.search(r"Requests/sec:\s+([\d.]+)", printed)
    assert found is not None
    return float(found.group(1))


def gbytes_per_s(client: Node, host: str, port: int) -> float:
    """Of one stream up and one down, one after the other; the mean of both."""
    return sum(_stream(client, host, port, *way) for way in ((), ("-R",))) / 2


def _stream(client: Node, host: str, port: int, *way: str) -> float:
    for _ in range(_TRIES):
        printed = client.run("iperf3", "-J", "-c", host, "-p", str(port), "-t", _BULK_S, *way, ok=False)
        found = re.search(r'"sum_received":\s*(\{[^}]*\})', printed)
        if found is not None:
            return float(json.loads(found.group(1))["bits_per_second"]) / 8e9
        time.sleep(0.2)  # its server takes one after the other, and has not noticed the end of the last
    msg = f"iperf3 measures nothing at {host}:{port}: {printed}"
    raise RuntimeError(msg)
