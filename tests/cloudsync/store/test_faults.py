"""The database goes away, or its disk is full: an error with a remedy, nothing half-written, and it goes on after."""

import asyncio
import contextlib
import os
import random
import signal
import sqlite3
import subprocess
import tempfile
from pathlib import Path

import pytest

from cloudsync.store.opening import open_store
from cloudsync.store.postgres import PostgresDatabase
from cloudsync.store.postgres_periods import PostgresPeriods
from cloudsync.store.sql_store import SqlStore
from tests.cloudsync.postgres_server import PostgresServer
from tests.cloudsync.store.words import TANK, reported, spec
from twin.clock import SystemClock
from twin.errors import StoreError
from twin.link.backoff import Backoff

RECOVERS_S = 20


@pytest.fixture
def own_server():
    """A PostgreSQL that a test may stop."""
    with PostgresServer() as server:
        yield server


async def opened(url):
    store = open_store(url, SystemClock())
    await store.open()
    async with store.transaction("gw-1") as tx:
        await tx.define(spec())
    return store


async def report(store, value):
    async with store.transaction("gw-1") as tx:
        await tx.join([reported(value, tx.state.cursor + 1)])
        tx.state.cursor += 1


async def recovered(store):
    """Report until it goes well; how many attempts failed."""
    failed = 0
    async with asyncio.timeout(RECOVERS_S):
        while True:
            try:
                await report(store, 99)
                return failed
            except StoreError:
                failed += 1
                await asyncio.sleep(0.01)  # not waiting for anything: the store spaces its own attempts


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGQUIT])
async def test_a_postgresql_that_was_stopped_is_told_of_and_found_again(own_server, how):
    store = await opened(own_server.url())
    await report(store, 1)
    own_server.stop(how)
    with pytest.raises(StoreError) as caught:
        await report(store, 2)
    assert "the store goes on by itself then" in caught.value.remedy
    with pytest.raises(StoreError) as caught:
        await store.twin(TANK)
    assert "loopback" not in str(caught.value)  # the password
    own_server.start()
    await recovered(store)
    document = await store.twin(TANK)
    assert (document.reported["level"].value, document.version) == (99, 3)
    await store.close()


class CountedBackoff(Backoff):
    """Counts the attempts that failed."""

    failed = 0

    def next_s(self):
        self.failed += 1
        return super().next_s()


async def test_while_postgresql_is_away_it_is_not_asked_at_every_turn(own_server):
    backoff = CountedBackoff(0.1, 5, random.Random(1))
    database = PostgresDatabase(own_server.url(), "it", clock=SystemClock(), backoff=backoff)
    store = SqlStore(database, PostgresPeriods(), "it")
    await store.open()
    own_server.stop()
    refused = 0
    ends = asyncio.get_running_loop().time() + 1.0
    while asyncio.get_running_loop().time() < ends:
        with pytest.raises(StoreError):
            await store.positions()
        refused += 1
        await asyncio.sleep(0)
    assert backoff.failed < 30 < refused
    own_server.start()
    await recovered(store)
    await store.close()


async def test_a_connection_lost_in_mid_transaction_leaves_nothing_and_the_next_goes_well(postgres, postgres_url):
    store = await opened(postgres_url)
    with pytest.raises(StoreError):
        await cut_in_mid_transaction(store, postgres, postgres_url)
    await report(store, 7)
    document = await store.twin(TANK)
    assert (document.reported["level"].value, document.version) == (7, 2)
    await store.close()


async def cut_in_mid_transaction(store, postgres, url):
    async with store.transaction("gw-1") as tx:
        await tx.join([reported(666, 50)])
        text = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'edgetwin'"
        await asyncio.to_thread(postgres.sql, f"{text} AND datname = '{url.rpartition('/')[2]}'")
        await tx.join([reported(667, 51)])


class Line:
    """A TCP line to a port that can go dead without being closed."""

    def __init__(self, port):
        self._to = port
        self.dead = False

    async def __aenter__(self):
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        self._pumps = set()
        return self

    async def __aexit__(self, *_):
        self._server.close()
        for pump in self._pumps:
            pump.cancel()
        await asyncio.gather(*self._pumps, return_exceptions=True)

    async def _serve(self, reader, writer):
        there = await asyncio.open_connection("127.0.0.1", self._to)
        for ends in ((reader, there[1]), (there[0], writer)):
            self._pumps.add(asyncio.create_task(self._pump(*ends)))

    async def _pump(self, reader, writer):
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                if not self.dead:
                    writer.write(data)
        writer.close()


async def test_a_line_that_goes_dead_without_a_word_is_given_up_and_made_anew(postgres, postgres_url):
    async with Line(postgres.port) as line:
        url = postgres_url.replace(f":{postgres.port}/", f":{line.port}/")
        backoff = Backoff(0.1, 1, random.Random(1))
        database = PostgresDatabase(url, "it", clock=SystemClock(), backoff=backoff, command_s=0.3)
        store = SqlStore(database, PostgresPeriods(), "it")
        await store.open()
        async with store.transaction("gw-1") as tx:
            await tx.define(spec())
        line.dead = True
        async with asyncio.timeout(10):
            with pytest.raises(StoreError, match="no answer in time"):
                await report(store, 1)
        line.dead = False
        await recovered(store)
        assert (await store.twin(TANK)).version == 2
        await store.close()


async def test_a_worker_that_hangs_in_a_transaction_does_not_keep_its_gateway(postgres_url):
    store = await opened(postgres_url)
    backoff = Backoff(0.1, 1, random.Random(1))
    session = {"idle_in_transaction_session_timeout": "300ms"}
    hanging = SqlStore(
        PostgresDatabase(postgres_url, "it", clock=SystemClock(), backoff=backoff, session=session),
        PostgresPeriods(),
        "it",
    )
    await hanging.open()
    inside = asyncio.Event()

    async def hang():
        async with hanging.transaction("gw-1") as tx:
            await tx.join([reported(666, 50)])
            inside.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(hang())
    await inside.wait()
    async with asyncio.timeout(10):
        await report(store, 8)
    assert (await store.twin(TANK)).reported["level"].value == 8
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await hanging.close()
    await store.close()


async def test_two_transactions_that_wait_for_each_other_end_with_one_error(postgres_url):
    store = await opened(postgres_url)
    both = asyncio.Barrier(2)

    async def crossed(first, second):
        async with store._database.writing() as connection:
            await connection.fetch("UPDATE gateway SET tick = 1 WHERE name = $1", first)
            await both.wait()
            await connection.fetch("UPDATE gateway SET tick = 1 WHERE name = $1", second)

    async with store.transaction("gw-2"):
        pass
    found = await asyncio.gather(crossed("gw-1", "gw-2"), crossed("gw-2", "gw-1"), return_exceptions=True)
    (error,) = [one for one in found if one is not None]
    assert isinstance(error, StoreError)
    assert "it is tried again" in error.remedy
    await store.close()


@pytest.mark.parametrize(
    ("wrong", "said", "remedy"),
    [
        ("nosuch", 'database "nosuch" does not exist', "createdb"),
        ("latin", "has the encoding LATIN1", "--encoding=UTF8"),
    ],
)
async def test_a_database_that_cannot_be_used_is_told_with_what_to_do(postgres, wrong, said, remedy):
    if wrong == "latin":
        text = "CREATE DATABASE latin ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0"
        postgres.sql(text)
    with pytest.raises(StoreError) as caught:
        await open_store(postgres.url(wrong), SystemClock()).open()
    assert said in caught.value.message
    assert remedy in caught.value.remedy


async def test_a_wrong_password_is_told_with_what_to_do(postgres):
    with pytest.raises(StoreError, match="password authentication failed") as caught:
        await open_store(postgres.url().replace("loopback", "wrong"), SystemClock()).open()
    assert "store.url" in caught.value.remedy


@pytest.fixture
def small_disk():
    """A file system of 120 megabytes; needs root, as mounting does."""
    # Not in tmp_path: PostgreSQL is another user, and pytest closes its folders to others.
    place = Path(tempfile.mkdtemp(prefix="edgetwin-disk-"))
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=120m,mode=0777", "tmpfs", str(place)], check=True)
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)
    place.rmdir()


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small file system needs root")
async def test_a_full_disk_under_postgresql_refuses_and_loses_nothing(small_disk):
    with PostgresServer(tablespace=small_disk) as server:
        store = await opened(server.url("small"))
        filler = small_disk / "filler"
        fill(filler)
        kept = []
        with pytest.raises(StoreError, match="No space left") as caught:
            await report_much(store, kept)
        assert "Free disk space" in caught.value.remedy
        assert (await store.twin(TANK)).version == 1 + len(kept)
        filler.unlink()
        await recovered(store)
        assert (await store.twin(TANK)).version == 2 + len(kept)
        await store.close()


def fill(path):
    with contextlib.suppress(OSError), path.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))


async def report_much(store, kept):
    """Report values that do not compress, until one fails; those that went well are in ``kept``."""
    for number in range(100):
        await report(store, random.Random(number).randbytes(200_000).hex())
        kept.append(number)


async def test_a_full_disk_under_sqlite_refuses_loses_nothing_and_goes_on_when_there_is_room(tmp_path):
    store = await opened(f"sqlite:///{tmp_path / 'cloud.db'}")
    await report(store, 1)
    async with store._database.writing() as connection:
        ((pages,),) = await connection.fetch("PRAGMA page_count")
        await connection.fetch(f"PRAGMA max_page_count = {pages + 3}")
    with pytest.raises(StoreError, match="database or disk is full") as caught:
        await report(store, "x" * 100_000)
    assert "free space" in caught.value.remedy
    assert (await store.twin(TANK)).reported["level"].value == 1
    async with store._database.writing() as connection:
        await connection.fetch("PRAGMA max_page_count = 1073741823")
    await report(store, "x" * 100_000)
    assert (await store.twin(TANK)).version == 3
    await store.close()


async def test_a_file_that_another_process_holds_is_told_of_after_a_while(tmp_path):
    store = await opened(f"sqlite:///{tmp_path / 'cloud.db'}")
    for lane in store._database._lanes:
        await lane.fetch("PRAGMA busy_timeout = 50")
    other = sqlite3.connect(tmp_path / "cloud.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreError, match="database is locked") as caught:
        await report(store, 2)
    assert "PostgreSQL" in caught.value.remedy
    assert (await store.twin(TANK)).reported == {}  # readers do not wait
    other.execute("ROLLBACK")
    other.close()
    await report(store, 3)
    await store.close()
