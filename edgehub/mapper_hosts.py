"""The processes of mappers: one for ours, one with an account and limits of its own for each mapper of others.

    settings ──sorted by mapper──> account "mapper"        ours, without limits
                                   account "mapper.NAME"   one plugin: its devices' topics, limits, watchdog

A plugin's process is there while a document gives it a connection.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import secrets
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final

from edgehub import accounts
from edgehub.connections import served_twins
from edgehub.limits import Cell, Limits, confine
from edgehub.local_broker import BrokerAccess
from mappers.sdk.config import HostSettings
from twin.broker_accounts import Account
from twin.link import Link
from twin.manifest.kinds import MapperSpec
from twin.model import TwinKey
from twin.supervisor import Child, ChildError, ChildRunner, Supervisor
from twin.wire import topics
from twin.wire.api import ChildStatus
from twin.wire.codec import encode
from twin.wire.messages import MapperState

log = logging.getLogger(__name__)

RESTART_BASE_S: Final = 1.0
RESTART_CAP_S: Final = 60.0
STABLE_S: Final = 30.0


@dataclass(frozen=True, slots=True)
class Placement:
    """What the documents say of mappers: settings by account, and how plugins run."""

    ours: HostSettings
    plugins: dict[str, HostSettings]
    """By the name of the mapper."""
    specs: dict[str, MapperSpec]
    disabled: tuple[str, ...] = ()
    """Mappers that are to serve nothing."""
    unserved: tuple[TwinKey, ...] = ()
    """The twins of those."""


def placed(settings: HostSettings, specs: dict[str, MapperSpec], is_plugin: Callable[[str], bool]) -> Placement:
    """Sort connections by the process that serves them. Pure."""
    by_mapper: dict[str, list[int]] = {}
    for number, connection in enumerate(settings.connections):
        by_mapper.setdefault(connection.mapper, []).append(number)
    disabled = tuple(sorted(name for name, spec in specs.items() if not spec.enabled))

    def of(numbers: Iterable[int]) -> HostSettings:
        return HostSettings(connections=tuple(settings.connections[number] for number in sorted(numbers)))

    enabled = {name: numbers for name, numbers in by_mapper.items() if name not in disabled}
    ours = of(number for name, numbers in enabled.items() if not is_plugin(name) for number in numbers)
    plugins = {name: of(numbers) for name, numbers in enabled.items() if is_plugin(name)}
    unserved = served_twins(of(number for name in disabled for number in by_mapper.get(name, ())))
    return Placement(ours, plugins, specs, disabled, tuple(unserved))


@dataclass(slots=True)
class _Host:
    """One process."""

    account: str
    settings: HostSettings
    mapper: str = ""
    spec: MapperSpec = field(default_factory=MapperSpec)
    cell: Cell | None = None
    runner: ChildRunner | None = None
    problem: str = ""
    online: bool = False
    """What it said last."""
    ooms: int = 0

    def explain(self) -> str:
        """Whether the kernel ended it for want of memory."""
        if self.cell is None or (count := self.cell.oom_kills()) == self.ooms:
            return ""
        self.ooms = count
        return f"went over its memory of {self.spec.memory_bytes / 2**20:g} MiB and was ended by the kernel"


class MapperHosts:
    """Keeps the processes as the documents say. ``mark_down`` is told the twins that nobody reads right now."""

    def __init__(
        self, access: BrokerAccess, link: Link, supervisor: Supervisor, mark_down: Callable[[Iterable[TwinKey]], None]
    ) -> None:
        self._access = access
        self._link = link
        self._supervisor = supervisor
        self._mark_down = mark_down
        self._hosts: dict[str, _Host] = {}
        self._changing = asyncio.Lock()
        self._disabled: tuple[str, ...] = ()
        self.on_state: Callable[[], None] = lambda: None
        """Called when a process begins or ceases to serve."""

    async def close(self) -> None:
        """End every process."""
        async with self._changing:
            for account in reversed(list(self._hosts)):
                await self._end(account)

    async def follow(self, placement: Placement) -> None:
        """Serve these connections: processes come and go, and those that stay learn what is new."""
        async with self._changing:
            wanted = {accounts.MAPPER: _Host(accounts.MAPPER, placement.ours)}
            for mapper, settings in placement.plugins.items():
                account = accounts.plugin_name(mapper)
                spec = placement.specs.get(mapper, MapperSpec())
                wanted[account] = _Host(account, settings, mapper, spec)
            for account, host in list(self._hosts.items()):
                if account not in wanted or wanted[account].spec != host.spec:
                    await self._end(account)
            self._disabled = placement.disabled
            self._access.plugins.allow(
                {one.account: list(served_twins(one.settings)) for one in wanted.values() if one.mapper}
            )
            self._mark_down(placement.unserved)
            for account, host in wanted.items():
                if account in self._hosts:
                    self._hosts[account].settings = host.settings
                    self._publish(self._hosts[account])
                else:
                    await self._start(host)

    def publish_settings(self) -> None:
        """Publish all settings again, for a broker that has lost them."""
        for host in self._hosts.values():
            self._publish(host)

    def heard(self, account: str, state: MapperState) -> None:
        """Take in what a process says of itself."""
        host = self._hosts.get(account)
        if host is None:
            return
        host.problem = state.problem
        self._is_online(host, state.online)
        if not state.online:
            self._mark_down(served_twins(host.settings))

    def runs(self, mapper: str, *, is_plugin: bool) -> bool:
        """Whether the process that serves a mapper is there and says so."""
        host = self._hosts.get(accounts.plugin_name(mapper) if is_plugin else accounts.MAPPER)
        return host is not None and host.online and mapper not in self._disabled

    def disabled(self) -> tuple[str, ...]:
        """Mappers that are to serve nothing."""
        return self._disabled

    def status(self) -> Iterator[ChildStatus]:
        """All children of the supervisor; of those that are mappers, what is known beyond."""
        hosts = {host.runner: host for host in self._hosts.values()}
        for runner in self._supervisor.runners:
            host = hosts.get(runner)
            yield ChildStatus(
                name=runner.child.name,
                running=runner.pid is not None,
                pid=runner.pid or 0,
                restarts=runner.restarts,
                mapper=host.mapper if host else "",
                limits=host.cell.text if host and host.cell else "",
                last_end=runner.last_end,
                last_end_at=runner.last_end_ms,
                problem=host.problem if host else "",
            )

    def _publish(self, host: _Host) -> None:
        self._link.publish(topics.mapper_config(host.account), encode(host.settings), qos=1, retain=True)

    async def _start(self, host: _Host) -> None:
        self._hosts[host.account] = host
        self._publish(host)
        if host.mapper:
            host.cell = confine(host.account, Limits(host.spec.memory_bytes, host.spec.cpu))
        try:
            host.runner = await self._supervisor.add(self._child(host), on_exit=lambda _: self._ended(host))
        except ChildError as error:
            if not host.mapper:
                raise
            host.problem = error.message
            log.error("mapper %s is not served: %s", host.mapper, error)
            self._mark_down(served_twins(host.settings))

    def _ended(self, host: _Host) -> None:
        self._is_online(host, False)
        self._mark_down(served_twins(host.settings))

    def _is_online(self, host: _Host, online: bool) -> None:
        if host.online != online:
            host.online = online
            self.on_state()

    async def _end(self, account: str) -> None:
        host = self._hosts.pop(account)
        if host.runner is not None:
            await self._supervisor.remove(host.runner)
        if host.cell is not None:
            await asyncio.to_thread(host.cell.close)
        if host.mapper:
            for topic in (topics.mapper_config(account), topics.mapper_state(account)):
                self._link.publish(topic, b"", qos=1, retain=True)

    def _child(self, host: _Host) -> Child:
        argv = (sys.executable, "-m", "mappers.sdk.host")
        if not host.mapper:
            return Child(host.account, argv, stdin=self._first_line(host, self._access.mapper))
        return Child(
            host.account,
            argv,
            stdin=self._first_line(host, self._access.plugins.login(host.account)),
            restart_base_s=RESTART_BASE_S,
            restart_cap_s=RESTART_CAP_S,
            stable_s=STABLE_S,
            watchdog_s=host.spec.watchdog_ms / 1000,
            explain=host.explain,
        )

    def _first_line(self, host: _Host, login: Account) -> bytes:
        said = {
            "host": self._access.host,
            "port": self._access.port,
            "account": host.account,
            "username": login.name,
            "password": login.password,
            "client_id": client_id(host.account),
            "parent_pid": os.getpid(),
            "mapper": host.mapper,
            "watchdog_s": host.spec.watchdog_ms / 1000 if host.mapper else 0.0,
        }
        if host.cell is not None:
            said["confinement"] = host.cell.confinement.model_dump()
        return json.dumps(said).encode() + b"\n"


def client_id(role: str) -> str:
    """A client id that nobody guesses: a broker ends the connection of whoever had the same one before."""
    return f"edgetwin-{role}-{secrets.token_hex(8)}"
