"""Identities over both databases, a clock that is set by hand, and an authority."""

import secrets

import pytest

from cloudsync.identity.ca import Authority
from cloudsync.identity.credentials import Servers
from cloudsync.identity.service import Identities, Lives
from cloudsync.identity.sql_store import identity_store
from tests.cloudsync.postgres_server import PostgresServer

NOW = 1_800_000_000_000
DAY_MS = 24 * 3600 * 1000


class HandClock:
    """Stands still until it is set."""

    def __init__(self):
        self.ms = NOW
        self.s = 100.0

    def now_us(self):
        return self.ms * 1000

    def monotonic_s(self):
        return self.s


@pytest.fixture
def clock():
    return HandClock()


@pytest.fixture(scope="session")
def postgres():
    with PostgresServer() as server:
        yield server


@pytest.fixture(params=["sqlite", "postgresql"])
def store_url(request, tmp_path):
    """A database of this test alone."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'cloud.db'}"
    server = request.getfixturevalue("postgres")
    name = f"identity_{secrets.token_hex(6)}"
    server.sql(f"CREATE DATABASE {name}")
    return server.url(name)


@pytest.fixture
async def store(store_url):
    async with identity_store(store_url) as opened:
        yield opened


@pytest.fixture(scope="session")
def gateways():
    return Authority.create("gateways", NOW)


@pytest.fixture(scope="session")
def users():
    return Authority.create("users", NOW)


@pytest.fixture
def audited():
    return []


@pytest.fixture
def identities(store, gateways, users, clock, audited):
    async def audit(entry):
        audited.append(entry)

    servers = Servers("https://localhost:8443", "localhost", 8883, "localhost", 8884)
    return Identities(store, gateways, users, servers=servers, lives=Lives(), clock=clock, audit=audit)
