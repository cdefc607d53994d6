"""What happens in the demo plant, as pure functions of state, commands and time.

    inflow valve ──> [ tank: level, temperature, heater ] ──> consumption, which swings with the shifts
                                       └──> pump (draws more)
    electronics ──> [ cooler cabinet: temperature ] <── fan

Levels are percent of the tank, flows percent of the tank a second.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

INFLOW_MAX: Final = 4.0
PUMP_FLOW: Final = 2.5
DEMAND_MEAN: Final = 2.6
DEMAND_SWING: Final = 1.4
DEMAND_PERIOD_S: Final = 24.0
PUMP_RUNS_DRY_PCT: Final = 5.0
INFLOW_C: Final = 20.0
ROOM_C: Final = 18.0
HEATING_C_PER_S: Final = 2.0
HEATER_CUT_OUT_C: Final = 90.0
LOSS_PER_S: Final = 0.01
FAN_RPM_MAX: Final = 3000.0


@dataclass(frozen=True, slots=True)
class TankCommands:
    """What the controls of the tank are set to."""

    valve_pct: float = 55.0
    pump_on: bool = False
    target_c: float = 40.0


@dataclass(frozen=True, slots=True)
class Tank:
    """The tank at one instant; flows and heater power are those of the step that led here."""

    level_pct: float = 60.0
    temperature_c: float = 38.0
    inflow: float = 0.0
    outflow: float = 0.0
    heater_pct: float = 0.0
    pump_on: bool = False
    pump_starts: int = 0
    age_s: float = 0.0

    @property
    def low(self) -> bool:
        """The low-level switch."""
        return self.level_pct < 20.0

    @property
    def high(self) -> bool:
        """The high-level alarm."""
        return self.level_pct > 95.0

    @property
    def pump_dry(self) -> bool:
        """The pump is on and has nothing to draw."""
        return self.pump_on and self.level_pct < PUMP_RUNS_DRY_PCT


@dataclass(frozen=True, slots=True)
class CoolerCommands:
    """What the control of the cooler is set to."""

    fan_pct: float = 40.0


@dataclass(frozen=True, slots=True)
class Cooler:
    """The cooler cabinet at one instant."""

    temperature_c: float = 30.0
    fan_rpm: float = 0.0
    age_s: float = 0.0

    @property
    def warm(self) -> bool:
        """The thermal switch."""
        return self.temperature_c > 40.0


def step_tank(tank: Tank, commands: TankCommands, dt_s: float) -> Tank:
    """Move the tank on by ``dt_s`` seconds (at most 1 for a fair picture).

    The level changes by exactly (inflow - outflow) * dt_s and stays within 0 to 100: nothing flows out of an empty
    tank, and a float valve stops the inflow of a full one.
    """
    outflow = _demand(tank.age_s) * math.sqrt(tank.level_pct / 100.0)
    if commands.pump_on and tank.level_pct >= PUMP_RUNS_DRY_PCT:
        outflow += PUMP_FLOW
    inflow = INFLOW_MAX * _within(commands.valve_pct, 0.0, 100.0) / 100.0
    outflow = min(outflow, inflow + tank.level_pct / dt_s)
    inflow = min(inflow, outflow + (100.0 - tank.level_pct) / dt_s)
    heater_pct = 0.0
    if tank.temperature_c < HEATER_CUT_OUT_C:
        heater_pct = _within((commands.target_c - tank.temperature_c) * 50.0, 0.0, 100.0)
    heated_c = tank.temperature_c + HEATING_C_PER_S * heater_pct / 100.0 * dt_s
    mixed_c = _towards(heated_c, INFLOW_C, inflow / max(tank.level_pct, 10.0), dt_s)
    return Tank(
        level_pct=_within(tank.level_pct + (inflow - outflow) * dt_s, 0.0, 100.0),
        temperature_c=_towards(mixed_c, ROOM_C, LOSS_PER_S, dt_s),
        inflow=inflow,
        outflow=outflow,
        heater_pct=heater_pct,
        pump_on=commands.pump_on,
        pump_starts=tank.pump_starts + (commands.pump_on and not tank.pump_on),
        age_s=tank.age_s + dt_s,
    )


def step_cooler(cooler: Cooler, commands: CoolerCommands, dt_s: float) -> Cooler:
    """Move the cooler on by ``dt_s`` seconds: the load warms the cabinet, the fan, which takes a moment, cools it."""
    fan_rpm = _towards(cooler.fan_rpm, FAN_RPM_MAX * _within(commands.fan_pct, 0.0, 100.0) / 100.0, 0.8, dt_s)
    load_c_per_s = 1.5 + 0.5 * math.sin(2.0 * math.pi * cooler.age_s / 15.0)
    warmed_c = min(cooler.temperature_c + load_c_per_s * dt_s, 110.0)
    cooling_per_s = 0.02 + 0.2 * fan_rpm / FAN_RPM_MAX
    return Cooler(_towards(warmed_c, ROOM_C, cooling_per_s, dt_s), fan_rpm, cooler.age_s + dt_s)


def _demand(age_s: float) -> float:
    return DEMAND_MEAN + DEMAND_SWING * math.sin(2.0 * math.pi * age_s / DEMAND_PERIOD_S)


def _towards(value: float, goal: float, rate_per_s: float, dt_s: float) -> float:
    """First-order approach, exact for any step, so that it never overshoots."""
    return goal + (value - goal) * math.exp(-rate_per_s * dt_s)


def _within(value: float, low: float, high: float) -> float:
    return min(max(value, low), high)
