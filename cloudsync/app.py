"""The parent of a cloud: it constructs and supervises, and serves nobody itself. Start is recovery: there is no other.

parent ─┬─ mosquitto-gateways ── gateways, by certificate
        ├─ mosquitto-apps ────── users, by certificate
        ├─ worker-1 .. N ─────── store
        ├─ web ───────────────── joining, renewal, REST
        ├─ relay ─────────────── gateways that cannot reach each other, if it is wanted
        └─ kube ──────────────── Kubernetes, if there is one
"""

from __future__ import annotations

import asyncio
import fcntl
import importlib.util
import logging
import os
import random
import resource
import secrets
import signal
import sys
from collections.abc import AsyncIterator, Coroutine, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from importlib.metadata import version
from typing import Any, Final
from urllib.parse import urlsplit

from cloudsync.access import WEB, WORKER
from cloudsync.brokers import SERVERS, OwnBroker, Place, remove_secrets
from cloudsync.guard import Guard
from cloudsync.health import CloudChild, CloudStatus, HealthFile
from cloudsync.identity.ca import DAY_MS
from cloudsync.identity.directory import Directory
from cloudsync.identity.folder import GATEWAYS, USERS, CloudFolder
from cloudsync.identity.model import AccountKind
from cloudsync.identity.sql_store import identity_store
from cloudsync.server_certificate import hosts_to_serve, keep_server_certificate
from cloudsync.settings import MQTT_PORT, MQTTS_PORT, CloudSettings
from cloudsync.setup import BrokerLogin, ChildSetup, KubeSetup, RelaySetup, WebSetup, WorkerSetup, child_environment
from twin.certificates import life
from twin.clock import Clock
from twin.errors import EdgetwinError, StoreError
from twin.link.backoff import Backoff
from twin.mosquitto import CANDIDATES, choose_port, find_mosquitto
from twin.sealing import Sealer
from twin.setting_types import split_address
from twin.supervisor import Child, Supervisor

APPS: Final = "apps"
STORE_S: Final = 60.0
"""How long the database may take to come up beside us."""
CERTIFICATE_S: Final = 3600.0
_OTHER_FILES: Final = 100
_CA_WARNING_MS: Final = 365 * DAY_MS

log = logging.getLogger(__name__)


class AlreadyRunning(EdgetwinError):
    """Another process runs a cloud on this state folder."""

    code = "already_running"


class MissingExtra(EdgetwinError):
    """Libraries of the extra `cloud` are not installed."""

    code = "missing_extra"


class Cloud:
    """A running cloud; ``running`` makes and ends it."""

    def __init__(self, settings: CloudSettings, folder: CloudFolder, clock: Clock, supervisor: Supervisor) -> None:
        self._settings = settings
        self._folder = folder
        self._clock = clock
        self._supervisor = supervisor
        self._store_url = settings.store.place(folder)
        self._store = identity_store(self._store_url)
        self._directory = Directory(self._store)
        self._brokers: list[OwnBroker] = []
        self._guard: Guard
        self._started_at = self._now()
        self._run = secrets.token_hex(8)

    @classmethod
    @asynccontextmanager
    async def running(
        cls, settings: CloudSettings, folder: CloudFolder, *, clock: Clock, rng: random.Random
    ) -> AsyncIterator[Cloud]:
        """Start everything, end everything in reverse. Raises EdgetwinError naming what does not start."""
        _check_libraries(settings)
        folder.make()
        _raise_file_limit(settings.broker.connections)
        async with AsyncExitStack() as stack:
            stack.enter_context(_alone(folder))
            supervisor = await stack.enter_async_context(Supervisor(clock=clock, rng=rng, family="cloudsync"))
            cloud = cls(settings, folder, clock, supervisor)
            await cloud._open(stack, rng)
            yield cloud

    def status(self) -> CloudStatus:
        """How it is, without asking anyone."""
        accounts = [account for account in self._directory.accounts() if account.active]
        parts = urlsplit(self._store_url)
        return CloudStatus(
            written_at=self._now(),
            version=version("edgetwin"),
            pid=os.getpid(),
            started_at=self._started_at,
            state_folder=str(self._folder.path),
            store=f"PostgreSQL on {parts.hostname}" if parts.hostname else str(self._folder.database),
            brokers=tuple(self._broker_lines()),
            web=self._settings.web.listen,
            gateways=sum(account.kind is AccountKind.GATEWAY for account in accounts),
            users=sum(account.kind is AccountKind.USER for account in accounts),
            children=tuple(
                CloudChild(name=one.child.name, running=one.pid is not None, pid=one.pid or 0, restarts=one.restarts)
                for one in self._supervisor.runners
            ),
            alarms=tuple(self._alarms()),
        )

    # -- start ---------------------------------------------------------------------------------------------------

    async def _open(self, stack: AsyncExitStack, rng: random.Random) -> None:
        settings = self._settings
        if settings.broker.gateways or settings.broker.apps or settings.web.listen or settings.relay.listen:
            keep_server_certificate(self._folder, hosts_to_serve(settings), self._now())
        if self._folder.has_authority():
            credentials = os.environ.get("CREDENTIALS_DIRECTORY", "")
            Sealer(self._folder.secrets_key, credentials=credentials).keep_key()
        await self._reach_store(stack, rng)
        await self._place_brokers()
        self._guard = Guard(
            *(self._store, self._directory, self._folder, self._brokers),
            clock=self._clock,
            export=bool(settings.broker.url) and self._folder.has_authority(),
        )
        stack.callback(remove_secrets, self._folder, (GATEWAYS, APPS))
        if self._brokers or self._folder.has_authority():
            lists = await self._guard.revoked()
            self._guard.write_export(lists)
            for broker in self._brokers:
                await broker.start(self._directory.accounts(), lists[GATEWAYS if broker.named else USERS])
            self._keep(stack, self._guard.keep(), "guard")
        for number in range(1, settings.workers + 1):
            await self._add(self._worker(f"worker-{number}", number))
        if settings.web.listen:
            await self._add(self._web())
        if settings.relay.listen:
            await self._add(self._relay())
        if settings.kube.wanted:
            trouble = self._folder.kube_trouble
            trouble.unlink(missing_ok=True)
            setup = KubeSetup(**self._setup("kube", WORKER), kube=settings.kube, trouble=str(trouble))
            await self._add(self._child("kube", "cloudsync.kube.child", setup))
        health = HealthFile(self._folder, self.status)
        stack.callback(self._folder.health.unlink, missing_ok=True)
        self._keep(stack, health.keep(), "health file")
        self._keep(stack, self._keep_certificate(), "server certificate")
        log.info("the cloud is up, %d workers; %s", settings.workers, "; ".join(self._broker_lines()))

    async def _reach_store(self, stack: AsyncExitStack, rng: random.Random) -> None:
        """A database that starts beside us may need a moment."""
        backoff = Backoff(0.2, 5.0, rng)
        ends_s = self._clock.monotonic_s() + STORE_S
        while True:
            try:
                await stack.enter_async_context(self._directory)
            except StoreError as error:
                if self._clock.monotonic_s() >= ends_s:
                    raise
                log.warning("waiting for the store: %s", error.message)
                await asyncio.sleep(backoff.next_s())
            else:
                return

    async def _place_brokers(self) -> None:
        broker = self._settings.broker
        wanted = {} if broker.url else {GATEWAYS: broker.gateways, APPS: broker.apps}
        wanted = {kind: listen for kind, listen in wanted.items() if listen}
        if not wanted:
            return
        binary = await find_mosquitto([broker.mosquitto] if broker.mosquitto else CANDIDATES)
        taken: set[int] = set()
        for kind, listen in wanted.items():
            while (inner := await choose_port(0, clock=self._clock)) in taken:
                continue
            taken.add(inner)
            shared = split_address(broker.internal) if broker.internal and kind == GATEWAYS else None
            login = (broker.username, broker.password.get_secret_value())
            place = Place(kind, *split_address(listen), inner, shared, login)
            self._brokers.append(
                OwnBroker(place, self._folder, binary.path, self._supervisor, connections=broker.connections)
            )

    # -- children ------------------------------------------------------------------------------------------------

    def _worker(self, name: str, number: int) -> Child:
        listen = self._settings.metrics.listen
        host, port = split_address(listen) if listen else ("", 0)
        setup = WorkerSetup(
            metrics=(host, port + number - 1) if listen else None,
            **self._setup(name, WORKER),
            sync=self._settings.sync,
            audit=self._settings.audit,
            secrets_key=str(self._folder.secrets_key),
        )
        return self._child(name, "cloudsync.worker", setup)

    def _web(self) -> Child:
        host, port = split_address(self._settings.web.listen)
        setup = WebSetup(
            **self._setup("web", WEB),
            host=host,
            port=port,
            state=str(self._folder.path),
            servers=self._settings.servers,
            identity=self._settings.identity,
            joins_per_minute=self._settings.web.joins_per_minute,
            dashboard=self._settings.web.dashboard,
            dashboard_hosts=(*hosts_to_serve(self._settings), *self._settings.web.hosts),
        )
        return self._child("web", "cloudsync.web", setup)

    def _relay(self) -> Child:
        host, port = split_address(self._settings.relay.listen)
        setup = RelaySetup(
            **self._setup("relay", WORKER),
            host=host,
            port=port,
            state=str(self._folder.path),
            relay=self._settings.relay,
        )
        return self._child("relay", "cloudsync.relay_child", setup)

    def _child(self, name: str, module: str, setup: ChildSetup) -> Child:
        argv = (sys.executable, "-m", module)
        return Child(
            name, argv, env=child_environment(), stdin=setup.model_dump_json().encode() + b"\n", level_of=child_level
        )

    async def _add(self, child: Child) -> None:
        await self._supervisor.add(child)

    def _setup(self, name: str, account: str) -> dict[str, Any]:
        return {
            "name": name,
            "parent_pid": os.getpid(),
            "run": self._run,
            "gateways": self._logins(GATEWAYS, account),
            "apps": self._logins(APPS, account),
            "store_url": self._store_url,
            "log_level": self._settings.log.level,
        }

    def _logins(self, kind: str, account: str) -> tuple[BrokerLogin, ...]:
        broker = self._settings.broker
        if broker.url:
            return (self._outside(broker.url),)
        own = tuple(one.login(account) for one in self._brokers if one.place.kind == kind)
        return (*own, *map(self._outside, broker.shards)) if kind == GATEWAYS else own

    def _outside(self, url: str) -> BrokerLogin:
        parts = urlsplit(url)
        secure = parts.scheme == "mqtts"
        return BrokerLogin(
            host=parts.hostname or "",
            port=parts.port or (MQTTS_PORT if secure else MQTT_PORT),
            username=self._settings.broker.username,
            password=self._settings.broker.password.get_secret_value(),
            ca=str(self._folder.certificate(GATEWAYS)) if secure else "",
        )

    # -- while it runs -------------------------------------------------------------------------------------------

    def _keep(self, stack: AsyncExitStack, work: Coroutine[object, object, None], name: str) -> None:
        stack.callback(asyncio.create_task(work, name=name).cancel)

    async def _keep_certificate(self) -> None:
        while True:
            await asyncio.sleep(CERTIFICATE_S)
            try:
                made = keep_server_certificate(self._folder, hosts_to_serve(self._settings), self._now())
            except (EdgetwinError, OSError) as error:
                log.warning("the servers' certificate is not made anew: %s", error)
                continue
            if made:
                self._guard.look()
                for one in self._supervisor.runners:
                    if one.child.name == "web":
                        one.send(signal.SIGTERM)  # it is started again, with the new one

    def _broker_lines(self) -> Iterator[str]:
        broker = self._settings.broker
        for own in self._brokers:
            yield f"{own.place.kind} on {own.place.host}:{own.place.port}"
        yield from (f"gateways on {url}" for url in broker.shards)
        if broker.url:
            yield f"all on {broker.url}"

    def _alarms(self) -> Iterator[str]:
        now = self._now()
        if self._directory.failing:
            yield "the store does not answer; who is known stands as it was"
        for name, early_ms in ((GATEWAYS, _CA_WARNING_MS), (USERS, _CA_WARNING_MS), (SERVERS, 30 * DAY_MS)):
            try:
                ends_at = life(self._folder.certificate(name).read_text(encoding="ascii")).ends_at
            except (OSError, EdgetwinError):
                continue
            if ends_at < now + early_ms:
                yield f"the certificate {name} ends in {max(0, ends_at - now) // DAY_MS} days"
        if self._settings.kube.wanted:
            trouble = self._folder.kube_trouble
            if trouble.exists() and (text := trouble.read_text(encoding="utf-8")):
                yield f"Kubernetes: {text}"
        for one in self._supervisor.runners:
            if one.pid is None:
                yield f"{one.child.name} does not run"

    def _now(self) -> int:
        return self._clock.now_us() // 1000


def child_level(line: str) -> int:
    """The level of a line that a child of ours logged as ``LEVEL name: text``."""
    return logging.getLevelNamesMapping().get(line.partition(" ")[0], logging.INFO)


def _check_libraries(settings: CloudSettings) -> None:
    """Raise MissingExtra before any child is started that could not run."""
    wanted = {"fastapi": settings.web.listen, "uvicorn": settings.web.listen, "asyncpg": settings.store.postgres}
    wanted |= {"lightkube": settings.kube.wanted}
    missing = [name for name, used in wanted.items() if used and importlib.util.find_spec(name) is None]
    if missing:
        message = f"a cloud with these settings needs {', '.join(missing)}, not installed here"
        extras = "cloud,kube" if settings.kube.wanted else "cloud"
        raise MissingExtra(message, remedy=f"Install edgetwin[{extras}].")


def _raise_file_limit(connections: int) -> None:
    """A shell's limit of 1024 open files would be that many gateways. Children inherit ours."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    if hard != resource.RLIM_INFINITY and hard < connections + _OTHER_FILES:
        log.warning("the limit of %d open files is less than broker.connections (%d); raise it", hard, connections)


@contextmanager
def _alone(folder: CloudFolder) -> Iterator[None]:
    """Hold the lock of a state folder. Raises AlreadyRunning."""
    fd = os.open(folder.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            message = f"another process runs a cloud on {folder.path}"
            raise AlreadyRunning(message, remedy="End it, or name another folder in EDGETWIN_CLOUD_STATE.") from None
        yield
    finally:
        os.close(fd)
