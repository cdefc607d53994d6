"""Which broker the gateway uses: an own Mosquitto with accounts drawn at this start, or the one the user names."""

from __future__ import annotations

import asyncio
import logging
import os
import pwd
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from edgehub import accounts
from edgehub.accounts import DialectNames
from edgehub.broker import DEFAULT_PORT, Broker, PeerAccess
from edgehub.broker_tls import check_tls
from edgehub.logins import Logins
from edgehub.settings import BrokerSettings
from edgehub.state import CliAccess, StateFolder
from twin.broker_accounts import Account, full_access, new_password
from twin.clock import Clock
from twin.errors import EdgetwinError
from twin.model import TwinKey
from twin.mosquitto import CANDIDATES, BrokerError, choose_port, find_mosquitto
from twin.supervisor import Supervisor

log = logging.getLogger(__name__)

LOGINS_S: Final = 1.0


class PluginLogins:
    """The accounts of mappers that are not ours. On a broker that the user named all use its one login."""

    def __init__(self, shared: Account | None = None) -> None:
        self._shared = shared
        self._passwords: dict[str, str] = {}
        self._apply: Callable[[], None] = lambda: None
        self.accounts: tuple[Account, ...] = ()

    def on_change(self, apply: Callable[[], None]) -> None:
        """Have changes made at the broker."""
        self._apply = apply

    def allow(self, twins: Mapping[str, Iterable[TwinKey]]) -> None:
        """Let these accounts, and no others, use the topics of their twins; at once."""
        if self._shared is not None:
            return
        self._passwords = {name: self._passwords.get(name) or new_password() for name in twins}
        made = tuple(accounts.plugin_account(name, self._passwords[name], keys) for name, keys in twins.items())
        if made != self.accounts:
            self.accounts = made
            self._apply()

    def login(self, name: str) -> Account:
        """How an account that is allowed logs in."""
        return self._shared or next(one for one in self.accounts if one.name == name)


@dataclass(frozen=True, slots=True)
class BrokerAccess:
    """Where the broker is, and the logins of our own programs on it."""

    host: str
    port: int
    hub: Account
    cli: Account
    web: Account
    mapper: Account
    plugins: PluginLogins


@asynccontextmanager
async def open_broker(
    settings: BrokerSettings,
    folder: StateFolder,
    supervisor: Supervisor,
    clock: Clock,
    names: DialectNames,
    peers: Callable[[], PeerAccess | None] = lambda: None,
) -> AsyncIterator[BrokerAccess]:
    """Start the own broker, or take the named one. Raises BrokerError if there is none to start.

    ``names`` says what devices are called on the dialects' topics, ``peers`` where other gateways are admitted, once
    there is a certificate for it.
    Raises InvalidSettings for bad TLS.
    """
    if settings.url:
        if settings.tls.listen:
            log.warning("broker.tls is not used: it is for the own Mosquitto, and broker.url names another broker")
        if settings.legacy.listen:
            log.warning("broker.legacy is not used: it is for the own Mosquitto, and broker.url names another broker")
        if peers() is not None:
            log.warning(
                "mesh.peer_listen is not used: it is for the own Mosquitto, and broker.url names another broker"
            )
        parts = urlsplit(settings.url)
        login = Account(settings.username, settings.password.get_secret_value())
        place = (parts.hostname or "", parts.port or DEFAULT_PORT)
        yield BrokerAccess(*place, login, login, login, login, PluginLogins(login))
        return
    check_tls(settings.tls)
    mosquitto = await find_mosquitto([settings.mosquitto] if settings.mosquitto else CANDIDATES)
    hub = full_access(accounts.HUB, new_password())
    cli = accounts.client_account(accounts.CLI, new_password())
    web = accounts.page_account(accounts.WEB, new_password())
    mapper = accounts.mapper_account(accounts.MAPPER, new_password())
    admitted = peers()
    broker = Broker(
        binary=mosquitto.path,
        folder=folder.run,
        port=await choose_port(settings.port, clock=clock, previous=_port_of_last_run(folder)),
        hub=hub,
        accounts=(cli, web, mapper, *_programs(folder, names)),
        user=pwd.getpwuid(os.geteuid()).pw_name,
        supervisor=supervisor,
        tls=settings.tls,
        legacy=settings.legacy,
        peers=admitted,
        anonymous=[rule for key in settings.legacy.keys for rule in accounts.kubeedge_rules(key, names)],
    )
    plugins = PluginLogins()

    def set_accounts() -> None:
        broker.set_accounts([cli, web, mapper, *plugins.accounts, *_programs(folder, names)])

    async with broker:
        plugins.on_change(set_accounts)
        tasks = [
            asyncio.create_task(_follow(folder.logins, set_accounts), name="logins of the broker"),
            asyncio.create_task(_keep_peers(broker, peers, admitted), name="peers of the broker"),
        ]
        try:
            yield BrokerAccess(broker.host, broker.port, hub, cli, web, mapper, plugins)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


def _programs(folder: StateFolder, names: DialectNames) -> list[Account]:
    """The accounts of the user's programs; a file that cannot be read is an alarm in the log, not an end."""
    try:
        logins = Logins.read(folder.logins).logins
    except EdgetwinError as error:
        log.warning("programs of the user's cannot log in: %s", error)
        return []
    for login in logins:
        if login.name.startswith(accounts.PLUGIN_PREFIX):
            log.warning("account %s cannot log in: its name is a mapper's; create it under another name", login.name)
    return [login.account(names) for login in logins if not login.name.startswith(accounts.PLUGIN_PREFIX)]


async def _follow(file: Path, then: Callable[[], None]) -> None:
    """Do what is to be done when a file changes: logins that the user makes and deletes."""
    seen = _changed_ns(file)
    while True:
        await asyncio.sleep(LOGINS_S)
        if (changed := _changed_ns(file)) != seen:
            seen = changed
            then()


async def _keep_peers(broker: Broker, peers: Callable[[], PeerAccess | None], admitted: PeerAccess | None) -> None:
    """Admit peers as soon as the gateway has joined a cloud, and have its renewed certificates read."""
    seen = _changed_ns(admitted.pair) if admitted is not None else 0
    told = False
    while True:
        await asyncio.sleep(LOGINS_S)
        found = admitted or peers()
        if found is None or (changed := _changed_ns(found.pair)) == seen:
            continue
        if admitted is not None:
            broker.reread()
        else:
            try:
                await broker.admit(found)
            except BrokerError as error:
                log.log(logging.DEBUG if told else logging.ERROR, "other gateways are not admitted: %s", error)
                told = True
                continue
            admitted = found
            log.info("other gateways are admitted on %s:%d", found.host, found.port)
        seen = changed


def _changed_ns(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0


def _port_of_last_run(folder: StateFolder) -> int | None:
    try:
        return CliAccess.read(folder).port
    except EdgetwinError:
        return None
