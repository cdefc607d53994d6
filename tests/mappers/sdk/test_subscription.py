"""Values that the driver tells by itself, in virtual time."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from mappers.sdk import DeviceTimeout, Fault, Listener, MapperError, NotConnected, Readings, Subscribed, Value
from mappers.sdk.runner import MapperRunner
from twin.model import Quality, Reason, TwinKey

pytestmark = pytest.mark.fast

TANK = TwinKey.parse("tank")
ALIVE_S = 10.0
LEVEL = {"property": "level"}
VALVE = {"property": "valve", "access": "ReadWrite"}


def told_by(scripted: type) -> type:
    class ToldDriver(scripted):  # type: ignore[misc]  # the scripted driver of conftest
        """Tells what it has when it is subscribed to, then what a test says."""

        def __init__(self) -> None:
            super().__init__()
            self.listeners: dict[str, Listener] = {}
            self.refuses: frozenset[str] = frozenset()
            self.subscribe_error: Exception | None = None
            self.mute = False
            self.ended: list[Any] = []

        async def subscribe(self, plan: Any, cycle_ms: int, listener: Listener) -> Subscribed:
            unit, names = plan
            await self._call(f"subscribe {unit}", unit)
            if self.subscribe_error is not None:
                raise self.subscribe_error
            self.listeners[unit] = listener
            if not self.mute:
                has = self.registers.get(unit, {})
                listener.tell(Readings({name: has.get(name, 0) for name in names if name not in self.refuses}))
            return Subscribed(ALIVE_S, self.refuses)

        async def unsubscribe(self, plan: Any) -> None:
            await self._call(f"unsubscribe {plan[0]}", plan[0])
            self.ended.append(plan)

        def tell(self, unit: str = "tank", times_ms: dict[str, int] | None = None, **values: Value) -> None:
            self.registers.setdefault(unit, {}).update(values)
            self.listeners[unit].tell(Readings(dict(values), {}, times_ms or {}))

    return ToldDriver


@pytest.fixture
def told(world, new_driver: Callable[[], Any]):
    world.driver = told_by(new_driver)()  # type: ignore[arg-type]
    world.runner = MapperRunner(
        "default/bus", world.driver, link=world.link, outbox=world.outbox, clock=world.clock, rng=world.rng
    )
    return world


async def test_told_values_are_reported_and_nothing_is_polled(told) -> None:
    told.driver.registers["tank"] = {"level": 5}
    await told.start(tank=[LEVEL])
    await told.passes(3)
    assert told.hub.values("level") == [5]
    told.driver.tell(level=6)
    await told.passes(0.01)
    told.driver.tell(level=7)
    await told.passes(0.01)
    assert told.hub.values("level") == [5, 6, 7]
    assert told.driver.count("read tank") == 0
    assert told.driver.count("subscribe tank") == 1


async def test_source_time_and_receive_time_are_kept_apart(told) -> None:
    await told.start(tank=[LEVEL, VALVE])
    await told.passes(1)
    told.driver.tell(level=6, valve=2, times_ms={"level": 1000, "valve": 1020})
    await told.passes(0.01)
    report = told.hub.reports[-1][1]
    assert {name: report.times.get(name, report.at) for name in report.values} == {"level": 1000, "valve": 1020}
    told.driver.tell(level=8, valve=3, times_ms={"level": 2000})
    await told.passes(0.01)
    report = told.hub.reports[-1][1]
    now_ms = told.clock.now_us() // 1000
    times = {name: report.times.get(name, report.at) for name in report.values}
    assert times["level"] == 2000
    assert now_ms - 1000 < times["valve"] <= now_ms


async def test_a_source_time_goes_again_with_its_value(told) -> None:
    told.hub.answers = False
    await told.start(tank=[LEVEL])
    await told.passes(1)
    told.driver.tell(level=6, times_ms={"level": 1000})
    await told.passes(20)
    again = [report for _, report in told.hub.reports if report.values.get("level") == 6]
    assert len(again) > 1
    assert {report.at for report in again} == {1000}


async def test_a_held_change_keeps_the_time_of_its_reading(told) -> None:
    await told.start(tank=[{**LEVEL, "report": {"min_interval_ms": 1000}}])
    await told.passes(2)
    for value, time_ms in ((1, 100), (2, 200), (3, 300)):
        told.driver.tell(level=value, times_ms={"level": time_ms})
    await told.passes(2)
    assert [(report.values, report.at) for _, report in told.hub.reports[1:]] == [
        ({"level": 1}, 100),
        ({"level": 3}, 300),
    ]


async def test_points_that_are_refused_are_polled(told) -> None:
    told.driver.refuses = frozenset({"valve"})
    told.driver.registers["tank"] = {"valve": 3}
    await told.start(tank=[LEVEL, VALVE])
    await told.passes(2.5)
    assert told.hub.last("valve") == (3, "")
    assert told.driver.count("read tank") >= 2
    told.driver.registers["tank"]["valve"] = 4
    await told.passes(1.5)
    assert told.hub.last("valve") == (4, "")
    assert told.hub.last("level") == (0, "")


async def test_a_device_that_takes_no_subscription_is_polled(told) -> None:
    told.driver.subscribe_error = MapperError("no subscriptions here")
    told.driver.registers["tank"] = {"level": 3}
    await told.start(tank=[LEVEL])
    await told.passes(2.5)
    assert told.hub.last("level") == (3, "")
    assert told.driver.count("subscribe tank") == 1
    assert told.driver.count("read tank") == 3


async def test_silence_is_uncertain_then_bad_and_any_word_ends_it(told) -> None:
    await told.start(tank=[LEVEL, VALVE])
    await told.passes(1)
    seen = []
    for _ in range(5):
        await told.passes(ALIVE_S / 2)
        seen.append([report.marks["level"] for _, report in told.hub.reports if report.marks][-1:])
    qualities = [one[0].quality if one else Quality.GOOD for one in seen]
    assert qualities == [Quality.GOOD, Quality.UNCERTAIN, Quality.UNCERTAIN, Quality.BAD, Quality.BAD]
    assert told.hub.last("valve") == (0, "stale")
    told.driver.listeners["tank"].alive()
    await told.passes(0.01)
    assert told.hub.last("level") == (0, "")
    assert told.hub.last("valve") == (0, "")


async def test_a_keep_alive_keeps_values_good(told) -> None:
    await told.start(tank=[LEVEL])
    for _ in range(10):
        await told.passes(ALIVE_S * 0.7)
        told.driver.listeners["tank"].alive()
    assert [report for _, report in told.hub.reports if report.marks] == []


async def test_a_bad_value_stays_bad_while_its_subscription_is_silent(told) -> None:
    await told.start(tank=[LEVEL])
    await told.passes(1)
    told.driver.listeners["tank"].tell(Readings({}, {"level": Fault(Reason.DEVICE_FAILURE)}))
    await told.passes(3 * ALIVE_S)
    assert told.hub.last("level") == (0, "device_failure")


async def test_a_value_may_come_with_a_doubt(told) -> None:
    await told.start(tank=[LEVEL])
    await told.passes(1)
    doubt = Fault(Reason.NOT_ACCURATE, "drifts", Quality.UNCERTAIN)
    told.driver.listeners["tank"].tell(Readings({"level": 9}, {"level": doubt}))
    await told.passes(0.01)
    report = told.hub.reports[-1][1]
    assert report.values == {"level": 9}
    assert report.marks["level"].quality is Quality.UNCERTAIN
    told.driver.tell(level=9)
    await told.passes(0.01)
    assert told.hub.last("level") == (9, "")


async def test_a_loss_is_told_and_the_first_value_after_it_is_reported(told) -> None:
    told.driver.registers["tank"] = {"level": 5}
    await told.start(tank=[LEVEL])
    await told.passes(1)
    old = told.driver.listeners["tank"]
    old.lost(NotConnected("the server went away"))
    await told.passes(0.001)
    assert told.hub.last("level") == (5, "not_connected")
    assert not told.driver.is_open
    await told.passes(5)
    assert told.driver.is_open
    assert told.hub.last("level") == (5, "")
    assert told.driver.count("subscribe tank") == 2
    old.tell(Readings({"level": 77}))
    old.lost(NotConnected("late"))
    await told.passes(1)
    assert told.hub.last("level") == (5, "")
    assert told.driver.count("connect") == 2


async def test_a_desired_value_is_written_read_back_and_reported(told) -> None:
    await told.start(tank=[VALVE])
    await told.passes(1)
    told.hub.desire(TANK, valve=80)
    await told.passes(0.1)
    assert told.driver.written == [("valve", 80)]
    assert told.driver.count("read tank") == 1
    assert told.hub.last("valve") == (80, "")


async def test_nothing_is_written_before_the_present_value_was_told(told) -> None:
    told.driver.mute = True
    told.hub.desire(TANK, valve=80)
    await told.start(tank=[VALVE])
    await told.passes(2)
    assert told.driver.written == []
    told.driver.tell(valve=80)
    await told.passes(1)
    assert told.driver.written == []
    assert told.hub.values("valve") == [80]


async def test_a_write_waits_no_longer_than_silence_is_fine(told) -> None:
    told.driver.mute = True
    told.hub.desire(TANK, valve=80)
    await told.start(tank=[VALVE])
    await told.passes(2 * ALIVE_S)
    assert told.driver.written == [("valve", 80)]


async def test_a_notification_from_before_the_write_is_no_news(told) -> None:
    async def read(plan: Any) -> Readings:
        return Readings({"valve": 80}, times_ms={"valve": 5000})

    await told.start(tank=[VALVE])
    await told.passes(1)
    told.driver.read = read
    told.hub.desire(TANK, valve=80)
    await told.passes(0.1)
    told.driver.tell(valve=10, times_ms={"valve": 4000})
    await told.passes(0.1)
    assert told.hub.values("valve") == [0, 80]
    told.driver.tell(valve=81, times_ms={"valve": 6000})
    told.driver.tell(valve=10, times_ms={"valve": 7000})
    await told.passes(0.1)
    assert told.hub.values("valve") == [0, 80, 81, 10]


async def test_a_device_that_stopped_answering_is_read_once_it_answers(told) -> None:
    await told.start(tank=[LEVEL, VALVE, {"property": "slow", "cycle_ms": 5000}])
    await told.passes(1)
    told.driver.errors["tank"] = DeviceTimeout("no answer")
    told.hub.desire(TANK, valve=80)
    await told.passes(1)
    assert told.hub.last("level") == (0, "timeout")
    told.driver.errors.clear()
    await told.passes(5)
    assert {name: told.hub.last(name) for name in ("level", "valve", "slow")} == {
        "level": (0, ""),
        "valve": (80, ""),
        "slow": (0, ""),
    }
    assert told.driver.count("subscribe tank") == 2


async def test_a_silent_device_that_tells_a_value_answers(told) -> None:
    await told.start(tank=[LEVEL, VALVE])
    await told.passes(1)
    told.driver.write_error = DeviceTimeout("no answer")
    told.hub.desire(TANK, valve=80)
    await told.passes(0.1)
    assert told.hub.last("level") == (0, "timeout")
    told.driver.write_error = None
    told.driver.tell(level=4)
    await told.passes(0.1)
    assert told.hub.last("level") == (4, "")
    assert told.hub.last("valve") == (80, "")


async def test_a_device_that_is_taken_out_is_unsubscribed(told) -> None:
    await told.start(tank=[LEVEL], pump=[LEVEL])
    await told.passes(1)
    await told.runner.serve(told.bound(pump=[LEVEL]))
    await told.passes(1)
    assert told.driver.ended == [("tank", ("level",))]
    told.driver.tell(level=99)
    told.driver.tell(unit="pump", level=98)
    await told.passes(0.1)
    assert told.hub.values("level") == [0, 0, 98]


async def test_a_device_that_is_taken_out_while_it_subscribes_is_unsubscribed(told) -> None:
    told.driver.read_s["tank"] = 1.0
    await told.start(tank=[LEVEL])
    await told.passes(0.5)
    await told.runner.serve(())
    await told.passes(3)
    assert told.driver.ended == [("tank", ("level",))]


async def test_a_runner_at_rest_makes_no_turns(told) -> None:
    told.driver.mute = True
    told.hub.desire(TANK, valve=80)
    await told.start(tank=[VALVE])
    await told.passes(0.5)
    turns = 0
    step = told.runner._step

    async def counted() -> None:
        nonlocal turns
        turns += 1
        await step()

    told.runner._step = counted
    told.runner._wake.set()
    await told.passes(3)
    assert turns <= 2
    await asyncio.sleep(0)
