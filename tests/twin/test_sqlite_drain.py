"""What the history has still to send: each reading once, in pieces, whatever is packed, dropped or restored."""

import sqlite3
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.twin.conftest import TANK, HandClock
from twin.engine import TwinEngine
from twin.history import Limits, Why
from twin.model import Drop, HistoryPolicy, Keep, PropertySpec, TwinSpec
from twin.sqlite_drain import SqliteDrain
from twin.sqlite_history import SqliteHistory
from twin.sqlite_store import SqliteStore

ROOM = Limits(1 << 30, 10**12, 0)
TIGHT = Limits(2000, 10**12, 0)


class Bench:
    def __init__(self, path, drop=Drop.OLDEST):
        self.path = path
        self.clock = HandClock()
        self.executor = ThreadPoolExecutor(1)
        self.store = SqliteStore(path)
        self.store.open()
        self.engine = TwinEngine(self.store, clock=self.clock, executor=self.executor)
        self.engine.open()
        self.history = SqliteHistory(path, self.clock)
        self.history.open()
        self.drain = SqliteDrain(path)
        self.drain.open()
        policy = HistoryPolicy(Keep.ALL, drop)
        self.spec = TwinSpec(TANK, "u1", properties={"level": PropertySpec("level", history=policy)})
        self.taken = 0

    async def report(self, count):
        for _ in range(count):
            self.taken += 1
            self.clock.us += 1_000_000
            self.engine.report(TANK, {"level": self.taken}, {}, at=self.clock.us // 1000, by="mapper")
        await self.engine.settled()

    def tend(self, limits=ROOM, *, flush=True):
        while self.history.tend(limits, now_ms=None, free_bytes=1 << 40, flush=flush):
            flush = False

    def sent(self, limit=2000):
        """Drain all; the values in the order in which they went, and the gaps of the last piece that had any."""
        values, gaps = [], {}
        while (piece := self.drain.piece(limit)) is not None:
            for one in piece.series:
                assert (one.key, one.uid, one.property) == (TANK, "u1", "level")
                values += [reading.value for reading in one.readings]
                gaps |= {gap.why: gap.readings for gap in one.gaps}
            self.drain.sent(piece)
        return values, gaps

    def close(self):
        self.drain.close()
        self.history.close()
        self.store.close()
        self.executor.shutdown()


@pytest.fixture
async def bench(tmp_path):
    made = Bench(tmp_path / "state.db")
    await made.engine.define(made.spec).stored()
    yield made
    await made.engine.close()
    made.close()


async def test_nothing_is_sent_of_nothing(bench):
    assert bench.drain.piece() is None


async def test_the_tail_goes_in_the_order_of_ticks_and_in_pieces(bench):
    await bench.report(25)
    piece = bench.drain.piece(10)
    assert [one.value for one in piece.series[0].readings] == list(range(1, 11))
    assert bench.drain.piece(10) == piece  # not acknowledged
    assert bench.sent(10) == (list(range(1, 26)), {})
    assert bench.drain.piece() is None


async def test_what_was_packed_before_it_was_sent_goes_first_and_once(bench):
    await bench.report(700)
    bench.tend()
    await bench.report(20)
    assert bench.sent() == (list(range(1, 721)), {})


async def test_what_is_packed_after_it_was_sent_is_not_sent_again(bench):
    await bench.report(300)
    assert len(bench.sent()[0]) == 300
    bench.tend()
    assert bench.sent() == ([], {})
    await bench.report(30)
    bench.tend()
    assert bench.sent()[0] == list(range(301, 331))


async def test_packing_between_a_piece_and_its_ack_loses_nothing(bench):
    await bench.report(100)
    piece = bench.drain.piece(60)
    bench.tend()
    bench.drain.sent(piece)
    values, _ = bench.sent()
    assert {*range(1, 61)} | {*values} == {*range(1, 101)}
    await bench.report(600)
    bench.tend()
    piece = bench.drain.piece(50)
    await bench.report(100)
    bench.tend()
    first = [one.value for one in piece.series[0].readings]
    bench.drain.sent(piece)
    assert {*first, *bench.sent()[0]} >= {*range(101, 801)}


async def test_what_was_dropped_before_it_was_sent_is_a_gap_and_what_was_sent_before_is_none(bench):
    await bench.report(2000)
    bench.tend()
    bench.tend(TIGHT)
    values, gaps = bench.sent()
    assert gaps[Why.SPACE] + len(values) == 2000
    assert values == list(range(2001 - len(values), 2001))
    await bench.report(2000)
    assert len(bench.sent()[0]) == 2000
    bench.tend()
    bench.sent()
    bench.tend(TIGHT)
    assert bench.sent()[1].get(Why.SPACE, gaps[Why.SPACE]) == gaps[Why.SPACE]


async def test_thinned_readings_are_told_and_the_others_sent(tmp_path):
    bench = Bench(tmp_path / "state.db", Drop.THIN)
    await bench.engine.define(bench.spec).stored()
    await bench.report(2000)
    bench.tend()
    bench.tend(TIGHT)
    values, gaps = bench.sent()
    assert sum(gaps.values()) + len(values) == 2000
    assert Why.THIN in gaps
    await bench.engine.close()
    bench.close()


async def test_a_restored_cloud_gets_again_what_it_lacks_and_is_still_here(bench):
    await bench.report(100)
    piece = bench.drain.piece(40)
    bench.drain.sent(piece)
    bench.sent()
    assert bench.drain.has_upto(bench.drain.log, piece.upto) == piece.upto
    assert bench.sent()[0] == list(range(41, 101))
    bench.tend()
    assert bench.drain.has_upto("", "") == ""
    assert bench.sent()[0] == list(range(1, 101))
    assert bench.drain.has_upto(bench.drain.log, "what is this") == "what is this"
    assert bench.sent()[0] == list(range(1, 101))


async def test_marks_outlive_a_restart_and_the_log_keeps_its_name(bench):
    await bench.report(10)
    bench.sent()
    again = SqliteDrain(bench.path)
    again.open()
    assert again.log == bench.drain.log
    assert again.piece() is None
    again.close()


async def test_readings_of_a_removed_twin_and_damaged_spans_stop_nothing(bench):
    await bench.report(700)
    bench.tend()
    with sqlite3.connect(bench.path) as db:
        db.execute("UPDATE span SET packed = x'00' WHERE id = 1")
    db.close()
    await bench.report(5)
    values, _ = bench.sent()
    assert values[-5:] == list(range(701, 706))
    await bench.engine.remove(TANK).stored()
    assert bench.sent() == ([], {})
