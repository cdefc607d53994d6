"""Looking for boards: the serial ports of this machine, and what a Firmata board at one has."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Iterator
from pathlib import PurePath

from mappers.sdk import Access, FoundDevice, FoundPoint, MapperError, NotConnected, Progress, ValueType
from mappers.serialgpio.config import SerialgpioScan
from mappers.serialgpio.firmata import Mode, PinState
from mappers.serialgpio.firmata_link import FirmataLink
from mappers.serialgpio.ports import FoundPort, Listing, matching


async def found_boards(
    pattern: str,
    listing: Listing,
    new_link: Callable[[str], FirmataLink],
    wanted: SerialgpioScan,
    tell: Callable[[Progress], None],
) -> AsyncGenerator[FoundDevice, None]:
    """Each port, and the pins of its board if it has one. Raises NotConnected if a port that was named has none."""
    ports = matching(pattern, listing)
    for number, port in enumerate(ports):
        tell(Progress(number, len(ports), port.best))
        if not wanted.probe:
            yield _device(port)
            continue
        try:
            yield await _probed(port, new_link(port.path), wanted.probe_ms / 1000)
        except NotConnected:
            if pattern == port.path:
                raise
            yield _device(port)


def found_ports(pattern: str, listing: Listing, tell: Callable[[Progress], None]) -> Iterator[FoundDevice]:
    """Each port, unopened."""
    ports = matching(pattern, listing)
    for number, port in enumerate(ports):
        tell(Progress(number, len(ports), port.best))
        yield _device(port)


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


async def _probed(port: FoundPort, link: FirmataLink, boot_s: float) -> FoundDevice:
    try:
        await link.open(boot_s, boot_s)
        pins = [number for number, modes in enumerate(link.capabilities.pins) if modes]
        states = await link.pin_states(pins, boot_s)
        firmware = link.firmware
        said = f"{firmware.name} {firmware.major}.{firmware.minor}" if firmware else ""
        return _device(port, pin_points(link, states), said)
    except MapperError as error:
        raise NotConnected(error.message, remedy=error.remedy) from error
    finally:
        link.close()


def _device(port: FoundPort, points: tuple[FoundPoint, ...] = (), firmware: str = "") -> FoundDevice:
    identity = {"port": port.best, **port.identity, **({"firmware": firmware} if firmware else {})}
    return FoundDevice(PurePath(port.best).name, {}, points, port.description, identity)
