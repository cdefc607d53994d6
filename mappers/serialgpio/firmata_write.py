"""Setting an output of a Firmata board, whatever the age of its sketch."""

from __future__ import annotations

from typing import Final

from mappers.serialgpio.firmata import Mode, Ports, SetMode, Version
from mappers.serialgpio.firmata_link import FirmataLink
from mappers.serialgpio.pins import Pin

_SET_PIN_SINCE: Final = Version(2, 5)


async def set_output(link: FirmataLink, pin: Pin, count: int, timeout_s: float) -> None:
    """Make a pin an output if it is none, and set it. Raises DeviceTimeout, NotConnected."""
    state = (await link.pin_states([pin.number], timeout_s))[pin.number]
    if state.mode != pin.mode:
        link.send(SetMode(pin.number, pin.mode))
    if pin.mode is Mode.OUTPUT and link.version < _SET_PIN_SINCE:
        link.send(await _whole_port(link, pin, high=bool(count), timeout_s=timeout_s))
    else:
        link.send(pin.set_to(count))


async def pull_up(link: FirmataLink, pin: Pin, timeout_s: float) -> None:
    """Make a pin an input with its pull-up on. Raises DeviceTimeout, NotConnected."""
    if Mode.PULLUP in link.capabilities.pins[pin.number]:
        link.send(SetMode(pin.number, Mode.PULLUP))
        return
    link.send(SetMode(pin.number, Mode.INPUT))  # before 2.5 an input that is set is pulled up
    link.send(await _whole_port(link, pin, high=True, timeout_s=timeout_s))


async def _whole_port(link: FirmataLink, pin: Pin, *, high: bool, timeout_s: float) -> Ports:
    """Older sketches set all outputs of a port at once: the others as they are."""
    first = 8 * pin.port
    numbers = [number for number in range(first, first + 8) if number < len(link.capabilities.pins)]
    states = await link.pin_states([number for number in numbers if link.capabilities.pins[number]], timeout_s)
    # An input's bit would switch its pull-up.
    others = sum(
        1 << number - first
        for number, state in states.items()
        if number != pin.number and state.state and state.mode in (Mode.OUTPUT, Mode.PULLUP, Mode.INPUT)
    )
    return Ports(pin.port, others | high << pin.number - first)
