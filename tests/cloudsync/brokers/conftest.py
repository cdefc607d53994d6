"""A cloud's two brokers with our generated files, a CA, and the guard that follows the identities."""

import asyncio
import contextlib
import time
from dataclasses import dataclass, field

import pytest

from cloudsync.brokers import SERVERS, OwnBroker, Place
from cloudsync.guard import Guard
from cloudsync.identity.ca import Authority
from cloudsync.identity.credentials import Servers
from cloudsync.identity.directory import Directory
from cloudsync.identity.folder import GATEWAYS, USERS, CloudFolder
from cloudsync.identity.service import Identities, Lives
from cloudsync.identity.sql_store import identity_store
from cloudsync.server_certificate import keep_server_certificate
from tests.cloudsync.mqtt5 import Client, tls
from tests.cloudsync.process import free_ports
from twin.broker_accounts import Account, Rule, TopicAccess
from twin.certificates import new_key, request
from twin.clock import SystemClock
from twin.mosquitto import CANDIDATES, find_mosquitto
from twin.wire.enrolment import JoinRequest, JoinToken

PROBE = Account("probe", "of the tests", (Rule(TopicAccess.READ_WRITE, "#"), Rule(TopicAccess.READ_WRITE, "$aws/#")))
"""An account on the inner listeners that may use every topic."""


@dataclass
class Brokers:
    """Both brokers, and ways to come to them."""

    folder: CloudFolder
    gateways: OwnBroker
    apps: OwnBroker
    identities: Identities
    directory: Directory
    guard: Guard
    pairs: dict = field(default_factory=dict)

    @property
    def ca(self):
        return self.folder.authority(GATEWAYS).certificate

    def broker(self, kind):
        return self.gateways if kind == GATEWAYS else self.apps

    def signed(self, kind, name, *, days=30, now=None):
        """Certificate and key of an authority, whatever the name."""
        key = new_key()
        now = now or int(time.time() * 1000)
        certificate, issued = self.folder.authority(kind).issue(request(key, name), name, now=now, days=days)
        return certificate + key, issued

    async def join(self, name):
        key = new_key()
        _, text = await self.identities.create_token(name, 60.0, by="test")
        asked = JoinRequest(secret=JoinToken.read(text).secret, gateway=name, csr=request(key, name))
        self.pairs[name] = (await self.identities.join(asked, where="here")).certificate + key

    async def user(self, name, role):
        made = await self.identities.add_user(name, role, by="test")
        self.pairs[name] = made.certificate + made.key

    async def connect(self, kind, pair, client_id="", **more):
        context = tls(self.ca, pair, **more)
        return await Client.connect(self.broker(kind).place.port, client_id, context=context)

    async def gateway(self, name, client_id=""):
        return await self.connect(GATEWAYS, self.pairs[name], client_id)

    async def app(self, name, client_id="app"):
        return await self.connect(USERS, self.pairs[name], client_id)

    async def inner(self, kind, login, client_id=""):
        port = self.broker(kind).place.inner_port
        return await Client.connect(port, client_id, login=login)

    async def probe(self, kind):
        return await self.inner(kind, (PROBE.name, PROBE.password), "probe")

    async def known(self):
        """Wait until the brokers have been told of what has changed."""
        await self.directory.refresh()
        await self.guard._renew()
        for kind in (GATEWAYS, USERS):
            async with await self.probe(kind) as client:
                for _ in range(2):  # one answer may have been under way when the signal came
                    await client.publish("probe")


@pytest.fixture
async def brokers(supervisor, tmp_path):
    folder = CloudFolder(tmp_path / "cloud")
    folder.make()
    clock = SystemClock()
    now = clock.now_us() // 1000
    for name in (GATEWAYS, USERS):
        folder.keep_authority(name, Authority.create(name, now))
    keep_server_certificate(folder, ("localhost", "127.0.0.1"), now)
    binary = await find_mosquitto(CANDIDATES)
    made = []
    ports = iter(free_ports(4))  # all at once, so that none is drawn twice
    for kind in (GATEWAYS, "apps"):
        place = Place(kind, "127.0.0.1", next(ports), next(ports))
        broker = OwnBroker(place, folder, binary.path, supervisor, connections=100)
        broker._accounts[PROBE.name] = PROBE
        made.append(broker)

    async def audit(_):
        pass

    servers = Servers("https://localhost", "localhost", made[0].place.port, "localhost", made[1].place.port)
    async with (
        identity_store(f"sqlite:///{folder.database}") as store,
        Directory.at(f"sqlite:///{folder.database}") as directory,
    ):
        guard = Guard(directory._store, directory, folder, made, clock=clock)
        authorities = folder.authority(GATEWAYS), folder.authority(USERS)
        identities = Identities(store, *authorities, servers=servers, lives=Lives(), clock=clock, audit=audit)
        lists = await guard.revoked()
        for broker in made:
            await broker.start((), lists[GATEWAYS if broker.named else USERS])
        keeping = asyncio.create_task(guard.keep())
        assert folder.certificate(SERVERS).exists()
        try:
            yield Brokers(folder, *made, identities, directory, guard)
        finally:
            keeping.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await keeping
