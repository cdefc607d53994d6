"""Writes in the middle of polls, late and elsewhere read back, pulses, what is only written, and reads on demand."""

import asyncio
import logging

import pytest

from mappers.sdk import DeviceTimeout, Fault, NotConnected, Readings, Reason, WriteBack, WriteRefused
from mappers.sdk.binding import bind_devices
from mappers.sdk.driver import WriteKind
from mappers.sdk.errors import MapperError
from twin.model import TwinKey, ValueType

pytestmark = pytest.mark.fast

TANK = TwinKey.parse("tank")
LEVEL = {"property": "level", "cycle_ms": 1000}
SETPOINT = {"property": "setpoint", "cycle_ms": 1000, "access": "ReadWrite"}
RESET = {"property": "reset", "type": "BOOLEAN", "access": "ReadWrite"}
PULSE = {**RESET, "visitor": {"writeBack": {"kind": "pulse", "pulseMs": 500}}}


def writes(world):
    return [(round(at - world.began, 3), text) for at, text in world.driver.calls if text.startswith("write")]


def in_pieces(driver, count, piece_s=0.1):
    """Make each read of the scripted driver take several requests, between which it gives way."""
    turns = []

    async def read(plan):
        unit, names = plan
        values = {}
        for number, part in enumerate([names[n::count] for n in range(count)] if len(names) > 1 else [names]):
            if number:
                await turns[0]()
            await driver._call(f"read {unit}", unit)
            if number == 0:
                values = {name: driver.registers.get(unit, {}).get(name, 0) for name in names}
            assert part
        return Readings(values)

    driver.give_way = turns.append
    driver.read = read
    driver.read_s["tank"] = piece_s


@pytest.fixture
def pieces(world):
    in_pieces(world.driver, 2)
    return world


async def begin(world, **devices):
    world.began = world.clock.monotonic_s()
    await world.start(**devices)


# --- priorities ---


async def test_a_write_waits_for_one_request_not_for_the_poll(world) -> None:
    points = [SETPOINT, *({**LEVEL, "property": f"level{n}"} for n in range(9))]
    in_pieces(world.driver, 10)
    await begin(world, tank=points)
    await world.passes(1.25)
    world.hub.desire(TANK, setpoint=42)
    await world.passes(0.5)
    reads = [text for at, text in world.driver.calls if text == "read tank" and at - world.began < 1.3]
    assert writes(world)[0][0] == pytest.approx(1.3, abs=0.01)
    assert len(reads) < 20, "the poll is not through"
    assert world.hub.values("setpoint") == [0, 42]
    await world.passes(5)
    assert world.hub.values("setpoint") == [0, 42], "what the poll had read before the write is not reported"
    assert world.runner.counters().errors == 0


async def test_a_long_write_does_not_use_up_the_time_of_the_read_that_gave_way(world) -> None:
    in_pieces(world.driver, 2, piece_s=4.5)
    await begin(world, tank=[SETPOINT, LEVEL])
    await world.passes(10)
    world.hub.desire(TANK, setpoint=1)
    await world.passes(30)
    assert world.hub.last("level") == (0, "")
    assert world.driver.written == [("setpoint", 1)]
    assert world.runner.counters().errors == 0


async def test_a_connection_lost_in_a_write_within_a_poll_is_one_error_and_one_outage(pieces, caplog) -> None:
    world = pieces
    await begin(world, tank=[SETPOINT, LEVEL])
    await world.passes(1.05)
    world.driver.write_error = NotConnected("cable")
    world.hub.desire(TANK, setpoint=42)
    await world.passes(0.3)
    assert world.runner.counters().errors == 1
    world.driver.write_error = None
    await world.passes(40)
    assert world.driver.written == [("setpoint", 42)]
    assert world.hub.last("setpoint") == (42, "")
    assert [record.levelno for record in caplog.records] == [logging.WARNING]


async def test_a_write_that_times_out_within_a_poll_costs_that_device_only(pieces) -> None:
    world = pieces
    await begin(world, tank=[SETPOINT, LEVEL], other=[SETPOINT])
    await world.passes(1.05)
    world.driver.errors["other"] = DeviceTimeout("silent")
    world.hub.desire(TwinKey.parse("other"), setpoint=42)
    await world.passes(1)
    assert world.hub.last("level") == (0, "")
    assert [report for key, report in world.hub.reports if key == TANK and report.marks] == []


async def test_a_read_on_demand_is_made_before_the_poll_is_through(world) -> None:
    fast = [{**LEVEL, "property": f"level{n}"} for n in range(10)]
    in_pieces(world.driver, 10)
    world.driver.registers["tank"] = {"rare": 7}
    await begin(world, tank=[*fast, {"property": "rare", "cycle_ms": 60_000}])
    await world.passes(1.9)
    world.driver.registers["tank"]["rare"] = 8
    began_s = world.clock.monotonic_s()
    sample = await world.runner.ask(TANK, "rare")
    assert sample.values == {"rare": 8}
    assert world.clock.monotonic_s() - began_s <= 0.3
    await world.passes(0.1)
    assert world.hub.last("rare") == (8, "")


async def test_a_read_on_demand_of_what_is_not_there_says_so(world) -> None:
    await begin(world, tank=[LEVEL])
    with pytest.raises(MapperError, match="reads no such property as ghost"):
        await world.runner.ask(TANK, "ghost")
    with pytest.raises(MapperError, match="reads no such property"):
        await world.runner.ask(TwinKey.parse("ghost"), "level")


async def test_a_read_on_demand_fails_with_the_connection_and_with_the_device(world) -> None:
    await begin(world, tank=[LEVEL])
    await world.passes(0.5)
    world.driver.errors["tank"] = DeviceTimeout("unit 1 does not answer")
    with pytest.raises(DeviceTimeout, match="unit 1"):
        await world.runner.ask(TANK, "level")
    del world.driver.errors["tank"]
    await world.passes(61)
    world.driver.offline = NotConnected("cable")
    with pytest.raises(NotConnected):
        await world.runner.ask(TANK, "level")
    with pytest.raises(NotConnected):
        await world.runner.ask(TANK, "level")


async def test_too_many_reads_on_demand_are_refused(world) -> None:
    world.driver.read_s["tank"] = 1.0
    await begin(world, tank=[LEVEL])
    await world.passes(0.1)
    asked = [asyncio.ensure_future(world.runner.ask(TANK, "level")) for _ in range(101)]
    done, _ = await asyncio.wait(asked, return_when=asyncio.FIRST_EXCEPTION)
    assert any(isinstance(one.exception(), MapperError) for one in done)
    await world.stop()
    await asyncio.wait(asked)
    assert {type(one.exception()) for one in asked} <= {MapperError, NotConnected, type(None)}


# --- silent devices ---


async def test_silent_devices_together_take_a_twentieth_of_the_bus(world) -> None:
    dead = {f"dead{number}": [{"property": "x", "cycle_ms": 100}] for number in range(8)}
    for name in dead:
        world.driver.errors[name] = DeviceTimeout(f"{name} does not answer")
        world.driver.read_s[name] = 0.5
    await begin(world, tank=[{"property": "level", "cycle_ms": 50}], **dead)
    await world.passes(100)
    before, at = world.driver.count("read tank"), world.clock.monotonic_s()
    probes = sum(world.driver.count(f"read {name}") for name in dead)
    await world.passes(200)
    spent_s = 0.5 * (sum(world.driver.count(f"read {name}") for name in dead) - probes)
    assert 0 < spent_s <= 0.05 * (world.clock.monotonic_s() - at)
    assert world.driver.count("read tank") - before >= 0.94 * 200 / 0.05


async def test_devices_that_are_all_silent_are_probed_as_if_alone(world) -> None:
    for name in ("a", "b"):
        world.driver.errors[name] = DeviceTimeout("silent")
        world.driver.read_s[name] = 2.0
    await begin(world, a=[LEVEL], b=[LEVEL])
    await world.passes(400)
    world.driver.errors.clear()
    await world.passes(70)
    assert world.hub.last("level") == (0, "")


# --- confirmation ---


async def test_a_value_is_read_back_after_a_delay_and_the_bus_is_free_until_then(world) -> None:
    point = {**SETPOINT, "visitor": {"writeBack": {"delayMs": 700}}}
    await begin(world, tank=[point, {**LEVEL, "cycle_ms": 100}])
    await world.passes(0.05)
    world.driver.keep = lambda name, value: 0
    world.hub.desire(TANK, setpoint=42)
    await world.passes(0.4)
    assert world.driver.written == [("setpoint", 42)]
    world.driver.registers["tank"]["setpoint"] = 42
    assert world.hub.values("setpoint") == [0]
    await world.passes(0.4)
    assert world.hub.values("setpoint") == [0, 42]
    assert world.driver.count("write setpoint") == 1


async def test_a_delta_repeated_before_the_confirmation_is_not_written_again(world) -> None:
    await begin(world, tank=[{**SETPOINT, "visitor": {"writeBack": {"delayMs": 5000}}}])
    await world.passes(0.1)
    for _ in range(3):
        world.hub.desire(TANK, setpoint=42)
        await world.passes(0.5)
    assert world.driver.written == [("setpoint", 42)]


async def test_what_was_not_confirmed_when_the_connection_was_lost_is_written_again(world) -> None:
    await begin(world, tank=[{**SETPOINT, "cycle_ms": 60_000, "visitor": {"writeBack": {"delayMs": 5000}}}, LEVEL])
    await world.passes(0.1)
    world.driver.keep = lambda name, value: 0
    world.hub.desire(TANK, setpoint=42)
    await world.passes(0.5)
    world.driver.offline = NotConnected("cable")
    await world.passes(10)
    world.driver.offline, world.driver.keep = None, lambda name, value: value
    await world.passes(60)
    assert world.driver.written == [("setpoint", 42)] * 2
    assert world.hub.last("setpoint") == (42, "")


async def test_a_newer_value_takes_the_place_of_one_that_waits_for_its_confirmation(world) -> None:
    await begin(world, tank=[{**SETPOINT, "visitor": {"writeBack": {"delayMs": 500}}}])
    await world.passes(0.1)
    world.hub.desire(TANK, tick=1, setpoint=1)
    await world.passes(0.2)
    world.hub.desire(TANK, tick=2, setpoint=2)
    await world.passes(2)
    assert world.driver.written == [("setpoint", 1), ("setpoint", 2)]
    assert world.hub.last("setpoint") == (2, "")


async def test_a_property_is_read_where_its_feedback_is(world) -> None:
    command = {**SETPOINT, "visitor": {"scale": 10, "writeBack": {"readFrom": "actual"}}}
    asked = []
    plan = world.driver.plan

    def noting(device, points):
        asked.extend((point.name, point.address.scale) for point in points)
        return plan(device, points)

    world.driver.plan = noting
    world.driver.keep = lambda name, value: 2 * value
    world.driver.registers["tank"] = {"setpoint": 5, "actual": 3}
    await begin(world, tank=[command, {"property": "actual", "visitor": {"scale": 5}}])
    await world.passes(0.1)
    assert set(asked) == {("setpoint", 5.0), ("actual", 5.0)}, "both at the address, and in the scale, of the feedback"
    assert world.hub.last("setpoint") == (25, "")
    world.hub.desire(TANK, setpoint=50)
    await world.passes(0.1)
    assert world.driver.written == [("setpoint", 5)]
    assert world.hub.last("setpoint") == (50, "")


async def test_a_feedback_that_is_not_there_breaks_that_property_only(world) -> None:
    points = [{**SETPOINT, "visitor": {"writeBack": {"readFrom": "ghost"}}}, LEVEL]
    binding = bind_devices(world.settings(tank=points), world.mapper)
    (problem,) = binding.problems
    assert "(setpoint): writeBack.readFrom 'ghost' is no other property; name the one" in problem
    await world.runner.serve(binding.devices)
    world.task = asyncio.create_task(world.runner.run())
    await world.passes(0.5)
    assert world.hub.last("setpoint") == (None, "config_error")
    assert world.hub.last("level") == (0, "")


async def test_what_a_driver_read_with_the_write_is_not_read_again(world) -> None:
    write = world.driver.write

    async def write_and_read(device, point, value):
        await write(device, point, value)
        return Readings({point.name: value})

    world.driver.write = write_and_read
    await begin(world, tank=[{**SETPOINT, "cycle_ms": 60_000}])
    await world.passes(0.1)
    world.hub.desire(TANK, setpoint=42)
    await world.passes(1)
    assert world.hub.values("setpoint") == [0, 42]
    assert world.driver.count("read tank") == 1


# --- written only, pulses, expiry ---


async def test_what_is_only_written_is_never_read_and_reported_as_taken(world) -> None:
    await begin(world, tank=[{**SETPOINT, "visitor": {"writeBack": {"kind": "writeOnly"}}}])
    world.hub.desire(TANK, setpoint=42)
    await world.passes(5)
    assert world.driver.count("read tank") == 0
    assert world.hub.values("setpoint") == [42]
    world.driver.offline = NotConnected("cable")
    world.hub.desire(TANK, tick=2, setpoint=43)
    await world.passes(5)
    world.driver.offline = None
    await world.passes(31)
    assert world.hub.last("setpoint") == (43, "")


async def test_a_silent_device_that_is_only_written_is_tried_again(world) -> None:
    await begin(world, tank=[{**SETPOINT, "visitor": {"writeBack": {"kind": "writeOnly"}}}])
    world.driver.errors["tank"] = DeviceTimeout("silent")
    world.hub.desire(TANK, setpoint=42)
    await world.passes(20)
    assert 2 <= world.driver.count("write setpoint") <= 20
    del world.driver.errors["tank"]
    await world.passes(61)
    assert world.hub.last("setpoint") == (42, "")
    assert world.runner.health().devices_silent == 0


def now_tick(world):
    return world.clock.now_us()


async def test_a_pulse_is_on_for_its_time_and_made_once(world) -> None:
    await begin(world, tank=[PULSE, LEVEL])
    await world.passes(0.1)
    tick = now_tick(world)
    world.hub.desire(TANK, tick=tick, reset=True)
    await world.passes(0.3)
    assert world.driver.written == [("reset", True)]
    assert world.hub.values("reset") == [], "not done yet"
    await world.passes(0.5)
    assert world.driver.written == [("reset", True), ("reset", False)]
    on, off = (at for at, _ in writes(world))
    assert off - on == pytest.approx(0.5, abs=0.01)
    assert world.hub.values("reset") == [True]
    world.hub.desire(TANK, tick=tick, reset=True)
    await world.passes(1)
    world.hub.desire(TANK)
    world.hub.desire(TANK, tick=tick, reset=True)
    await world.passes(5)
    assert len(world.driver.written) == 2, "the same order again"
    assert world.driver.count("read tank") > 5
    assert world.hub.last("level") == (0, "")


async def test_false_is_taken_without_a_pulse_and_arms_the_next(world) -> None:
    await begin(world, tank=[PULSE])
    for value in (True, False, True):
        world.hub.desire(TANK, tick=now_tick(world), reset=value)
        await world.passes(1)
    assert world.driver.written == [("reset", True), ("reset", False)] * 2
    assert world.hub.values("reset") == [True, False, True]


async def test_a_pulse_is_ended_though_nobody_wants_it_any_more(world) -> None:
    await begin(world, tank=[PULSE])
    world.hub.desire(TANK, tick=now_tick(world), reset=True)
    await world.passes(0.1)
    world.hub.desire(TANK)
    await world.passes(1)
    assert world.driver.written == [("reset", True), ("reset", False)]


async def test_a_pulse_is_ended_as_soon_as_the_connection_is_back(world) -> None:
    await begin(world, tank=[PULSE, {**LEVEL, "cycle_ms": 100}])
    await world.passes(0.1)
    world.hub.desire(TANK, tick=now_tick(world), reset=True)
    await world.passes(0.05)
    world.driver.offline = NotConnected("cable")
    await world.passes(5)
    world.driver.offline = None
    await world.passes(31)
    assert world.driver.written == [("reset", True), ("reset", False)]


async def test_a_pulse_whose_end_is_refused_is_marked(world, caplog) -> None:
    await begin(world, tank=[PULSE])
    world.hub.desire(TANK, tick=now_tick(world), reset=True)
    await world.passes(0.1)
    world.driver.write_error = WriteRefused("exception 4")
    await world.passes(1)
    assert world.hub.last("reset")[1] == "write_refused"
    assert "the pulse of reset could not be ended" in caplog.text


async def test_a_pulse_that_is_long_overdue_is_not_made(world, caplog) -> None:
    tick = now_tick(world)
    world.driver.offline = NotConnected("off for the weekend")
    await begin(world, tank=[PULSE])
    world.hub.desire(TANK, tick=tick, reset=True)
    await world.passes(100)
    world.driver.offline = None
    await world.passes(100)
    assert world.driver.written == []
    assert "reset is not set to True: it is 1" in caplog.text
    assert "s old and expires after 60 s" in caplog.text
    world.hub.desire(TANK, tick=now_tick(world), reset=True)
    await world.passes(5)
    assert world.driver.written == [("reset", True), ("reset", False)]


async def test_an_expired_value_is_refused_and_a_younger_one_is_written(world) -> None:
    tick = now_tick(world)
    world.driver.faults["setpoint"] = Fault(Reason.DEVICE_FAILURE)
    world.driver.errors["tank"] = DeviceTimeout("silent")
    await begin(world, tank=[{**SETPOINT, "visitor": {"writeBack": {"expiresMs": 5000}}}])
    world.hub.desire(TANK, tick=tick, setpoint=42)
    await world.passes(10)
    world.driver.errors.clear()
    world.driver.faults.clear()
    await world.passes(70)
    assert world.driver.written == []
    assert world.hub.last("setpoint") == (0, "write_refused")
    world.hub.desire(TANK, tick=now_tick(world), setpoint=43)
    await world.passes(1)
    assert world.hub.last("setpoint") == (43, "")


# --- settings ---


@pytest.mark.parametrize(
    ("keys", "text"),
    [
        ({"kind": "writeOnly", "readFrom": "x"}, "readFrom is about reading back, which kind writeOnly never does"),
        ({"kind": "pulse", "delayMs": 1}, "delayMs is about reading back, which kind pulse never does"),
        ({"pulseMs": 10}, "pulseMs means nothing to kind confirmed; use kind: pulse, or leave pulseMs out"),
    ],
)
def test_settings_of_a_write_that_contradict_each_other_are_refused(keys, text) -> None:
    with pytest.raises(ValueError, match=text):
        WriteBack.model_validate(keys)


def test_a_pulse_is_of_a_boolean() -> None:
    pulse = WriteBack(kind=WriteKind.PULSE)
    assert pulse.mismatch(ValueType.BOOLEAN, ()) == ""
    assert pulse.mismatch(ValueType.INT, ()).endswith("; use type: BOOLEAN")
    assert WriteBack().mismatch(ValueType.INT, ()) == ""


async def test_a_pulse_of_a_number_breaks_that_property_only(world) -> None:
    binding = bind_devices(world.settings(tank=[{**PULSE, "type": "INT"}, LEVEL]), world.mapper)
    (problem,) = binding.problems
    assert "points[0].visitor (reset): a pulse is true and then false" in problem
    assert [spec.name for spec in binding.devices[0].broken] == ["reset"]
