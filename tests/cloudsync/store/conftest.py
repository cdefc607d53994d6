"""A store on each database: SQLite in a file of its own for each test, PostgreSQL in a database that is emptied."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from itertools import count
from pathlib import Path

import pytest

from cloudsync.store import CloudStore
from cloudsync.store.opening import open_store
from tests.cloudsync.postgres_server import PostgresServer
from tests.cloudsync.store.words import emptied
from twin.clock import SystemClock

NUMBERS = count(1)
KINDS = ["sqlite", "postgresql"]


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """One PostgreSQL for all tests of a session."""
    with PostgresServer() as server:
        yield server


@pytest.fixture
def postgres_url(postgres: PostgresServer) -> str:
    """A database without tables."""
    name = f"t{next(NUMBERS)}"
    postgres.sql(f"CREATE DATABASE {name} STRATEGY file_copy")
    return postgres.url(name)


@pytest.fixture(params=KINDS)
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty place for a store, of either kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'cloud.db'}"
    found: str = request.getfixturevalue("postgres_url")
    return found


@pytest.fixture(scope="session")
def used_database(postgres: PostgresServer) -> str:
    """The URL of a database with our tables."""

    async def make() -> None:
        made = open_store(postgres.url("used"), SystemClock())
        await made.open()
        await made.close()

    postgres.sql("CREATE DATABASE used")
    asyncio.run(make())
    return postgres.url("used")


@pytest.fixture(params=KINDS)
def store_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a store that ``store`` empties, of either kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'cloud.db'}"
    found: str = request.getfixturevalue("used_database")
    return found


@pytest.fixture
async def store(store_url: str) -> AsyncIterator[CloudStore]:
    """An open store with nothing in it, of either kind."""
    made = open_store(store_url, SystemClock())
    await made.open()
    await emptied(made)
    yield made
    await made.close()
