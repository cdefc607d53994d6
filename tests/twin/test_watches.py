"""A watch that gathers: what it is told, how often, and what it may cost."""

import asyncio
import itertools

import pytest

from twin.api import Caller
from twin.errors import LinkError
from twin.model import Kind, TwinKey
from twin.watches import FIRST_REST, PORTION, REST, WATCH_LEASE_S, Watches
from twin.wire.api import WatchRequest

pytestmark = pytest.mark.fast

CALLER = Caller("me", "et/1/reply/me/1", b"7")


class Loop:
    """Time that is turned by hand: what was to be called later is called when its time has come."""

    def __init__(self, clock):
        self.clock = clock
        self.calls = []

    def call_later(self, wait_s, call, *arguments):
        self.calls.append((self.clock.s + wait_s, call, arguments))
        return object()

    def turn(self, seconds):
        ends_s = self.clock.s + seconds
        while due := [one for one in self.calls if one[0] <= ends_s]:
            first = min(due, key=lambda one: one[0])
            self.calls.remove(first)
            self.clock.s = max(self.clock.s, first[0])
            first[1](*first[2])
        self.clock.s = ends_s


class Line:
    """What is sent, when; each event takes ``costs_s`` of the clock."""

    def __init__(self, clock):
        self.clock = clock
        self.events = []
        self.costs_s = 0.0
        self.full = False

    def send(self, caller, event):
        assert caller is CALLER
        self.clock.s += self.costs_s
        if self.full:
            raise LinkError("full", remedy="Wait.")
        self.events.append((self.clock.s, event))

    def take(self):
        taken, self.events = [event for _, event in self.events], []
        return taken


@pytest.fixture
async def fleet(bench, tank_spec):
    """Sixty tanks."""
    keys = [TwinKey(Kind.DEVICE, "plant", f"t{number:02}") for number in range(60)]
    for key in keys:
        bench.engine.define(tank_spec(uid=key.name, key=key))
    await bench.engine.settled()
    return keys


@pytest.fixture
def line(clock):
    return Line(clock)


@pytest.fixture
async def loop(clock, monkeypatch):
    made = Loop(clock)
    real = asyncio.get_running_loop()
    monkeypatch.setattr(real, "call_later", made.call_later)
    return made


@pytest.fixture
def watches(bench, clock, line):
    return Watches(bench.engine, clock, line.send)


async def begin(watches, line, loop, **request):
    await watches.watch(WatchRequest(every_ms=250, **request), CALLER)
    loop.turn(10)
    return line.take()


async def report(bench, key, value):
    bench.engine.report(key, {"raw": value}, {}, at=value, by="m")
    await bench.engine.settled()


async def test_it_begins_with_all_twins_a_portion_at_a_time_and_the_last_is_ready(fleet, bench, watches, line, loop):
    events = await begin(watches, line, loop)
    assert [len(event.twins) for event in events] == [PORTION, PORTION, 60 - 2 * PORTION]
    assert [event.ready for event in events] == [False, False, True]
    assert all(event.initial for event in events)
    assert sorted(twin.twin for event in events for twin in event.twins) == sorted(map(str, fleet))


async def test_a_watch_of_nothing_is_ready_too(bench, watches, line, loop):
    events = await begin(watches, line, loop, kind="pod")
    assert [(event.ready, event.twins) for event in events] == [(True, [])]


async def test_many_changes_of_a_twin_are_told_once_with_the_newest_value(fleet, bench, watches, line, loop):
    await begin(watches, line, loop)
    for value in range(1, 20):
        await report(bench, fleet[3], value)
    loop.turn(1)
    (event,) = line.take()
    assert [(twin.twin, twin.reported["raw"].value) for twin in event.twins] == [(str(fleet[3]), 19)]
    assert not event.initial
    assert not event.ready


async def test_a_twin_is_told_of_at_most_every_so_many_milliseconds(fleet, bench, watches, line, loop, clock):
    await begin(watches, line, loop)
    for value in range(1, 101):
        await report(bench, fleet[0], value)
        loop.turn(0.02)
    times_s = [at_s for at_s, _ in line.events]
    assert 7 <= len(times_s) <= 9  # in two seconds
    assert min(after - before for before, after in itertools.pairwise(times_s)) >= 0.249


async def test_a_twin_that_is_removed_is_told_as_gone(fleet, bench, watches, line, loop):
    await begin(watches, line, loop)
    bench.engine.remove(fleet[5])
    await bench.engine.settled()
    loop.turn(1)
    (event,) = line.take()
    assert event.gone == [str(fleet[5])]
    assert event.twins == []


async def test_what_changes_while_all_are_told_for_the_first_time_comes_after_them(fleet, bench, watches, line, loop):
    line.costs_s = 0.001
    await watches.watch(WatchRequest(every_ms=250), CALLER)
    await report(bench, fleet[0], 5)
    loop.turn(10)
    events = line.take()
    assert [event.ready for event in events] == [False, False, True, False]
    assert [twin.reported["raw"].value for twin in events[-1].twins] == [5]


@pytest.mark.parametrize("costs_s", [0.001, 0.02, 0.5])
async def test_it_takes_a_twentieth_of_the_time_at_most_whatever_a_message_costs(
    fleet, bench, watches, line, loop, clock, costs_s
):
    await begin(watches, line, loop)
    line.costs_s = costs_s
    began_s = clock.s
    for value in range(1, 200):
        for key in fleet:
            bench.engine.report(key, {"raw": value}, {}, at=value, by="m")
        await bench.engine.settled()
        loop.turn(0.25)
    spent_s = len(line.events) * costs_s
    assert spent_s / (clock.s - began_s) <= 1 / (1 + REST) + 0.02
    assert len({twin.twin for _, event in line.events for twin in event.twins}) == len(fleet)  # nobody is left out


async def test_telling_all_for_the_first_time_may_take_a_fifth(fleet, bench, watches, line, loop, clock):
    line.costs_s = 0.01
    await watches.watch(WatchRequest(every_ms=250), CALLER)
    loop.turn(1)
    times_s = [at_s for at_s, _ in line.events]
    assert times_s[1] - times_s[0] == pytest.approx(0.01 * (1 + FIRST_REST))


async def test_what_the_broker_does_not_take_is_told_later_as_it_is_then(fleet, bench, watches, line, loop):
    await begin(watches, line, loop)
    line.full = True
    await report(bench, fleet[1], 1)
    loop.turn(3)
    line.full = False
    await report(bench, fleet[1], 2)
    loop.turn(3)
    values = [twin.reported["raw"].value for event in line.take() for twin in event.twins]
    assert values[0] == 2
    assert set(values) == {2}


async def test_it_ends_with_its_lease_and_is_kept_by_renewals(fleet, bench, watches, line, loop, clock):
    await begin(watches, line, loop)
    loop.turn(WATCH_LEASE_S - 12)
    await watches.watch(WatchRequest(every_ms=250, renew=True), CALLER)
    loop.turn(WATCH_LEASE_S - 1)
    await report(bench, fleet[0], 1)
    loop.turn(1)
    assert len(line.take()) == 1
    loop.turn(WATCH_LEASE_S)
    await report(bench, fleet[0], 2)
    loop.turn(10)
    assert line.take() == []
    assert not bench.engine._watchers


async def test_what_was_not_taken_is_told_also_if_it_does_not_change_again(fleet, bench, watches, line, loop):
    await begin(watches, line, loop)
    line.full = True
    await report(bench, fleet[1], 7)
    loop.turn(3)
    line.full = False
    loop.turn(3)
    assert [twin.reported["raw"].value for event in line.take() for twin in event.twins] == [7]


async def test_a_lease_that_ends_between_two_messages_ends_the_round(fleet, bench, watches, line, loop, clock):
    line.costs_s = 0.001
    await watches.watch(WatchRequest(every_ms=250), CALLER)
    clock.s += WATCH_LEASE_S + 1
    loop.turn(10)
    assert len(line.take()) == 1
