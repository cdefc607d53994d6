"""The cloud's own Mosquittos as children: their files, how they are told of changes, how a live session is cut."""

from __future__ import annotations

import asyncio
import logging
import os
import pwd
import signal
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from cloudsync.access import KEEPER, WEB, WORKER, gateways_acl, users_acl, web_rules, worker_rules
from cloudsync.identity.folder import GATEWAYS, USERS, CloudFolder
from cloudsync.identity.model import Account as Identity
from cloudsync.mosquitto_conf import BrokerPlan, InnerListener, TlsListener, mosquitto_conf
from cloudsync.sessions_log import ClientLog
from cloudsync.setup import BrokerLogin, child_environment
from twin.broker_accounts import Account, acl_text, new_password, password_text
from twin.mosquitto import BrokerError, accepts, can_bind
from twin.private_file import write_private
from twin.supervisor import Child, ChildRunner, Supervisor

SERVERS: Final = "servers"
LOOPBACK: Final = "127.0.0.1"
START_S: Final = 15.0

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a broker listens: for the world, for our own processes, and for those of other machines if at all."""

    kind: str
    """``gateways`` or ``apps``."""
    host: str
    port: int
    inner_port: int
    shared: tuple[str, int] | None = None
    shared_login: tuple[str, str] = ("", "")


class OwnBroker:
    """One Mosquitto. ``async with`` starts it and returns when it answers."""

    def __init__(
        self, place: Place, folder: CloudFolder, binary: Path, supervisor: Supervisor, *, connections: int
    ) -> None:
        self.place = place
        self._folder = folder
        self._run = folder.run / place.kind
        self._binary = binary
        self._supervisor = supervisor
        self._connections = connections
        self._clients = ClientLog()
        self._runner: ChildRunner | None = None
        self._accounts = {name: Account(name, new_password(), rules) for name, rules in _OWN.items()}

    @property
    def named(self) -> bool:
        """Whether client ids are names."""
        return self.place.kind == GATEWAYS

    def login(self, account: str) -> BrokerLogin:
        """How one of our own processes comes in."""
        return BrokerLogin(
            host=LOOPBACK, port=self.place.inner_port, username=account, password=self._accounts[account].password
        )

    async def start(self, accounts: Iterable[Identity], revoked: str) -> Self:
        """Write the files and start the child. Raises BrokerError if it does not come up."""
        if not can_bind(self.place.host, self.place.port):
            message = (
                f"broker.{self.place.kind}: port {self.place.port} on {self.place.host} is taken, or not ours to use"
            )
            raise BrokerError(message, remedy="Choose another port, or end the program that listens there.")
        self._run.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._write(accounts, revoked)
        child = Child(
            f"mosquitto-{self.place.kind}",
            (str(self._binary), "-c", str(self._run / "mosquitto.conf")),
            env=child_environment(),
            level_of=self._clients.level,
        )
        self._runner = await self._supervisor.add(child)
        try:
            async with asyncio.timeout(START_S):
                await self._answering()
        except TimeoutError:
            message = f"{self._binary} does not answer on {LOOPBACK}:{self.place.inner_port}"
            remedy = f"Read the lines of {child.name} in the log; its config is {self._run / 'mosquitto.conf'}."
            raise BrokerError(message, remedy=remedy) from None
        return self

    def renew(self, accounts: Iterable[Identity], revoked: str) -> None:
        """Replace users' rights and the list of revoked certificates; sessions stay."""
        self._write(accounts, revoked)
        if self._runner is not None:
            self._runner.send(signal.SIGHUP)

    async def kick(self, account: str) -> None:
        """End the live sessions of an account: whoever comes with a client id takes over the connection."""
        keeper = self._accounts[KEEPER]
        for client in (account,) if self.named else self._clients.clients_of(account):
            await accepts(LOOPBACK, self.place.inner_port, keeper, client)

    def _write(self, accounts: Iterable[Identity], revoked: str) -> None:
        run = self._run
        own = list(self._accounts.values())
        inner = [InnerListener(LOOPBACK, self.place.inner_port, run / "passwords", run / "acl-inner")]
        certificate, key = self._folder.certificate(SERVERS), self._folder.key(SERVERS)
        if self.place.shared is not None:
            files = run / "passwords-shared", run / "acl-shared"
            inner.append(InnerListener(*self.place.shared, *files, certificate, key))
            name, password = self.place.shared_login
            write_private(files[0], password_text([Account(name, password)]))
            write_private(files[1], acl_text([Account(name, rules=worker_rules())]))
        outer = TlsListener(
            *(self.place.host, self.place.port),
            *(self._folder.certificate(GATEWAYS if self.named else USERS), run / "revoked.pem", certificate, key),
            run / "acl",
            named=self.named,
        )
        write_private(run / "passwords", password_text(own))
        write_private(run / "acl-inner", acl_text(own))
        write_private(run / "acl", gateways_acl() if self.named else users_acl(accounts))
        write_private(run / "revoked.pem", revoked)
        plan = BrokerPlan(pwd.getpwuid(os.geteuid()).pw_name, outer, tuple(inner), self._connections)
        write_private(run / "mosquitto.conf", mosquitto_conf(plan))

    async def _answering(self) -> None:
        """Wait until the port is our child's: it takes our password and, unlike an open broker, no other."""
        own, stranger = self._accounts[KEEPER], Account(KEEPER, new_password())
        port = self.place.inner_port
        while not (  # noqa: ASYNC110 another process tells us nothing but by answering
            await accepts(LOOPBACK, port, own) and not await accepts(LOOPBACK, port, stranger)
        ):
            await asyncio.sleep(0.02)


def remove_secrets(folder: CloudFolder, kinds: Sequence[str]) -> None:
    """Passwords are drawn at each start; none of the last one stays."""
    for kind in kinds:
        for name in ("passwords", "passwords-shared"):
            (folder.run / kind / name).unlink(missing_ok=True)


_OWN: Final = {WORKER: worker_rules(), WEB: web_rules(), KEEPER: ()}
