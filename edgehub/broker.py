"""The gateway's own Mosquitto: which program, which port, and the child process with its generated files."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Self

from edgehub.listeners import LegacySettings, TlsSettings
from edgehub.mosquitto_conf import BrokerPlan, LegacyPlan, TlsPlan, mosquitto_conf
from twin.broker_accounts import NO_RULES_YET, Account, Rule, acl_text, anonymous_acl_text, new_password, password_text
from twin.mosquitto import BrokerError, accepts, can_bind, line_level
from twin.private_file import write_private
from twin.supervisor import Child, ChildRunner, Supervisor

DEFAULT_PORT: Final = 1883

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class PeerAccess:
    """Where other gateways are admitted by certificate, and to what; ``pair`` is our own key and certificate."""

    host: str
    port: int
    pair: Path
    authority: Path
    accounts: tuple[Account, ...] = ()


class Broker:
    """The running broker child. ``async with`` starts it and returns when it answers to the hub's account."""

    def __init__(
        self,
        *,
        binary: Path,
        folder: Path,
        port: int,
        hub: Account,
        accounts: Sequence[Account],
        user: str,
        supervisor: Supervisor,
        tls: TlsSettings | None = None,
        legacy: LegacySettings | None = None,
        peers: PeerAccess | None = None,
        anonymous: Sequence[Rule] = (),
        start_timeout_s: float = 10.0,
    ) -> None:
        self._binary = binary
        self._folder = folder
        self._hub = hub
        self._accounts = (hub, *accounts)
        self._supervisor = supervisor
        self._start_timeout_s = start_timeout_s
        self._runner: ChildRunner | None = None
        self._anonymous = tuple(anonymous)
        """What clients of the legacy listener may do."""
        self._peers = peers.accounts if peers is not None else ()
        self._plan = BrokerPlan(
            port,
            folder / "passwords",
            folder / "acl",
            user,
            tls=_tls_plan(tls, folder),
            peers=_peer_plan(peers, folder),
            legacy=_legacy_plan(legacy, folder),
        )

    @property
    def host(self) -> str:
        """Address it listens on."""
        return self._plan.host

    @property
    def port(self) -> int:
        """Port it listens on."""
        return self._plan.port

    @property
    def pid(self) -> int | None:
        """Process id while it runs."""
        return None if self._runner is None else self._runner.pid

    async def __aenter__(self) -> Self:
        """Write the files and start the child. Raises BrokerError if it does not come up."""
        _check_free(self._plan)
        try:
            await self._start()
        except BaseException:
            await self.__aexit__()
            raise
        return self

    async def admit(self, peers: PeerAccess) -> None:
        """Open the listener for peers. Mosquitto opens listeners at its start alone, so it is started anew.

        Raises BrokerError for one that cannot be opened; then all is as it was.
        """
        plan = replace(self._plan, peers=_peer_plan(peers, self._folder))
        _check_free(BrokerPlan(plan.port, plan.password_file, plan.acl_file, plan.user, peers=plan.peers))
        self._plan, self._peers = plan, peers.accounts
        if self._runner is not None:
            await self._supervisor.remove(self._runner)
        await self._start()

    async def _start(self) -> None:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._write_accounts()
        conf = self._folder / "mosquitto.conf"
        write_private(conf, mosquitto_conf(self._plan))
        child = Child("mosquitto", (str(self._binary), "-c", str(conf)), level_of=line_level)
        self._runner = await self._supervisor.add(child)
        try:
            async with asyncio.timeout(self._start_timeout_s):
                await self._answering()
        except TimeoutError:
            message = f"{self._binary} did not answer on {self.host}:{self.port} within {self._start_timeout_s:.0f} s"
            remedy = f"Read the lines of edgehub.child.mosquitto in the log; its config is {conf}."
            raise BrokerError(message, remedy=remedy) from None

    async def __aexit__(self, *_exc: object) -> None:
        """End the child and remove the files with secrets."""
        if self._runner is not None:
            await self._supervisor.remove(self._runner)
            self._runner = None
        self._plan.password_file.unlink(missing_ok=True)

    def set_accounts(self, accounts: Sequence[Account]) -> None:
        """Replace all accounts but the hub's; Mosquitto rereads the files at once, live sessions stay."""
        self._accounts = (self._hub, *accounts)
        self._write_accounts()
        self.reread()

    def _write_accounts(self) -> None:
        write_private(self._plan.password_file, password_text(self._accounts))
        write_private(self._plan.acl_file, acl_text(self._accounts))
        if self._plan.tls is not None:
            outside = [account for account in self._accounts if account.outside]
            write_private(self._plan.tls.acl_file, NO_RULES_YET + acl_text(outside))
        if self._plan.peers is not None:
            write_private(self._plan.peers.acl_file, NO_RULES_YET + acl_text(self._peers))
        if self._plan.legacy is not None:
            write_private(self._plan.legacy.acl_file, anonymous_acl_text(self._anonymous))

    def reread(self) -> None:
        """Have Mosquitto read its files again, certificates too."""
        if self._runner is not None:
            self._runner.send(signal.SIGHUP)

    async def _answering(self) -> None:
        """Wait until the port is our child's: it takes the hub's password and, unlike an open broker, no other."""
        stranger = Account(self._hub.name, new_password())
        while not (  # noqa: ASYNC110 another process tells us nothing but by answering
            await accepts(self.host, self.port, self._hub) and not await accepts(self.host, self.port, stranger)
        ):
            await asyncio.sleep(0.02)


def _check_free(plan: BrokerPlan) -> None:
    """Raise BrokerError if a listener beside the own one cannot be opened."""
    listeners = {"broker.tls.listen": plan.tls, "broker.legacy.listen": plan.legacy, "mesh.peer_listen": plan.peers}
    for setting, listener in listeners.items():
        if listener is not None and not can_bind(listener.host, listener.port):
            where = f"port {listener.port} on {listener.host}"
            message = f"{setting}: {where} is taken, or the address is not of this host"
            raise BrokerError(message, remedy="Choose another port, or end the program that listens there.")


def _tls_plan(tls: TlsSettings | None, folder: Path) -> TlsPlan | None:
    if tls is None or not tls.listen:
        return None
    host, port = tls.address
    cafile = Path(tls.cafile).absolute() if tls.cafile else None
    files = Path(tls.certfile).absolute(), Path(tls.keyfile).absolute(), cafile
    return TlsPlan(host, port, *files, tls.require_certificate, folder / "acl-certificates")


def _peer_plan(peers: PeerAccess | None, folder: Path) -> TlsPlan | None:
    if peers is None:
        return None
    files = peers.pair.absolute(), peers.pair.absolute(), peers.authority.absolute()
    return TlsPlan(peers.host, peers.port, *files, by_certificate=True, acl_file=folder / "acl-peers", named=True)


def _legacy_plan(legacy: LegacySettings | None, folder: Path) -> LegacyPlan | None:
    return LegacyPlan(*legacy.address, folder / "acl-legacy") if legacy is not None and legacy.listen else None
