"""The lines in use of a GPIO chip: requested when they are first needed, their edges counted as the kernel saw them."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Callable
from dataclasses import dataclass, field

from mappers.sdk import Fault, NotConnected, Reason
from mappers.serialgpio.chip import Chip, ChipLine, LineEvent, LineUse
from mappers.serialgpio.contact import Contact
from mappers.serialgpio.point import SerialgpioPoint


@dataclass(slots=True, eq=False)
class UsedLine:
    """A requested line, and what is made of its levels; an output has no contacts."""

    offset: int
    line: ChipLine
    use: LineUse
    contacts: dict[SerialgpioPoint, Contact] = field(default_factory=dict)
    number: int = 0

    def take(self, event: LineEvent) -> set[Contact]:
        """Take an edge; the contacts whose values changed."""
        dropped, self.number = event.number - self.number - 1, event.number
        changed = set()
        for contact in self.contacts.values():
            before = contact.value
            if dropped > 0:
                contact.missed(dropped, not event.rising)
            contact.take(event.rising, 0.0)
            if contact.value != before:
                changed.add(contact)
        return changed


class ChipLines:
    """The lines of one chip. ``on_change`` is called with contacts that changed, and when; ``on_lost`` once."""

    def __init__(
        self,
        chip: Chip,
        contacts: dict[SerialgpioPoint, Contact],
        on_change: Callable[[set[Contact], int], None],
        on_lost: Callable[[NotConnected], None],
    ) -> None:
        self._chip = chip
        self._contacts = contacts
        self._on_change = on_change
        self._on_lost = on_lost
        self.facts = chip.lines()
        """What the chip had when it was opened."""
        self._used: dict[int, UsedLine] = {}
        self.gone = False

    def use(self, address: SerialgpioPoint) -> UsedLine | Fault:
        """The line of a point, requested if it is new. Raises NotConnected."""
        offset = self._offset(address.line)
        if offset is None:
            highest = len(self.facts) - 1
            return Fault(
                Reason.ILLEGAL_ADDRESS, f"the chip has no line {address.line!r}, only 0 to {highest} and names"
            )
        wanted = LineUse(address.output, address.bias, address.debounce_ms * 1000)
        used = self._used.get(offset)
        if used is None:
            try:
                line = self._chip.request(offset, wanted)
            except OSError as error:
                self._check(error)
                user = self.facts[offset].user
                why = f" (it is used by {user})" if user else ""
                return Fault(Reason.DEVICE_FAILURE, f"line {offset} cannot be used so: {error}{why}")
            self._used[offset] = used = UsedLine(offset, line, wanted)
            if not wanted.output:
                asyncio.get_running_loop().add_reader(line.fd, self.drain, used)
        if used.use != wanted:
            return Fault(Reason.CONFIG_ERROR, f"line {offset} is used in another way by another property already")
        if not wanted.output and address not in used.contacts:
            # The kernel debounces; here it would be done once more.
            contact = self._contacts.setdefault(address, Contact(active_low=address.active_low, edge=address.edge))
            used.contacts[address] = contact
            self.drain(used)
            contact.take(self.level(used), 0.0)
        return used

    def level(self, used: UsedLine) -> bool:
        """The level of a line now. Raises NotConnected."""
        try:
            return used.line.level()
        except OSError as error:
            raise self._lose(error) from error

    def drive(self, used: UsedLine, level: bool) -> None:
        """Drive a line. Raises NotConnected, and OSError for a line that cannot be driven."""
        try:
            used.line.drive(level)
        except OSError as error:
            self._check(error)
            raise

    def drain(self, used: UsedLine) -> None:
        """Take the edges that wait."""
        try:
            events = used.line.events()
        except OSError as error:
            self._lose(error)
            return
        for event in events:
            if changed := used.take(event):
                self._on_change(changed, event.time_ms)

    def there(self) -> None:
        """Look whether the chip is still there; tells of it if not."""
        try:
            if self._used:
                next(iter(self._used.values())).line.level()
            else:
                self._chip.lines()
        except OSError as error:
            self._lose(error)

    def close(self) -> None:
        """Let go of all lines and of the chip."""
        for used in self._used.values():
            if not used.use.output:
                asyncio.get_running_loop().remove_reader(used.line.fd)
            for contact in used.contacts.values():
                contact.forget()
            used.line.release()
        self._used.clear()
        self._chip.close()

    def _offset(self, line: str) -> int | None:
        if line.isdecimal():
            return int(line) if int(line) < len(self.facts) else None
        return next((facts.offset for facts in self.facts if facts.name == line), None)

    def _check(self, error: OSError) -> None:
        if error.errno == errno.ENODEV:
            raise self._lose(error) from error

    def _lose(self, error: OSError) -> NotConnected:
        lost = NotConnected(f"the chip is gone: {error}", remedy="Was it on USB, or its driver unloaded?")
        if not self.gone:
            self.gone = True
            for used in self._used.values():
                if not used.use.output:  # a dead descriptor is always readable
                    asyncio.get_running_loop().remove_reader(used.line.fd)
            self._on_lost(lost)
        return lost
