"""A cloud as docs/scale.md has it, on one machine: PostgreSQL, brokers behind HAProxy, workers, simulated gateways."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, Final

from cloudsync.identity.folder import GATEWAYS, CloudFolder
from cloudsync.identity.model import Issued
from cloudsync.identity.sql_store import identity_store
from tests.bench.rig import Child, child, environment, module
from tests.cloudsync.postgres_server import PostgresServer
from tests.cloudsync.process import CloudProcess, free_ports
from twin.certificates import new_key, request

ROOT: Final = Path(__file__).parents[2]
DEPLOY: Final = ROOT / "cloudsync" / "deploy"
WAIT_S: Final = 120.0
LOGIN: Final = "workers"


class ScaleSite:
    """Everything as processes; ``with`` starts and ends it. Without ``shards`` the one broker is the cloud's own."""

    def __init__(self, folder: Path, *, shards: int, workers: int, say: Any = lambda _: None) -> None:
        self.folder = folder
        self._shards = shards
        self._workers = workers
        self._say = say
        self._stack = ExitStack()
        self.clouds: list[CloudProcess] = []
        self.shard_ports: list[int] = []
        self.proxy: Child | None = None
        self.postgres: PostgresServer

    def __enter__(self) -> ScaleSite:
        """Start PostgreSQL, the shards, HAProxy, the workers."""
        self._say("starting PostgreSQL")
        self.postgres = self._stack.enter_context(PostgresServer(durable=True))
        port = free_ports(1)[0]
        password = secrets.token_urlsafe(24)
        inner = free_ports(self._shards)
        common = {
            "EDGETWIN_CLOUD_STORE_URL": self.postgres.url(),
            "EDGETWIN_CLOUD_BROKER_USERNAME": LOGIN,
            "EDGETWIN_CLOUD_BROKER_PASSWORD": password,
            "EDGETWIN_CLOUD_SYNC_HELLOS_PER_SECOND": "200",
        }
        main = CloudProcess(self.folder / "main", **common)
        main.environment["EDGETWIN_CLOUD_WORKERS"] = str(self._workers)
        if self._shards:
            main.gateways_port = port
            main.environment |= {
                "EDGETWIN_CLOUD_BROKER_GATEWAYS": "",
                "EDGETWIN_CLOUD_PUBLIC_GATEWAYS_PORT": str(port),
                "EDGETWIN_CLOUD_BROKER_SHARDS": json.dumps([f"mqtts://localhost:{one}" for one in inner]),
            }
        self._say("making the CA and the first admin")
        main.run("cloud", "init")
        if self._shards:
            self._start_shards(main, common, inner)
        self._say(f"starting {self._workers} workers and the web server")
        self._started(main)
        if self._shards:
            self._say("starting HAProxy")
            self.proxy = self._start_proxy(port)
        return self

    def __exit__(self, *exc: object) -> None:
        """End all of it."""
        self._stack.close()

    @property
    def main(self) -> CloudProcess:
        """The cloud with the CA and the workers."""
        return self.clouds[-1]

    def pids(self) -> dict[str, list[int]]:
        """Process ids by what they are."""
        found: dict[str, list[int]] = {"postgres": _tree(self.postgres.pid)}
        if self.proxy is not None:
            found["haproxy"] = _tree(self.proxy.pid)
        for cloud in self.clouds:
            for name, pid in cloud.children().items():
                found.setdefault(name.partition("-")[0], []).append(pid)
        return found

    def gateways(self, count: int) -> Path:
        """Enrol so many at once, straight in the database; the folder with key and certificate of each."""
        folder = self.folder / "gateways"
        folder.mkdir(exist_ok=True)
        asyncio.run(_enrol(CloudFolder(self.main.folder), self.postgres.url(), folder, count))
        return folder

    def fleet(self, names: Iterable[str], folder: Path, *, rows: int, period_s: float, spread_s: float) -> Child:
        """Start simulated gateways in a process of their own."""
        running = self._stack.enter_context(child(module("tests.bench.fleet"), log=self.folder / "fleet.log"))
        asked = {
            "names": list(names),
            "folder": str(folder),
            "ca": str(self.main.folder / "ca" / f"{GATEWAYS}.pem"),
            "host": "localhost",
            "port": self.main.gateways_port,
            "rows": rows,
            "period_s": period_s,
            "spread_s": spread_s,
        }
        running.tell(json.dumps(asked))
        return running

    def _start_shards(self, main: CloudProcess, common: dict[str, str], inner: list[int]) -> None:
        for number, inner_port in enumerate(inner, 1):
            folder = self.folder / f"shard-{number}"
            main.run("cloud", "shard", "localhost", "--out", str(folder))
            shard = CloudProcess(
                folder,
                **common,
                EDGETWIN_CLOUD_BROKER_APPS="",
                EDGETWIN_CLOUD_BROKER_INTERNAL=f"127.0.0.1:{inner_port}",
                EDGETWIN_CLOUD_WEB_LISTEN="",
                EDGETWIN_CLOUD_PUBLIC_WEB_PORT=str(main.web_port),
                EDGETWIN_CLOUD_PUBLIC_APPS_PORT=str(main.apps_port),
                EDGETWIN_CLOUD_WORKERS="0",
            )
            shard.web_port = main.web_port
            self.clouds.append(shard)
            self.shard_ports.append(shard.gateways_port)
        # The lists of revoked certificates come from where the CA is, so that starts first.
        self._stack.callback(self._stop_shards)

    def _started(self, main: CloudProcess) -> None:
        main.start()
        self._stack.callback(main.stop)
        for number, shard in enumerate(self.clouds, 1):
            self._say(f"starting shard {number} of the gateways' broker")
            self.start_shard(shard)
        self.clouds.append(main)

    def start_shard(self, shard: CloudProcess) -> None:
        """Start one, and wait until it is up."""
        log = self._stack.enter_context(shard.log.open("ab"))
        shard.process = subprocess.Popen(
            [sys.executable, "-c", "from edgehub.cli import main; main()", "cloud", "run"],
            env=shard.environment,
            stdout=log,
            stderr=log,
        )
        ends_s = time.monotonic() + WAIT_S
        while shard.run("cloud", "status", check=False).returncode != 0:
            assert shard.running, shard.log.read_text()
            assert time.monotonic() < ends_s, shard.log.read_text()
            time.sleep(0.1)

    def _stop_shards(self) -> None:
        for shard in self.clouds:
            if shard.running and shard is not self.main:
                shard.stop(signal.SIGTERM)

    def _start_proxy(self, port: int) -> Child:
        program = shutil.which("haproxy", path=f"{os.environ['PATH']}:/usr/sbin")
        if program is None:
            message = "haproxy is missing; run tools/haproxy.sh"
            raise RuntimeError(message)
        named = {f"EDGETWIN_SHARD_{number}": f"127.0.0.1:{one}" for number, one in enumerate(self.shard_ports, 1)}
        # A client uses two file numbers, and a shell's limit is lower than a service's.
        env = environment(EDGETWIN_GATEWAYS=f"127.0.0.1:{port}", EDGETWIN_MAXCONN="4000", **named)
        argv = [program, "-f", str(DEPLOY / "haproxy.cfg"), "-db"]
        return self._stack.enter_context(child(argv, env=env, log=self.folder / "haproxy.log"))


def names(count: int, first: int = 0) -> list[str]:
    """What simulated gateways are called."""
    return [f"sim-{number:05d}" for number in range(first, first + count)]


async def _enrol(folder: CloudFolder, url: str, out: Path, count: int) -> None:
    authority, now = folder.authority(GATEWAYS), time.time_ns() // 1_000_000
    made: list[Issued] = []
    for name in names(count):
        if (out / f"{name}.pem").exists():
            continue
        key = new_key()
        certificate, issued = authority.issue(request(key, name), name, now=now, days=30)
        (out / f"{name}.pem").write_text(key + certificate)
        made.append(issued)
    async with identity_store(url) as store, store._database.transaction() as session:
        rows = await session.fetch("UPDATE identity_state SET revision = revision + 1 RETURNING revision")
        for issued in made:
            await session.fetch(
                "INSERT INTO identity_account (name, kind, role, created_at, revoked_at, api_token, revision)"
                " VALUES ($1, 'gateway', '', $2, 0, '', $3)",
                *(issued.account, now, rows[0][0]),
            )
            await session.fetch(
                "INSERT INTO identity_certificate (serial, account, begins_at, ends_at, revoked_at)"
                " VALUES ($1, $2, $3, $4, 0)",
                *(issued.serial, issued.account, issued.begins_at, issued.ends_at),
            )


def _tree(pid: int) -> list[int]:
    found = [pid]
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            if int(path.read_text().rpartition(")")[2].split()[1]) == pid:
                found.append(int(path.parent.name))
    return found
