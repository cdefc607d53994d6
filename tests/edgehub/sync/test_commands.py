"""Commands at most once: over repeats, restarts, a failing disk, wrong clocks; and another gateway's device."""

import dataclasses
from concurrent.futures import ThreadPoolExecutor

import pytest

from edgehub.sync import commands as module
from edgehub.sync.commands import Commands
from tests.edgehub.sync.conftest import PROPERTIES, TANK
from tests.twin.conftest import HandClock, ScriptedStore
from twin.engine import TwinEngine
from twin.errors import StoreError
from twin.exchange import Command, Outcome
from twin.model import TwinSpec


class Bench:
    def __init__(self, path, gateway="gw-1"):
        self.path = path
        self.clock = HandClock()
        self.executor = ThreadPoolExecutor(1)
        self.open()

    def open(self):
        self.store = ScriptedStore(self.path)
        self.engine = TwinEngine(self.store, clock=self.clock, executor=self.executor)
        self.engine.open()
        self.commands = Commands(self.engine, self.clock, "gw-1")
        self.commands.load()

    async def close(self):
        await self.engine.close()
        self.store.close()

    def command(self, name="k1", seconds=30, **values):
        expires_at = self.clock.us // 1000 + int(seconds * 1000)
        return Command("s", name, expires_at, TANK, values or {"valve": 40}, "ada")

    @property
    def version(self):
        return self.engine.version(TANK)


@pytest.fixture
async def bench(tmp_path):
    made = Bench(tmp_path / "state.db")
    await made.engine.define(TwinSpec(TANK, "u1", gateway="gw-1", properties=PROPERTIES)).stored()
    yield made
    await made.close()
    made.executor.shutdown()


async def test_a_command_is_written_once_and_answered_alike_each_time(bench):
    command, before = bench.command(), bench.version
    first = await bench.commands.take(command)
    assert (first.outcome, first.id, first.session) == (Outcome.DONE, "k1", "s")
    assert await bench.commands.take(dataclasses.replace(command, session="s2")) == dataclasses.replace(
        first, session="s2"
    )
    assert bench.version == before + 1
    assert bench.engine.document(TANK).desired["valve"].edge.by == "ada"


async def test_it_is_remembered_over_a_restart_with_its_effect(bench):
    await bench.commands.take(bench.command())
    await bench.engine.set_desired(TANK, {"valve": 1}, by="cli").stored()
    await bench.close()
    bench.open()
    assert (await bench.commands.take(bench.command())).outcome is Outcome.DONE
    assert bench.engine.document(TANK).desired["valve"].edge.value == 1


async def test_effect_and_memory_share_one_commit_and_a_failing_disk_keeps_neither(bench):
    bench.store.failing = StoreError("the disk is full")
    assert await bench.commands.take(bench.command()) is None
    bench.store.failing = None
    assert "valve" not in bench.engine.document(TANK).desired
    bench.store.writes.clear()
    assert (await bench.commands.take(bench.command())).outcome is Outcome.DONE
    (batch,) = [batch for batch in bench.store.writes if batch.notes]
    assert batch.desired


async def test_a_late_command_ends_as_expired_and_stays_so(bench):
    command = bench.command(seconds=-3)
    done = await bench.commands.take(command)
    assert (done.outcome, done.code) == (Outcome.EXPIRED, "expired")
    assert "3.0 s after" in done.message
    bench.clock.us -= 3_600_000_000
    assert (await bench.commands.take(command)).outcome is Outcome.EXPIRED


async def test_a_clock_that_is_behind_goes_by_what_the_cloud_has_said(bench):
    command = bench.command(seconds=30)
    bench.engine.replica.peer_last = bench.clock.us + 60_000_000
    bench.clock.us = 0
    assert (await bench.commands.take(command)).outcome is Outcome.EXPIRED


@pytest.mark.parametrize(("values", "code"), [({"nosuch": 1}, "unknown_property"), ({"level": 1}, "invalid_value")])
async def test_what_the_rules_refuse_ends_as_refused(bench, values, code):
    done = await bench.commands.take(bench.command(**values))
    assert (done.outcome, done.code) == (Outcome.REFUSED, code)
    assert done.remedy


async def test_a_device_that_names_another_gateway_is_refused(bench):
    await bench.engine.define(TwinSpec(TANK, "u1", gateway="gw-2", properties=PROPERTIES)).stored()
    done = await bench.commands.take(bench.command())
    assert done.outcome is Outcome.REFUSED
    assert "belongs to gateway 'gw-2'" in done.message


async def test_the_memory_is_bounded_and_forgets_only_what_has_expired(bench, monkeypatch):
    monkeypatch.setattr(module, "MAX_KEPT", 3)
    for number, seconds in enumerate((10, 20, 3600)):
        await bench.commands.take(bench.command(f"k{number}", seconds))
    full = await bench.commands.take(bench.command("k3", 10))
    assert (full.outcome, full.message) == (
        Outcome.REFUSED,
        "3 commands that have not expired are remembered already",
    )
    bench.clock.us += 15_000_000
    assert (await bench.commands.take(bench.command("k4", 10))).outcome is Outcome.DONE
    await bench.engine.settled()
    assert set(bench.engine.notes("command")) == {"k1", "k2", "k4"}


async def test_a_damaged_note_counts_as_done(bench):
    await bench.engine.note("command", "k1", "{").stored()
    bench.commands.load()
    before = bench.version
    assert (await bench.commands.take(bench.command())).outcome is Outcome.DONE
    assert bench.version == before
