"""Looking for boards: the serial ports of this machine, and what a Firmata board at one has."""

from __future__ import annotations

from dataclasses import replace
from pathlib import PurePath

from mappers.sdk import Access, DeviceTimeout, FoundDevice, FoundPoint, NotConnected, ValueType
from mappers.serialgpio.firmata import Mode, PinState
from mappers.serialgpio.firmata_link import FirmataLink
from mappers.serialgpio.ports import FoundPort


def found_port(port: FoundPort) -> FoundDevice:
    """A port, unopened."""
    return FoundDevice(PurePath(port.best).name, {}, (), port.description, {"port": port.best, **port.identity})


async def found_board(port: FoundPort, link: FirmataLink, timeout_s: float) -> FoundDevice:
    """A port and the pins of the board at it. Raises NotConnected."""
    pins = [number for number, modes in enumerate(link.capabilities.pins) if modes]
    try:
        states = await link.pin_states(pins, timeout_s)
    except DeviceTimeout as error:
        raise NotConnected(error.message) from error
    found, firmware = found_port(port), link.firmware
    said = {"firmware": f"{firmware.name} {firmware.major}.{firmware.minor}"} if firmware else {}
    return replace(found, points=pin_points(link, states), identity={**found.identity, **said})


async def probed(port: FoundPort, link: FirmataLink, boot_s: float) -> FoundDevice:
    """A port, and the pins of a board if one answers at it."""
    try:
        await link.open(boot_s, boot_s)
        return await found_board(port, link, boot_s)
    except NotConnected:
        return found_port(port)
    finally:
        link.close()


def pin_points(link: FirmataLink, states: dict[int, PinState]) -> tuple[FoundPoint, ...]:
    """The pins as points that leave them as they are."""
    found = []
    for pin, state in states.items():
        channel = link.mapping.channels[pin] if pin < len(link.mapping.channels) else None
        line = f"A{channel}" if state.mode == Mode.ANALOG and channel is not None else f"D{pin}"
        match state.mode:
            case Mode.ANALOG:
                found.append(FoundPoint(line, ValueType.DOUBLE, Access.READ_ONLY, {"line": line, "kind": "analog"}))
            case Mode.PWM | Mode.SERVO:
                kind = Mode(state.mode).name.lower()
                found.append(FoundPoint(line, ValueType.DOUBLE, Access.READ_WRITE, {"line": line, "kind": kind}))
            case Mode.OUTPUT:
                visitor = {"line": line, "direction": "output"}
                found.append(FoundPoint(line, ValueType.BOOLEAN, Access.READ_WRITE, dict(visitor)))
            case Mode.INPUT:
                found.append(FoundPoint(line, ValueType.BOOLEAN, Access.READ_ONLY, {"line": line}))
            case Mode.PULLUP:
                visitor = {"line": line, "bias": "pullUp"}
                found.append(FoundPoint(line, ValueType.BOOLEAN, Access.READ_ONLY, dict(visitor)))
    return tuple(found)
