"""The verb over the link in memory: client, server, engine and store together."""

import asyncio
import threading

import pytest

from twin.api import ApiServer, TwinVerbs
from twin.client import TwinClient
from twin.errors import InvalidName, InvalidQuery, QueryAborted, StoreError
from twin.link.memory import MemoryBroker
from twin.query.reader import Answer, SqliteReader
from twin.query.verb import QueryVerb

pytestmark = pytest.mark.fast

TIMEOUT_S = 5.0
TANKS = "SELECT name, reported.raw, desired.valve FROM twins WHERE reported.raw >= 0"


@pytest.fixture
async def serve(tank):
    """Call it with a QueryVerb for a client of it."""
    broker = MemoryBroker()
    async with asyncio.timeout(60), broker.link() as hub_link, broker.link() as app_link:
        servers = []

        async def make(verb):
            server = ApiServer(hub_link, {**TwinVerbs(tank.engine, hub_link, tank.clock).verbs(), **verb.verbs()})
            await server.open()
            servers.append(server)
            return client

        await hub_link.connected(TIMEOUT_S)
        await app_link.connected(TIMEOUT_S)
        async with TwinClient(app_link, account="me", client="1", timeout_s=TIMEOUT_S) as client:
            yield make
        for server in servers:
            await server.close()


@pytest.fixture
async def client(tank, serve):
    return await serve(QueryVerb(SqliteReader(tank.path)))


async def test_a_query_sees_each_acknowledged_write_at_once(tank, client, key):
    for turn in range(1, 26):
        reported = tank.engine.report(key, {"raw": turn}, {}, at=turn, by="m")
        await reported.commit.stored()
        await client.set("plant/tank", {"valve": turn})
        assert (await client.query(TANKS)).rows == [["tank", turn, turn]]


async def test_a_query_shows_nothing_that_is_not_on_disk_and_does_not_wait_for_it(tank, client, key):
    await tank.engine.report(key, {"raw": 1}, {}, at=1, by="m").commit.stored()
    await tank.store.begun()
    tank.store.gate.clear()
    tank.engine.report(key, {"raw": 2}, {}, at=2, by="m")
    await tank.store.begun()
    assert (await client.query(TANKS)).rows == [["tank", 1, None]]
    tank.store.gate.set()
    await tank.engine.settled()
    assert (await client.query(TANKS)).rows == [["tank", 2, None]]


async def test_a_store_that_takes_no_changes_still_answers_queries(tank, client, key):
    await tank.engine.report(key, {"raw": 1}, {}, at=1, by="m").commit.stored()
    tank.store.failing = StoreError("full")
    with pytest.raises(StoreError):
        await tank.engine.report(key, {"raw": 2}, {}, at=2, by="m").commit.stored()
    assert (await client.query(TANKS)).rows == [["tank", 1, None]]


async def test_labels_and_twins_follow_the_documents_at_once(tank, client, tank_spec, key):
    text = "SELECT name FROM twins WHERE tags.area = 'hall-2'"
    await tank.engine.define(tank_spec(labels=(("area", "hall-2"),))).stored()
    assert (await client.query(text)).rows == [["tank"]]
    await tank.engine.define(tank_spec(labels=(("area", "yard"),))).stored()
    assert (await client.query(text)).rows == []
    await tank.engine.define(tank_spec(uid="u2", labels=(("area", "hall-2"),))).stored()
    assert (await client.query("SELECT uid, tags.area FROM twins")).rows == [["u2", "hall-2"]]
    await tank.engine.remove(key).stored()
    assert (await client.query("SELECT COUNT(*) FROM twins")).rows == [[0]]


async def test_a_page_is_continued_after_its_last_twin(tank, client, tank_spec):
    for name in ("a", "b", "c"):
        tank.engine.define(tank_spec(name, type(tank_spec().key)(tank_spec().key.kind, "plant", name)))
    await tank.engine.settled()
    page = await client.query("SELECT name FROM twins", limit=3)
    assert (page.columns, page.rows, page.more, page.after) == (["name"], [["a"], ["b"], ["c"]], True, "device/plant/c")
    last = await client.query("SELECT name FROM twins", limit=3, after=page.after)
    assert (last.rows, last.more, last.after) == ([["tank"]], False, "")


async def test_a_refusal_crosses_the_wire_with_its_place(client):
    with pytest.raises(InvalidQuery, match="line 1, column 8: there is no field 'nosuch'"):
        await client.query("SELECT nosuch FROM twins")
    with pytest.raises(InvalidName):
        await client.query("SELECT name FROM twins", after="a/b/c/d")


@pytest.mark.parametrize("text", ["SELECT name FROM twins ORDER BY name", "SELECT COUNT(*) FROM twins"])
async def test_only_an_answer_in_the_order_of_the_keys_can_be_continued(client, text):
    with pytest.raises(InvalidQuery, match="`after` goes with neither"):
        await client.query(text, after="plant/tank")


class GatedReader(SqliteReader):
    """Answers when the gate opens."""

    def __init__(self, path):
        super().__init__(path)
        self.gate = threading.Event()
        self.asked = threading.Semaphore(0)
        self.running = 0
        self.most = 0

    def run(self, plan, *, rows, after=None):
        self.running += 1
        self.most = max(self.most, self.running)
        self.asked.release()
        assert self.gate.wait(10), "the test left the gate shut"
        self.running -= 1
        return Answer(("name",), [["x"]])


async def test_a_slow_query_holds_up_neither_writes_nor_gets(tank, serve, key):
    reader = GatedReader(tank.path)
    client = await serve(QueryVerb(reader))
    asking = asyncio.create_task(client.query("SELECT name FROM twins"))
    assert await asyncio.to_thread(reader.asked.acquire, True, 10)
    await client.set("plant/tank", {"valve": 3})
    assert (await client.get("plant/tank")).desired["valve"].value == 3
    assert not asking.done()
    reader.gate.set()
    assert (await asking).rows == [["x"]]


async def test_queries_run_one_at_a_time_and_one_that_waits_too_long_is_told(tank, serve):
    reader = GatedReader(tank.path)
    client = await serve(QueryVerb(reader, max_wait_s=0.05))
    first = asyncio.create_task(client.query("SELECT name FROM twins"))
    assert await asyncio.to_thread(reader.asked.acquire, True, 10)
    with pytest.raises(QueryAborted, match=r"busy for 0\.05 s"):
        await client.query("SELECT name FROM twins")
    reader.gate.set()
    assert (await first).rows == [["x"]]
    assert (await client.query("SELECT name FROM twins")).rows == [["x"]]
    assert reader.most == 1
