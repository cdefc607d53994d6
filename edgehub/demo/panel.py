"""The control panel of the demo plant: a virtual board with Firmata at the other end of a pty.

Pin 13 the lamp, pin 2 the door's contact (low while it is shut), A0 the dial, A1 the light sensor.
"""

from __future__ import annotations

from typing import Final, Self

from edgehub.demo.hall import Panel, step_panel
from mappers.serialgpio.virtual_board import VirtualBoard
from mappers.serialgpio.virtual_line import BoardOnLine

LAMP: Final = 13
DOOR: Final = 2
_DIAL, _LIGHT = 0, 1
_FULL: Final = 1023


class PanelBoard:
    """The panel; ``async with`` plugs it in, ``step`` moves it."""

    def __init__(self) -> None:
        """Make the board; entering plugs it in."""
        self.panel = Panel()
        self._board = VirtualBoard(name="Panel.ino")
        self._line = BoardOnLine(self._board)

    async def __aenter__(self) -> Self:
        """Plug in."""
        self._line.plug()
        return self

    async def __aexit__(self, *_: object) -> None:
        """Pull out."""
        self._line.pull()

    @property
    def path(self) -> str:
        """The serial port it is at."""
        return self._line.line.path

    @property
    def lamp_on(self) -> bool:
        """Whether the lamp is lit."""
        return bool(self._board.now[LAMP].state)

    def step(self, dt_s: float) -> None:
        """Move the panel on, and wire what it shows to the board."""
        before = self.panel
        self.panel = step_panel(before, lamp_on=self.lamp_on, dt_s=dt_s)
        if self.panel.door_open is not before.door_open or before.age_s == 0.0:
            self._line.wire(DOOR, self.panel.door_open)
        self._board.volt(_DIAL, round(self.panel.dial * _FULL))
        self._board.volt(_LIGHT, round(self.panel.light * _FULL))
