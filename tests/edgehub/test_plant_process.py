"""The process of the demo plant: what it does with its commands, and what it can never do."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgehub.demo.process import Cooler, CoolerCommands, Tank, TankCommands, step_cooler, step_tank

pytestmark = pytest.mark.fast

steps_s = st.floats(0.01, 1.0)
tanks = st.builds(Tank, level_pct=st.floats(0, 100), temperature_c=st.floats(15, 95), age_s=st.floats(0, 1e4))
commands = st.builds(
    TankCommands, valve_pct=st.floats(-50, 6553.5), pump_on=st.booleans(), target_c=st.floats(-1e30, 1e30)
)


def tank_after(seconds: int, commands: TankCommands, tank: Tank | None = None) -> Tank:
    tank = tank or Tank()
    for _ in range(seconds * 10):
        tank = step_tank(tank, commands, 0.1)
    return tank


@given(tanks, commands, steps_s)
def test_the_level_changes_by_what_flows_and_stays_in_the_tank(tank, commands, dt_s):
    after = step_tank(tank, commands, dt_s)
    assert 0.0 <= after.level_pct <= 100.0
    assert after.inflow >= 0.0
    assert after.outflow >= 0.0
    assert math.isclose(after.level_pct - tank.level_pct, (after.inflow - after.outflow) * dt_s, abs_tol=1e-9)


@given(tanks, commands, steps_s)
def test_the_water_is_never_colder_than_the_room_nor_boils(tank, commands, dt_s):
    for _ in range(20):
        tank = step_tank(tank, commands, dt_s)
    assert 15.0 <= tank.temperature_c <= 95.0
    assert 0.0 <= tank.heater_pct <= 100.0


@given(st.floats(0, 65535), steps_s)
def test_the_cooler_stays_within_what_a_register_holds(fan_pct, dt_s):
    cooler = Cooler()
    for _ in range(50):
        cooler = step_cooler(cooler, CoolerCommands(fan_pct), dt_s)
    assert 0.0 <= cooler.fan_rpm <= 3000.0
    assert 15.0 <= cooler.temperature_c <= 110.0


def test_an_open_valve_fills_and_a_closed_one_empties_within_seconds():
    usual = tank_after(5, TankCommands())
    assert tank_after(5, TankCommands(valve_pct=100.0)).level_pct > usual.level_pct + 5.0
    assert tank_after(5, TankCommands(valve_pct=0.0)).level_pct < usual.level_pct - 5.0


def test_the_pump_draws_counts_its_starts_and_says_when_it_runs_dry():
    pumping = TankCommands(valve_pct=0.0, pump_on=True)
    assert tank_after(3, pumping).level_pct < tank_after(3, TankCommands(valve_pct=0.0)).level_pct - 5.0
    dry = tank_after(120, pumping)
    assert dry.pump_dry
    assert dry.low
    assert dry.pump_starts == 1
    restarted = step_tank(step_tank(dry, TankCommands(), 0.1), pumping, 0.1)
    assert restarted.pump_starts == 2


def test_the_heater_follows_its_target():
    assert tank_after(10, TankCommands(target_c=60.0)).temperature_c > tank_after(10, TankCommands()).temperature_c + 4
    assert tank_after(10, TankCommands(target_c=20.0)).heater_pct == 0.0


def test_a_full_tank_raises_the_alarm_and_takes_no_more():
    full = tank_after(5, TankCommands(valve_pct=100.0), Tank(level_pct=99.5))
    assert full.high
    assert full.level_pct <= 100.0


def test_left_alone_the_plant_keeps_moving_and_neither_floods_nor_empties():
    tank, levels = Tank(), []
    for _ in range(600):
        tank = tank_after(1, TankCommands(), tank)
        levels.append(tank.level_pct)
    assert max(levels) - min(levels) > 5.0
    assert not any(level < 20.0 or level > 95.0 for level in levels)
    assert all(abs(a - b) > 1e-3 for a, b in zip(levels, levels[5:], strict=False))


def test_a_faster_fan_cools():
    slow = fast = Cooler()
    for _ in range(100):
        slow, fast = step_cooler(slow, CoolerCommands(10), 0.1), step_cooler(fast, CoolerCommands(100), 0.1)
    assert fast.temperature_c < slow.temperature_c - 5.0
    assert fast.fan_rpm > slow.fan_rpm
