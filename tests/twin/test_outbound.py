"""The queues of pushes: order, bounds, and that every reading is delivered, waits, or is counted as dropped."""

from contextlib import closing

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from twin.document import Slot
from twin.history import Why
from twin.model import Kind, Quality, Reason, TwinKey
from twin.outbound import PACKED, Bounds, Outlet, Row, pack_rows, unpack_rows
from twin.sqlite_outbound import SqliteOutbound
from twin.sqlite_outbound_reader import OutboundReader
from twin.sqlite_store import SqliteStore
from twin.store import Batch, PushedReading

pytestmark = pytest.mark.fast

KEY = TwinKey(Kind.DEVICE, "plant", "tank")
PLENTY = 2**50
SECOND = 1_000_000
T0 = 1_795_000_000 * SECOND
"""A tick, in microseconds."""


class Queue:
    """A store with one queue."""

    def __init__(self, folder, name="plant/out#1"):
        self.path = folder / "state.db"
        self.store = SqliteStore(self.path)
        self.store.open()
        self.outbound = SqliteOutbound(self.path)
        self.outbound.open()
        self.name = name
        self.number = self.outbound.queues([name])[name]
        self.reader = OutboundReader(self.path)
        self.put_so_far = 0

    def close(self):
        self.outbound.close()
        self.store.close()

    def put(self, count, *, step_us=SECOND):
        outlet = Outlet(self.name, "%")
        first = self.put_so_far
        self.put_so_far += count
        pushed = [
            PushedReading(KEY, f"p{n % 3}", outlet, Slot(n * 0.5, T0 + n * step_us, 0, "m", n))
            for n in range(first, first + count)
        ]
        self.store.write(Batch(pushed=pushed, tick=T0 + self.put_so_far * step_us))

    def tend(self, cursor=0, *, max_bytes=PLENTY, max_age_ms=PLENTY, now_ms=None, free=PLENTY, least=0):
        bounds = {self.number: Bounds(cursor, max_bytes, max_age_ms)}
        while self.outbound.tend(bounds, now_ms=now_ms, free_bytes=free, min_free_bytes=least):
            pass

    def ticks(self, cursor=0, limit=500):
        """All that can be read from there on, page by page."""
        found = []
        while (page := self.reader.next(self.number, cursor, limit)).readings:
            assert len(page.readings) <= limit
            found += [one.tick for one in page.readings]
            cursor = page.upto
        return found

    def waiting(self, cursor=0):
        return self.outbound.waiting(self.number, cursor)


@pytest.fixture
def queue(tmp_path):
    with closing(Queue(tmp_path)) as made:
        yield made


def tick(number):
    return T0 + number * SECOND


def test_readings_come_back_as_they_were_in_the_order_of_ticks_packed_or_not(queue):
    queue.put(3 * PACKED + 10)
    before = queue.ticks()
    queue.tend()
    assert before == [tick(n) for n in range(3 * PACKED + 10)]
    assert queue.ticks() == before
    assert queue.waiting().size_bytes < 3 * PACKED * 96
    (one,) = queue.reader.next(queue.number, tick(6), 1).readings
    assert (one.namespace, one.device, one.property, one.unit, one.at, one.value) == (
        "plant",
        "tank",
        "p1",
        "%",
        7,
        3.5,
    )
    assert (one.quality, one.reason) == (Quality.GOOD, Reason.NONE)


def test_the_last_tick_is_that_of_the_last_commit(queue):
    assert queue.reader.last_tick() == 0
    queue.put(5)
    assert queue.reader.last_tick() == tick(5)


def test_quality_reason_and_any_json_value_come_back(queue):
    odd = [{"a": [1, None]}, None, True, "x", 2**70, -1.5]
    for number, value in enumerate(odd):
        slot = Slot(value, T0 + number, 0, "m", 5, Quality.BAD, Reason.TIMEOUT)
        queue.store.write(Batch(pushed=[PushedReading(KEY, "p", Outlet(queue.name, "", "{}"), slot)], tick=T0 + number))
    readings = queue.reader.next(queue.number, 0, 10).readings
    assert [one.value for one in readings] == odd
    assert {(one.quality, one.reason, one.route) for one in readings} == {(Quality.BAD, Reason.TIMEOUT, "{}")}


def test_what_is_delivered_is_deleted_and_never_counted_as_dropped(queue):
    queue.put(3 * PACKED)
    queue.tend()
    cursor = tick(2 * PACKED + 5)
    queue.tend(cursor)
    assert queue.waiting(cursor).readings == PACKED - 6
    assert queue.ticks(cursor)[0] == cursor + SECOND
    queue.tend(tick(3 * PACKED))
    assert queue.waiting(tick(3 * PACKED)) == queue.waiting(0)
    assert queue.waiting(0).readings == queue.waiting(0).dropped == 0


@settings(max_examples=20)
@given(
    counts=st.lists(st.integers(1, 900), min_size=1, max_size=6),
    done=st.integers(0, 4000),
    max_bytes=st.integers(1_000, 200_000),
)
def test_each_reading_is_delivered_or_waits_or_is_counted_as_dropped(tmp_path_factory, counts, done, max_bytes):
    with closing(Queue(tmp_path_factory.mktemp("q"))) as queue:
        for count in counts:
            queue.put(count)
            queue.tend(max_bytes=PLENTY)
        accepted = sum(counts)
        delivered = min(done, accepted)
        cursor = tick(delivered - 1) if delivered else 0
        queue.tend(cursor, max_bytes=max_bytes)
        waiting = queue.waiting(cursor)
        assert delivered + waiting.readings + waiting.dropped == accepted
        assert waiting.size_bytes <= max_bytes
        left = queue.ticks(cursor)
        assert len(left) == waiting.readings
        assert left == [tick(n) for n in range(accepted - len(left), accepted)], "the newest stay, in order"
        assert (waiting.since_ms == 0) == (not left)


def test_what_is_over_the_age_is_dropped_with_a_gap_that_says_when_and_how_many(queue):
    queue.put(2 * PACKED + 100)
    queue.tend()
    now_ms = tick(2 * PACKED + 100) // 1000
    queue.tend(tick(9), now_ms=now_ms, max_age_ms=50_000)
    waiting = queue.waiting(tick(9))
    (gap,) = waiting.gaps
    assert gap.why is Why.AGE
    assert waiting.readings + gap.readings == 2 * PACKED + 90
    assert waiting.readings == 50
    assert (gap.first, gap.last) == (tick(10) // 1000, tick(2 * PACKED + 49) // 1000)


def test_a_queue_that_is_far_over_its_bytes_is_brought_below_them(queue):
    queue.put(6 * PACKED)
    queue.tend()
    whole = queue.waiting().size_bytes
    queue.tend(max_bytes=whole // 4)
    waiting = queue.waiting()
    assert whole // 8 < waiting.size_bytes <= whole // 4
    assert waiting.readings + waiting.dropped == 6 * PACKED


def test_on_a_disk_that_runs_full_the_queue_gives_way(queue):
    queue.put(2 * PACKED)
    queue.tend()
    queue.tend(free=0, least=10 * 1024 * 1024)
    waiting = queue.waiting()
    assert waiting.readings < 2 * PACKED
    assert waiting.readings + waiting.dropped == 2 * PACKED
    assert {gap.why for gap in waiting.gaps} == {Why.SPACE}


def test_a_queue_that_is_taken_away_is_emptied_and_its_number_is_never_given_again(queue):
    queue.put(2 * PACKED + 5)
    queue.tend()
    numbers = queue.outbound.queues(["plant/other#2"])
    queue.put(5)
    assert queue.number not in numbers.values()
    while queue.outbound.tend({}, now_ms=None, free_bytes=PLENTY, min_free_bytes=0):
        pass
    assert queue.ticks() == []
    again = queue.outbound.queues([queue.name, "plant/other#2"])
    assert again[queue.name] not in (queue.number, numbers["plant/other#2"])


def test_a_damaged_reading_is_passed_over_and_counted(queue):
    queue.put(2 * PACKED)
    queue.tend()
    db = queue.outbound._db
    db.execute("UPDATE outbound SET value = 77.0 WHERE tick = ?", (tick(2 * PACKED - 3),))
    db.execute("UPDATE outbound_chunk SET packed = x'00000001ff'")
    page = queue.reader.next(queue.number, 0, 500)
    assert (page.readings, page.damaged, page.upto) == ((), PACKED, tick(PACKED - 1))
    page = queue.reader.next(queue.number, page.upto, 5000)
    assert (len(page.readings), page.damaged, page.upto) == (PACKED - 1, 1, tick(2 * PACKED - 1))


def test_a_reading_whose_series_is_lost_is_passed_over_and_counted(queue):
    queue.put(6)
    queue.outbound._db.execute("DELETE FROM outbound_series WHERE property = 'p1'")
    page = queue.reader.next(queue.number, 0, 500)
    assert ([one.property for one in page.readings], page.damaged) == (["p0", "p2", "p0", "p2"], 2)
    assert page.upto == tick(5)


@given(st.lists(st.tuples(st.integers(1, 9), st.floats(allow_nan=False) | st.text()), max_size=40))
def test_rows_are_unpacked_as_they_were_packed(rows):
    from twin.history import Reading

    made = [Row(series, Reading(n * 7 % 5, T0 + n, value)) for n, (series, value) in enumerate(rows)]
    if made:
        assert unpack_rows(pack_rows(made)) == made


@pytest.mark.parametrize("packed", [b"", b"\0\0\0\1x", b"\xff" * 20])
def test_bytes_that_are_no_rows_are_refused(packed):
    with pytest.raises(ValueError, match="unpack"):
        unpack_rows(packed)
