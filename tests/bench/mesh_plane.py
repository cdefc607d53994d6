"""`python -m tests.bench.mesh_plane [--plain] ADDRESS:PORT BACKEND...`: a userspace plane with one raw frontend.

Prints `ready` when it listens. ``--plain`` runs it on the standard loop even where uvloop is installed.
"""

from __future__ import annotations

import asyncio
import random
import sys

from mesh.model.programme import BackendGroup, BoundRule, Frontend, ProgrammeDelta
from mesh.model.routes import Backend, Rule
from mesh.model.services import AppProtocol, Endpoint, PortKey, ServiceKey
from mesh.monitor import Monitor
from mesh.planes.l4.carrier import RawCarrier
from mesh.planes.l4.datagrams import Datagrams
from mesh.planes.l4.metered import Metered
from mesh.planes.listeners import Listeners
from mesh.planes.userspace import Userspace
from mesh.upstream import Upstreams


async def serve(address: str, port: int, backends: list[str]) -> None:
    """Carry connections until the process is ended."""
    key = PortKey(ServiceKey("bench", "web"), port)
    rng = random.Random(1)
    upstreams = Upstreams(rng)
    places = [backend.rsplit(":", 1) for backend in backends]
    endpoints = tuple(Endpoint(host, int(at)) for host, at in places)
    upstreams.apply([BackendGroup(key, endpoints)], [])
    clock = asyncio.get_running_loop().time
    watcher = Metered(Monitor(upstreams), clock)
    raw = RawCarrier(upstreams, rng, watcher, clock, None)
    raw.open()
    plane = Userspace(
        {AppProtocol.RAW: raw},
        Datagrams(upstreams, raw.choosing, raw.wire.poller, clock, watcher),
        Listeners(),
    )
    frontend = Frontend(key, (address,), (BoundRule(Rule((Backend(key),))),))
    problems = await plane.program(ProgrammeDelta(frontends=(frontend,)))
    if problems:
        sys.exit(str(problems))
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    await asyncio.Event().wait()


def main() -> None:
    """Take the arguments apart and serve."""
    arguments = sys.argv[1:]
    plain = arguments[0] == "--plain"
    address, port = arguments[plain].rsplit(":", 1)
    serving = serve(address, int(port), arguments[plain + 1 :])
    if plain:
        asyncio.run(serving)
        return
    try:
        import uvloop
    except ImportError:
        asyncio.run(serving)
    else:
        uvloop.run(serving)


if __name__ == "__main__":
    main()
