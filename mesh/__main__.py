"""python -m mesh: a mesh from one file, without a hub.

{"services": [{"key": "default/web", "address": "127.96.0.1",
               "ports": [{"port": 8080, "app": "http",
                          "endpoints": [{"address": "192.0.2.7", "port": 80},
                                        {"address": "192.0.2.8", "port": 80, "weight": 2}]}]}],
 "routes": [{"key": "HTTPRoute default/web", "parents": ["default/web:8080"],
             "rules": [{"matches": [{"path": "/api"}], "request_ms": 2000,
                        "backends": [{"port": "default/web:8080"}]}]}],
 "policies": {"default/web": {"health_check": {"kind": "http", "path": "/health"}}}}

python -m mesh --table web.json --check                    what is wrong with it
python -m mesh --table web.json --dns 127.0.0.1:10053      carry it out; the file may be changed while it runs
curl http://127.96.0.1:8080/api                            reaches one of the two
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from pathlib import Path
from random import Random

from mesh.compile import Compiled, compile_table
from mesh.errors import InvalidTable
from mesh.model.services import DEFAULT_DOMAIN, Plane
from mesh.settings import Settings
from mesh.store import FileStore, LoggedEvents


def main(argv: list[str]) -> int:
    """The command; 1 if there is something wrong with the table."""
    chosen = _parser().parse_args(argv)
    settings = Settings(
        node=chosen.node,
        zone=chosen.zone,
        domain=chosen.domain,
        dns_listen=tuple(chosen.dns),
        plane=Plane(chosen.plane),
        network=chosen.network,
        workers=chosen.workers,
        metrics_listen=chosen.metrics,
    )
    store = FileStore(chosen.table)
    return _check(store, settings) if chosen.check else _run(store, settings)


def _check(store: FileStore, settings: Settings) -> int:
    try:
        table = store.load()
    except InvalidTable as error:
        sys.stderr.write(f"{error}\n")
        return 1
    compiled = compile_table(table, Compiled(settings.node, settings.plane or Plane.USERSPACE))
    for subject, problems in sorted(compiled.problems.items(), key=lambda one: str(one[0])):
        for problem in problems:
            sys.stdout.write(f"{subject}: {problem.reason}: {problem.text}\n")
    if not compiled.problems:
        frontends, services = len(compiled.programme.frontends), len(table.services)
        sys.stdout.write(f"well: {services} services, {len(table.routes)} routes, {frontends} frontends\n")
    return 1 if compiled.problems else 0


def _run(store: FileStore, settings: Settings) -> int:
    from mesh.alone import Alone  # planes and DNS, which --check has no use for
    from mesh.process import as_many_files_as_may_be, log_to_stderr, on_signals, run, until_stopped

    async def alone() -> None:
        mesh = Alone(settings, store, LoggedEvents(), time.monotonic, Random())
        stop = asyncio.Event()
        on_signals(stop.set)
        try:
            await mesh.open()
            await until_stopped(stop, mesh.run())
        finally:
            await mesh.close()

    log_to_stderr()
    as_many_files_as_may_be()
    return run(alone)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "python -m mesh", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--table", type=Path, required=True, metavar="FILE", help="the table, as JSON")
    parser.add_argument("--check", action="store_true", help="say what is wrong with the table, and do nothing")
    parser.add_argument("--dns", action="append", default=[], metavar="HOST:PORT", help="answer names there")
    parser.add_argument("--domain", default=DEFAULT_DOMAIN, help="what names of services end in")
    parser.add_argument("--metrics", default="", metavar="HOST:PORT", help="Prometheus metrics at /metrics there")
    parser.add_argument("--workers", type=int, default=1, help="processes that carry bytes")
    parser.add_argument("--plane", choices=[one.value for one in Plane], default=Plane.USERSPACE.value,
                        help="what carries services that ask for nothing else")  # fmt: skip
    parser.add_argument("--network", default=Settings().network, help="service addresses; made local, as root")
    parser.add_argument("--node", default="", help="which gateway this is: its endpoints come first")
    parser.add_argument("--zone", default="", help="where it stands: endpoints there come second")
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
