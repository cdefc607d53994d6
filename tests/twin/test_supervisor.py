import asyncio
import contextlib
import logging
import os
import random
import signal
import sys
from pathlib import Path

import psutil
import pytest

from twin.clock import SystemClock
from twin.link.backoff import Backoff
from twin.supervisor import Child, ChildError, ChildRunner, Lines, Supervisor

PYTHON = sys.executable


class Starts:
    """Collects the pids of a child and lets a test wait for the n-th."""

    def __init__(self):
        self.pids = []
        self._more = asyncio.Event()

    def __call__(self, pid):
        self.pids.append(pid)
        self._more.set()

    async def number(self, count):
        async with asyncio.timeout(10):
            while len(self.pids) < count:
                self._more.clear()
                await self._more.wait()
        return self.pids[count - 1]


class Ceilings(random.Random):
    """Draws no wait, and remembers the ceilings it was asked for."""

    def __init__(self):
        super().__init__()
        self.asked = []

    def uniform(self, a, b):
        self.asked.append(b)
        return 0.0


class StillClock:
    def __init__(self, step_s):
        self.at_s = 0.0
        self.step_s = step_s

    def now_us(self):
        return 0

    def monotonic_s(self):
        self.at_s += self.step_s
        return self.at_s


async def gone(pid):
    async with asyncio.timeout(10):
        while psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def test_a_killed_child_is_started_again(supervisor):
    starts, exits = Starts(), Starts()
    runner = await supervisor.add(Child("sleeper", ("sleep", "60")), on_start=starts, on_exit=exits)
    first = await starts.number(1)
    os.kill(first, signal.SIGKILL)
    second = await starts.number(2)
    assert second != first
    assert exits.pids == [-signal.SIGKILL]
    assert runner.pid == second
    assert runner.restarts == 1


@pytest.mark.parametrize(("run_s", "ceilings"), [(0.0, [0.1, 0.2, 0.4, 0.8]), (61.0, [0.1, 0.1, 0.1, 0.1])])
async def test_the_wait_doubles_unless_the_child_was_up_for_a_minute(run_s, ceilings):
    rng, starts = Ceilings(), Starts()
    async with Supervisor(clock=StillClock(run_s), rng=rng) as supervisor:
        await supervisor.add(Child("crasher", (PYTHON, "-c", "raise SystemExit(3)")), on_start=starts)
        await starts.number(5)
    assert rng.asked[:4] == ceilings


async def test_crash_loops_warn_once(supervisor, caplog):
    caplog.set_level(logging.DEBUG)
    starts = Starts()
    await supervisor.add(Child("crasher", ("false",)), on_start=starts)
    await starts.number(4)
    warnings = [r.message for r in caplog.records if r.levelname == "WARNING" and "crasher" in r.message]
    assert len(warnings) == 1
    assert "exit code 1" in warnings[0]


async def test_stopping_asks_first_and_kills_after_the_grace_period(supervisor, caplog):
    deaf = (
        "import signal,time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); time.sleep(60)"
    )
    caplog.set_level(logging.INFO)
    polite_exits, deaf_exits = Starts(), Starts()
    polite = await supervisor.add(Child("polite", ("sleep", "60")), on_exit=polite_exits)
    runner = await supervisor.add(Child("deaf", (PYTHON, "-c", deaf), grace_s=0.2), on_exit=deaf_exits)
    async with asyncio.timeout(10):
        while "deaf" not in [record.message for record in caplog.records]:  # noqa: ASYNC110 a log has no event
            await asyncio.sleep(0.01)
    await supervisor.remove(polite)
    await supervisor.remove(runner)
    assert polite_exits.pids == [-signal.SIGTERM]
    assert deaf_exits.pids == [-signal.SIGKILL]
    assert runner.pid is None


async def test_stdin_and_output_reach_child_and_log(supervisor, caplog):
    caplog.set_level(logging.INFO)
    exits = Starts()
    code = "import sys; print(len(sys.stdin.read())); print('x' * 20000); print('oops', file=sys.stderr)"
    child = Child("talker", (PYTHON, "-c", code), stdin=b"secret")
    assert "secret" not in repr(child)
    await supervisor.add(child, on_exit=exits)
    await exits.number(1)
    lines = [r.message for r in caplog.records if r.name == "edgehub.child.talker"]
    assert lines[0] == "6"
    assert "oops" in lines
    assert sum(line.count("x") for line in lines if set(line) == {"x"}) >= 20000
    assert max(map(len, lines)) <= 8192


async def test_a_missing_program_is_told_with_the_remedy(supervisor):
    with pytest.raises(ChildError, match="no program /nowhere/mapper") as caught:
        await supervisor.add(Child("lost", ("/nowhere/mapper",)))
    assert "Install" in caught.value.remedy


async def test_an_observer_that_raises_does_not_end_the_care(supervisor):
    starts = Starts()

    def broken(code):
        raise RuntimeError("observer")

    await supervisor.add(Child("crasher", ("false",)), on_start=starts, on_exit=broken)
    await starts.number(2)


@pytest.mark.parametrize("how", ["setpriv", "prctl"])
async def test_a_child_ends_when_its_supervising_process_is_killed(tmp_path, how):
    child_code = "import time; print('up', flush=True); time.sleep(60)"
    if how == "prctl":
        child_code = (
            "import os; from twin.supervisor import PARENT_ENV; from twin.parent import die_with_parent;"
            "die_with_parent(int(os.environ[PARENT_ENV]));" + child_code
        )
    report = tmp_path / "pid"
    hub_code = f"""
import asyncio, random
from pathlib import Path
from twin.supervisor import *
from twin.supervisor import Supervisor, Child
from twin.clock import SystemClock
async def main():
    supervisor = Supervisor(clock=SystemClock(), rng=random.Random(1))
    if {how!r} == "setpriv":
        await supervisor.__aenter__()
    seen = asyncio.Event()
    def level(line):
        seen.set()
        return 10
    runner = await supervisor.add(Child("inner", ({PYTHON!r}, "-c", {child_code!r}), level_of=level))
    await seen.wait()
    Path({str(report)!r} + ".new").write_text(str(runner.pid))
    Path({str(report)!r} + ".new").rename({str(report)!r})
    await asyncio.sleep(60)
asyncio.run(main())
"""
    root = Path(__file__).parents[2]
    hub = await asyncio.create_subprocess_exec(PYTHON, "-c", hub_code, cwd=root)
    try:
        async with asyncio.timeout(20):
            while not report.exists():
                assert hub.returncode is None
                await asyncio.sleep(0.01)
        inner = int(report.read_text())
        assert psutil.pid_exists(inner)
    finally:
        hub.kill()
        await hub.wait()
    await gone(inner)


async def test_dying_with_a_parent_that_is_gone_is_refused():
    code = (
        "from twin.parent import ParentGone, die_with_parent\n"
        "try:\n    die_with_parent(999999999)\nexcept ParentGone:\n    raise SystemExit(7)"
    )
    child = await asyncio.create_subprocess_exec(PYTHON, "-c", code, cwd=Path(__file__).parents[2])
    assert await asyncio.wait_for(child.wait(), 20) == 7


async def test_a_grandchild_that_holds_the_output_does_not_hold_up_the_restart(supervisor):
    starts = Starts()
    child = Child("forker", ("sh", "-c", "sleep 5 & echo on; exit 1"))
    runner = await supervisor.add(child, on_start=starts)
    first = await starts.number(1)
    await starts.number(2)
    await supervisor.remove(runner)
    for pid in starts.pids:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)
    assert first


def test_lines_are_cut_at_newlines_and_at_the_bound():
    lines = Lines(4)
    assert lines.feed(b"ab") == []
    assert lines.feed(b"c\r\nlonger line\n\nx") == ["abc", "long", "er l", "ine"]
    assert lines.flush() == ["x"]
    assert lines.feed(b"\xff\n") == ["\ufffd"]


async def test_a_runner_that_never_started_stops_at_once():
    runner = ChildRunner(
        Child("none", ("true",)), backoff=Backoff(1, 1, random.Random(1)), clock=SystemClock(), setpriv=None
    )
    await runner.stop()
    assert runner.pid is None


@pytest.mark.parametrize("ends", ["import time; time.sleep(100)", "os.close(end); import time; time.sleep(100)"])
async def test_a_child_that_gives_no_more_signs_of_life_is_killed_and_started_again(supervisor, ends):
    program = f"import os; end = int(os.environ['EDGETWIN_BEAT_FD']); os.write(end, b'.'); {ends}"
    starts = Starts()
    runner = await supervisor.add(Child("silent", (PYTHON, "-c", program), watchdog_s=0.5), on_start=starts)
    first = await starts.number(1)
    await starts.number(2)
    await gone(first)
    assert runner.last_end == "gave no sign of life for 0.5 s and was killed"
    assert runner.last_end_ms > 0


async def test_a_child_may_take_longer_for_its_first_sign_of_life(supervisor):
    program = (
        "import os, time; end = int(os.environ['EDGETWIN_BEAT_FD']); time.sleep(1); os.write(end, b'.'); time.sleep(60)"
    )
    starts = Starts()
    child = Child("slow", (PYTHON, "-c", program), watchdog_s=0.4, first_sign_s=60)
    runner = await supervisor.add(child, on_start=starts)
    await starts.number(2)
    assert runner.last_end == "gave no sign of life for 0.4 s and was killed"


async def test_the_last_line_of_a_child_that_failed_is_kept(supervisor):
    starts = Starts()
    child = Child("talker", ("sh", "-c", "echo first; echo no such chip; exit 3"))
    runner = await supervisor.add(child, on_start=starts)
    await starts.number(2)
    assert runner.last_end == "ended (exit code 3): no such chip"
