"""What else happens in the demo plant, as pure functions: a press, the climate of the room, a panel with a door.

run, speed ──> [ press: strokes, temperature ] ──warms──> [ room: temperature, humidity ]
lamp ──> [ panel: light at its sensor ]     somebody opens the door now and then, and turns the dial
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

ROOM_C: Final = 21.0
PRESS_WARMS_C: Final = 60.0
SPEED_MAX: Final = 60.0
DOOR_PERIOD_S: Final = 20.0
DOOR_OPEN_S: Final = 5.0


@dataclass(frozen=True, slots=True)
class PressCommands:
    """What the press is set to; speed in strokes a minute."""

    run: bool = True
    speed: float = 30.0


@dataclass(frozen=True, slots=True)
class Press:
    """The press at one instant."""

    speed: float = 0.0
    strokes: float = 0.0
    temperature_c: float = 35.0

    @property
    def count(self) -> int:
        """Whole strokes since the start."""
        return int(self.strokes)


@dataclass(frozen=True, slots=True)
class Room:
    """The air of the hall."""

    temperature_c: float = ROOM_C
    humidity_pct: float = 45.0
    age_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Panel:
    """The control panel. Light and dial from 0 to 1."""

    door_open: bool = False
    light: float = 0.2
    dial: float = 0.5
    age_s: float = 0.0


def step_press(press: Press, commands: PressCommands, dt_s: float) -> Press:
    """Move the press on by ``dt_s`` seconds: it comes up to speed within seconds, and warms with it."""
    wanted = _within(commands.speed, 0.0, SPEED_MAX) if commands.run else 0.0
    speed = press.speed + (wanted - press.speed) * min(1.0, dt_s / 2.0)
    warm_c = ROOM_C + PRESS_WARMS_C * speed / SPEED_MAX
    return Press(
        speed=speed,
        strokes=press.strokes + speed / 60.0 * dt_s,
        temperature_c=press.temperature_c + (warm_c - press.temperature_c) * min(1.0, dt_s / 20.0),
    )


def step_room(room: Room, press: Press, dt_s: float) -> Room:
    """Move the air on: the press warms it a little, and warm air is drier."""
    age_s = room.age_s + dt_s
    target_c = ROOM_C + (press.temperature_c - ROOM_C) * 0.1 + 0.5 * math.sin(age_s / 15.0)
    temperature_c = room.temperature_c + (target_c - room.temperature_c) * min(1.0, dt_s / 8.0)
    return Room(temperature_c, _within(45.0 - 2.0 * (temperature_c - ROOM_C), 5.0, 95.0), age_s)


def step_panel(panel: Panel, *, lamp_on: bool, dt_s: float) -> Panel:
    """Move the panel on: light follows lamp and door, the dial is turned slowly."""
    age_s = panel.age_s + dt_s
    door_open = age_s % DOOR_PERIOD_S > DOOR_PERIOD_S - DOOR_OPEN_S
    lit = 0.2 + 0.5 * lamp_on + 0.2 * door_open
    return Panel(
        door_open=door_open,
        light=panel.light + (lit - panel.light) * min(1.0, dt_s / 0.3),
        dial=0.5 + 0.4 * math.sin(age_s / 10.0),
        age_s=age_s,
    )


def _within(value: float, least: float, most: float) -> float:
    return min(max(value, least), most) if math.isfinite(value) else least
