"""One connection over the null modem, in virtual time."""

import asyncio
import logging

import pytest

from mappers.sdk import DeviceTimeout, Fault, NotConnected, Reason, WriteRefused
from twin.model import TwinKey

pytestmark = pytest.mark.fast

TANK = TwinKey.parse("tank")
LEVEL = {"property": "level", "cycle_ms": 1000}
SETPOINT = {"property": "setpoint", "cycle_ms": 1000, "access": "ReadWrite", "maximum": 100}


async def test_values_are_reported_once_and_then_only_what_changed(world) -> None:
    world.driver.registers["tank"] = {"level": 5, "setpoint": 1}
    await world.start(tank=[LEVEL, SETPOINT])
    await world.passes(0.5)
    assert [report.values for _, report in world.hub.reports] == [{"level": 5, "setpoint": 1}]
    await world.passes(3)
    assert len(world.hub.reports) == 1
    world.driver.registers["tank"]["level"] = 6
    await world.passes(1)
    assert world.hub.reports[-1][1].values == {"level": 6}
    assert world.driver.count("read tank") == 5
    assert world.runner.counters().requests == 5


async def test_each_cycle_has_its_own_pace(world) -> None:
    await world.start(tank=[LEVEL, {"property": "fast", "cycle_ms": 100}])
    await world.passes(2.95)
    assert world.driver.count("read tank") == 3 + 30


async def test_a_lost_connection_marks_every_property_once_and_recovers(world, caplog) -> None:
    caplog.set_level(logging.INFO, "mappers.sdk")
    world.driver.registers["tank"] = {"level": 5}
    await world.start(tank=[LEVEL, SETPOINT])
    await world.passes(0.5)
    world.driver.offline = NotConnected("no route to plc")
    await world.passes(60)
    assert world.hub.last("level") == (5, "not_connected")
    assert world.hub.last("setpoint") == (0, "not_connected")
    assert len(world.hub.reports) == 2
    assert world.driver.count("connect") > 3
    world.driver.offline = None
    await world.passes(31)
    assert world.hub.last("level") == (5, "")
    assert len(world.hub.reports) == 3
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]


async def test_a_connection_that_never_stood_is_reported_too(world) -> None:
    world.driver.offline = NotConnected("refused")
    await world.start(tank=[LEVEL])
    await world.passes(5)
    assert world.hub.last("level") == (None, "not_connected")


async def test_a_fault_of_one_point_marks_that_point(world, caplog) -> None:
    world.driver.faults["level"] = Fault(Reason.ILLEGAL_ADDRESS, "exception 2")
    await world.start(tank=[LEVEL, SETPOINT])
    await world.passes(10)
    assert world.hub.last("level") == (None, "illegal_address")
    assert world.hub.last("setpoint") == (0, "")
    assert [record.levelname for record in caplog.records] == ["WARNING"]


async def test_a_value_over_the_limit_is_marked(world) -> None:
    world.driver.registers["tank"] = {"setpoint": 101}
    await world.start(tank=[SETPOINT])
    await world.passes(0.5)
    assert world.hub.last("setpoint") == (None, "out_of_range")


async def test_a_silent_device_takes_little_of_the_bus(world) -> None:
    world.driver.errors["dead"] = DeviceTimeout("unit 2 does not answer")
    world.driver.read_s["dead"] = 0.5
    await world.start(tank=[{"property": "level", "cycle_ms": 100}], dead=[{"property": "x", "cycle_ms": 100}])
    await world.passes(100)
    assert world.hub.last("x") == (None, "timeout")
    assert world.driver.count("read tank") >= 950
    assert 2 <= world.driver.count("read dead") <= 10
    del world.driver.errors["dead"]
    await world.passes(61)
    assert world.hub.last("x") == (0, "")


async def test_a_fault_in_the_driver_degrades_its_device_only(world) -> None:
    world.driver.errors["odd"] = ZeroDivisionError("a bug")
    await world.start(tank=[LEVEL], odd=[{"property": "x"}])
    await world.passes(1.5)
    assert world.hub.last("x") == (None, "device_failure")
    assert world.hub.last("level") == (0, "")


async def test_a_call_that_never_ends_is_cut(world) -> None:
    world.driver.read_s["tank"] = 1e9
    await world.start(tank=[LEVEL])
    await world.passes(11)
    assert world.hub.last("level") == (None, "timeout")


async def test_a_desired_value_is_written_read_back_and_reported(world) -> None:
    world.hub.desire(TANK, setpoint=42)
    await world.start(tank=[SETPOINT])
    await world.passes(0.1)
    assert world.driver.written == [("setpoint", 42)]
    assert world.hub.values("setpoint") == [0, 42], "read first, then written and read back before the next cycle"
    await world.passes(10)
    assert world.driver.written == [("setpoint", 42)]


async def test_a_scaled_value_is_written_as_the_device_keeps_it(world) -> None:
    await world.start(tank=[{**SETPOINT, "type": "FLOAT", "visitor": {"scale": 0.1}}])
    world.hub.desire(TANK, setpoint=21.5)
    await world.passes(0.1)
    assert world.driver.written == [("setpoint", 215)]
    assert world.hub.last("setpoint") == (21.5, "")


async def test_what_the_device_holds_already_is_not_written(world) -> None:
    world.driver.registers["tank"] = {"setpoint": 42}
    world.hub.desire(TANK, setpoint=42)
    await world.start(tank=[SETPOINT])
    await world.passes(5)
    assert world.driver.written == []


async def test_the_latest_desired_value_wins(world) -> None:
    world.driver.read_s["tank"] = 0.3
    await world.start(tank=[SETPOINT])
    await world.passes(0.1)
    world.hub.desire(TANK, tick=1, setpoint=1)
    world.hub.desire(TANK, tick=2, setpoint=2)
    await world.passes(5)
    assert world.driver.written == [("setpoint", 2)]


async def test_a_newer_value_during_a_write_is_written_next(world) -> None:
    await world.start(tank=[SETPOINT])
    await world.passes(0.1)
    world.driver.read_s["tank"] = 0.3
    world.hub.desire(TANK, tick=1, setpoint=1)
    await world.passes(0.1)
    world.hub.desire(TANK, tick=2, setpoint=2)
    await world.passes(1.9)
    assert world.driver.written == [("setpoint", 1), ("setpoint", 2)]
    assert world.hub.last("setpoint") == (2, "")


async def test_a_refused_write_is_marked_retried_slowly_and_good_again_when_it_is_taken(world) -> None:
    world.driver.write_error = WriteRefused("exception 3")
    await world.start(tank=[SETPOINT])
    await world.passes(0.1)
    world.hub.desire(TANK, setpoint=42)
    await world.passes(100)
    assert world.hub.last("setpoint") == (0, "write_refused")
    assert len(world.hub.reports) == 2
    assert 2 <= world.driver.count("write setpoint") <= 30
    world.driver.write_error = None
    await world.passes(61)
    assert world.hub.last("setpoint") == (42, "")


async def test_a_device_that_does_not_keep_the_value_is_marked_with_what_it_holds(world) -> None:
    world.driver.keep = lambda name, value: 7
    await world.start(tank=[SETPOINT])
    world.hub.desire(TANK, setpoint=42)
    await world.passes(5)
    assert world.hub.last("setpoint") == (7, "write_refused")
    world.hub.desire(TANK)
    await world.passes(1)
    assert world.hub.last("setpoint") == (7, ""), "nothing is desired any more"


@pytest.mark.parametrize(("name", "value"), [("setpoint", 101), ("level", 1), ("setpoint", "x")])
async def test_what_the_model_forbids_never_reaches_the_device(world, name, value) -> None:
    await world.start(tank=[LEVEL, SETPOINT])
    world.hub.desire(TANK, **{name: value})
    await world.passes(100)
    assert world.driver.count(f"write {name}") == 0
    assert world.hub.last(name) == (0, "write_refused")


async def test_an_unknown_property_is_ignored(world) -> None:
    await world.start(tank=[LEVEL])
    world.hub.desire(TANK, ghost=1)
    await world.passes(2)
    assert world.hub.last("level") == (0, "")


async def test_a_write_waits_for_the_connection(world) -> None:
    await world.start(tank=[SETPOINT])
    await world.passes(0.1)
    world.driver.offline = NotConnected("cable")
    world.hub.desire(TANK, setpoint=42)
    await world.passes(10)
    world.driver.offline = None
    await world.passes(31)
    assert world.driver.written == [("setpoint", 42)]
    assert world.hub.last("setpoint") == (42, "")


async def test_a_write_waits_for_a_silent_device(world) -> None:
    await world.start(tank=[SETPOINT])
    await world.passes(0.1)
    world.driver.errors["tank"] = DeviceTimeout("silent")
    world.hub.desire(TANK, setpoint=42)
    await world.passes(10)
    assert world.hub.last("setpoint")[1] == "timeout"
    del world.driver.errors["tank"]
    await world.passes(61)
    assert world.driver.written == [("setpoint", 42)]


async def test_a_value_that_the_device_lost_is_written_again(world) -> None:
    await world.start(tank=[SETPOINT])
    world.hub.desire(TANK, setpoint=42)
    await world.passes(1.5)
    world.driver.registers["tank"]["setpoint"] = 0
    await world.passes(1)
    world.hub.desire(TANK, setpoint=42)
    await world.passes(0.1)
    assert world.driver.written == [("setpoint", 42), ("setpoint", 42)]


async def test_an_unacknowledged_report_is_sent_again_with_the_newest_value(world) -> None:
    world.hub.answers = False
    await world.start(tank=[LEVEL])
    await world.passes(1.9)
    assert world.hub.values("level") == [0]
    await world.passes(1)
    assert world.hub.values("level") == [0, 0]
    world.hub.answers = True
    await world.passes(10)
    count = len(world.hub.reports)
    await world.passes(100)
    assert len(world.hub.reports) == count, "acknowledged: never again"


async def test_a_silent_hub_does_not_stop_later_cycles(world) -> None:
    world.hub.answers = False
    await world.start(tank=[LEVEL])
    for number in range(50):
        world.driver.registers["tank"] = {"level": number}
        await world.passes(1)
    assert set(world.hub.values("level")) >= set(range(50))


async def test_a_link_that_comes_back_brings_the_newest_values(world) -> None:
    await world.start(tank=[LEVEL])
    await world.passes(0.5)
    world.broker.cut(world.link)
    world.driver.registers["tank"] = {"level": 9}
    await world.passes(3)
    assert world.hub.values("level") == [0]
    world.broker.restore(world.link)
    await world.passes(0.5)
    assert world.hub.values("level") == [0, 9]


async def test_a_refusal_is_logged_once_and_not_sent_again(world, caplog) -> None:
    world.hub.refuse = "level is not in the model"
    await world.start(tank=[LEVEL])
    await world.passes(0.5)
    world.driver.registers["tank"] = {"level": 2}
    await world.passes(30)
    assert world.hub.values("level") == [0, 2]
    assert len(caplog.records) == 1


async def test_a_report_over_the_size_limit_is_sent_in_parts(world) -> None:
    points = [{"property": f"text{number}", "type": "STRING"} for number in range(40)]
    world.driver.registers["tank"] = {f"text{number}": "x" * 10_000 for number in range(40)}
    await world.start(tank=points)
    await world.passes(0.5)
    assert len(world.hub.reports) == 2
    assert {name for _, report in world.hub.reports for name in report.values} == {p["property"] for p in points}


async def test_a_value_over_the_size_limit_is_marked(world) -> None:
    world.driver.registers["tank"] = {"text": "x" * 300_000}
    await world.start(tank=[{"property": "text", "type": "STRING"}])
    await world.passes(0.5)
    assert world.hub.last("text") == (None, "out_of_range")


async def test_a_changed_device_does_not_reconnect_and_leaves_others_alone(world) -> None:
    await world.start(tank=[LEVEL], other=[{"property": "x", "cycle_ms": 1000}])
    await world.passes(1.5)
    await world.runner.serve(
        world.bound(tank=[{**LEVEL, "cycle_ms": 100}], other=[{"property": "x", "cycle_ms": 1000}])
    )
    await world.passes(1)
    assert world.driver.count("connect") == 1
    assert world.driver.count("read other") == 3
    assert world.driver.count("read tank") == 2 + 10
    assert world.hub.values("x") == [0], "an untouched device reports nothing anew"
    await world.runner.serve(world.bound(other=[{"property": "x", "cycle_ms": 1000}]))
    count = world.driver.count("read tank")
    await world.passes(2)
    assert world.driver.count("read tank") == count


async def test_ending_in_the_middle_of_a_call_closes_the_driver(world) -> None:
    world.driver.read_s["tank"] = 5
    await world.start(tank=[LEVEL])
    await world.passes(1)
    assert world.driver.busy
    await world.stop()
    assert not world.driver.is_open
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_a_driver_that_answers_at_once_does_not_starve_the_loop(world) -> None:
    world.driver.read_s["tank"] = 0
    await world.start(tank=[{"property": "level", "cycle_ms": 1}])
    await asyncio.wait_for(world.passes(0.05), 1)
    assert world.driver.count("read tank") >= 49


async def test_a_device_taken_away_during_a_call_reports_nothing_more(world) -> None:
    await world.start(tank=[SETPOINT])
    await world.passes(0.5)
    world.driver.read_s["tank"] = 1
    world.hub.desire(TANK, setpoint=42)
    await world.passes(0.5)
    assert world.driver.busy
    await world.runner.serve(())
    await world.passes(10)
    assert world.hub.values("setpoint") == [0]
