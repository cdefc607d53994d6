"""A transaction locks one gateway, stands whole or not at all, and its state is what the next one finds."""

import asyncio
import dataclasses
import sqlite3
import sys

import pytest

from cloudsync.store import GatewayState
from cloudsync.store.opening import open_store
from tests.cloudsync.store.words import PUMP, TANK, failing, reported, spec
from twin.clock import SystemClock
from twin.errors import StoreError, StoreTooNew
from twin.exchange import Run, Standing

WHOLE = GatewayState(
    "gw-1",
    tick=9_000_000_000_000_000,
    cursor=2,
    top=3,
    runs=(Run("a", 1), Run("b", 7)),
    met=(Run("c\0", 4),),
    session="s\0",
    session_run="b",
    peer=Standing((Run("c", 4),), frozenset({"a", "b"}), 5, 6),
    run="c",
    heard_at=7,
    online=True,
    forked=True,
    introduced=True,
    position=8,
    acked=9,
    sent=(10, 11),
    worker="w",
    worker_until=12,
    history_log="l",
    history_upto="u",
    mended=13,
    waiting=14,
    agreed=True,
    compared=(TANK, "u1"),
)


async def test_every_word_of_the_state_is_found_again(store):
    for one in dataclasses.fields(GatewayState):
        assert getattr(WHOLE, one.name) != one.default, one.name  # a field that is added must be in the example
    async with store.transaction("gw-1") as tx:
        assert tx.state == GatewayState("gw-1")
        tx.state = dataclasses.replace(WHOLE)
    async with store.transaction("gw-1") as tx:
        assert tx.state == WHOLE
    assert await store.gateways() == [WHOLE]


async def test_gateways_come_by_name_all_or_some(store):
    for name in ("b", "a", "c"):
        async with store.transaction(name):
            pass
    assert [one.gateway for one in await store.gateways()] == ["a", "b", "c"]
    assert [one.gateway for one in await store.gateways(["c", "nosuch", "a"])] == ["a", "c"]
    assert await store.gateways([]) == []


async def test_a_transaction_that_raises_leaves_nothing(store):
    async def change(tx):
        await tx.define(spec())
        await tx.join([reported(1, 1)])
        tx.state.cursor = 1

    with pytest.raises(ZeroDivisionError):
        await failing(store, change)
    assert await store.gateways() == []
    assert await store.twins(limit=9) == []
    async with store.transaction("gw-1") as tx:  # and the lock is free
        assert tx.state.cursor == 0


async def test_a_cancelled_transaction_leaves_nothing_and_frees_the_lock(store):
    inside = asyncio.Event()

    async def hang():
        async with store.transaction("gw-1") as tx:
            tx.state.cursor = 5
            inside.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(hang())
    await inside.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    async with asyncio.timeout(5), store.transaction("gw-1") as tx:
        assert tx.state.cursor == 0


async def test_of_two_transactions_on_one_gateway_the_second_waits_and_sees_what_the_first_did(store):
    order = []
    first_is_in, go_on = asyncio.Event(), asyncio.Event()

    async def first():
        async with store.transaction("gw-1") as tx:
            order.append("first in")
            first_is_in.set()
            await go_on.wait()
            tx.state.tick += 1
            await tx.join([reported(1, 1)])
            order.append("first out")

    async def second():
        await first_is_in.wait()
        async with store.transaction("gw-1") as tx:
            order.append("second in")
            assert tx.state.tick == 1
            tx.state.tick += 1

    tasks = [asyncio.create_task(first()), asyncio.create_task(second())]
    await first_is_in.wait()
    for _ in range(20):  # many turns of the loop and answers of the database
        await store.positions()
    assert order == ["first in"]
    go_on.set()
    await asyncio.gather(*tasks)
    assert order == ["first in", "first out", "second in"]
    assert (await store.positions())["gw-1"].tick == 2


async def test_on_postgresql_transactions_on_two_gateways_do_not_wait_for_each_other(postgres_url):
    store = open_store(postgres_url, SystemClock())
    await store.open()
    async with store.transaction("gw-1") as one:
        one.state.tick = 1
        await one.join([reported(1, 1)])
        async with asyncio.timeout(5), store.transaction("gw-2") as other:
            other.state.tick = 2
            await other.join([reported(1, 1, key=PUMP)])
        assert (await store.positions())["gw-2"].tick == 2
        assert "gw-1" not in await store.positions()
    assert (await store.positions())["gw-1"].tick == 1
    await store.close()


COUNT_UP = """
import asyncio, sys
from cloudsync.store.opening import open_store
from twin.clock import SystemClock

async def main():
    store = open_store(sys.argv[1], SystemClock())
    await store.open()
    for _ in range(25):
        async with store.transaction("gw-1") as tx:
            tx.state.tick += 1
    await store.close()

asyncio.run(main())
"""


async def test_several_processes_open_one_fresh_store_at_once_and_lose_no_turn(url):
    children = [await asyncio.create_subprocess_exec(sys.executable, "-c", COUNT_UP, url) for _ in range(3)]
    async with asyncio.timeout(60):
        assert [await child.wait() for child in children] == [0, 0, 0]
    store = open_store(url, SystemClock())
    await store.open()
    assert (await store.positions())["gw-1"].tick == 75
    await store.close()


async def test_the_newest_run_is_appended_once_by_a_gateways_next_transaction(store):
    await store.begin_run("a")
    async with store.transaction("gw-1") as tx:
        assert tx.state.runs == (Run("a", 1),)
        tx.state.tick = 41
    async with store.transaction("gw-1") as tx:
        assert tx.state.runs == (Run("a", 1),)
    await store.begin_run("b")
    await store.begin_run("b")
    await store.begin_run("a")  # known: it stays where it is
    async with store.transaction("gw-1") as tx:
        assert tx.state.runs == (Run("a", 1), Run("b", 42))


async def test_what_is_heard_of_a_session_is_noted_unless_another_stands(store):
    for name in ("a", "b"):
        async with store.transaction(name) as tx:
            tx.state.session = f"s-{name}"
    assert await store.heard({"a": "s-a", "b": "old", "c": "s-c"}, at=77) == {"b", "c"}
    found = {one.gateway: (one.heard_at, one.online) for one in await store.gateways()}
    assert found == {"a": (77, True), "b": (0, False)}
    assert await store.heard({}, at=78) == frozenset()


async def test_down_streams_are_claimed_once_renewed_and_taken_over_when_the_lease_ends(store):
    for number in range(5):
        async with store.transaction(f"gw-{number}") as tx:
            tx.state.online = number != 4
    assert await store.claim("w1", now=100, until=106, limit=3) == ["gw-0", "gw-1", "gw-2"]
    assert await store.claim("w2", now=101, until=107, limit=3) == ["gw-3"]
    assert await store.claim("w1", now=105, until=111, limit=3) == ["gw-0", "gw-1", "gw-2"]
    assert await store.claim("w2", now=107, until=113, limit=9) == ["gw-3"]
    assert await store.claim("w2", now=112, until=118, limit=9) == ["gw-0", "gw-1", "gw-2", "gw-3"]
    async with store.transaction("gw-0") as tx:
        assert (tx.state.worker, tx.state.worker_until) == ("w2", 118)
        tx.state.worker_until = 10_000  # by a clock that was ahead
    assert await store.claim("w3", now=113, until=119, limit=9) == ["gw-0"]


async def test_a_store_of_a_later_release_is_refused_and_untouched(url):
    store = open_store(url, SystemClock())
    await store.open()
    async with store._database.writing() as connection:
        await connection.script("UPDATE cloud_schema SET version = 99;")
    await store.close()
    with pytest.raises(StoreTooNew, match="has schema version 99; this release knows up to") as caught:
        await open_store(url, SystemClock()).open()
    assert "nothing was changed" in caught.value.remedy
    assert "loopback" not in str(caught.value)  # the password of the tests' server


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        ("", "the store URL is empty"),
        ("mysql://host/x", "store URL mysql://... is of no kind that is known"),
        ("sqlite://", "the store URL is empty"),
        ("postgresql://ann:secret@127.0.0.1:1/x", "postgresql://ann@127.0.0.1:1/x: "),
    ],
)
async def test_a_url_that_leads_nowhere_is_told_with_a_remedy_and_without_its_password(bad, said):
    with pytest.raises(StoreError) as caught:
        await open_store(bad, SystemClock()).open()
    assert caught.value.message.startswith(said)
    assert caught.value.remedy
    assert "secret" not in str(caught.value)


async def test_a_file_that_is_no_store_is_refused(tmp_path):
    path = tmp_path / "cloud.db"
    path.write_bytes(b"no database " * 100)
    with pytest.raises(StoreError, match="file is not a database"):
        await open_store(f"sqlite:///{path}", SystemClock()).open()
    assert path.read_bytes() == b"no database " * 100


async def test_what_is_not_open_says_so(url):
    with pytest.raises(StoreError, match="is not open"):
        await open_store(url, SystemClock()).positions()


def test_the_file_of_sqlite_is_for_its_owner_alone_and_every_commit_is_synced(tmp_path):
    async def make():
        store = open_store(f"sqlite:///{tmp_path / 'cloud.db'}", SystemClock())
        await store.open()
        async with store._database.writing() as connection:
            found = await connection.fetch("PRAGMA synchronous")
        await store.close()
        return found[0][0]

    assert asyncio.run(make()) == 2
    assert (tmp_path / "cloud.db").stat().st_mode & 0o777 == 0o600
    with sqlite3.connect(tmp_path / "cloud.db") as db:
        assert db.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    db.close()
