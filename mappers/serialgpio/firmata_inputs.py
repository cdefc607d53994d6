"""Digital inputs of a Firmata board through all its connections, and what is told of inputs as they change."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from mappers.sdk import Fault, Listener, NotConnected, Readings, Value
from mappers.serialgpio.contact import Contact
from mappers.serialgpio.firmata import Analog
from mappers.serialgpio.pins import Pin
from mappers.serialgpio.point import SerialgpioPoint


class Levels:
    """The digital inputs in use. ``on_change`` is called with those whose values changed."""

    def __init__(self, on_change: Callable[[set[Contact]], None]) -> None:
        self._on_change = on_change
        self._contacts: dict[SerialgpioPoint, Contact] = {}
        self._pins: dict[Contact, Pin] = {}
        self._timers: dict[Contact, asyncio.TimerHandle] = {}

    def contact(self, address: SerialgpioPoint) -> Contact:
        """The input at this address; its count goes on over all connections."""
        return self._contacts.setdefault(address, address.contact())

    def add(self, contact: Contact, pin: Pin) -> None:
        """Follow a pin from now on, when the board's reports have it."""
        self._pins[contact] = pin

    def take(self, port: int, mask: int) -> None:
        """Take the levels of a port."""
        now_s = asyncio.get_running_loop().time()
        changed = set()
        for contact, pin in self._pins.items():
            if pin.port == port:
                if contact.take(pin.high(mask), now_s):
                    changed.add(contact)
                self._watch(contact)
        if changed:
            self._on_change(changed)

    def forget(self) -> None:
        """Know no levels any more."""
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()
        self._pins.clear()
        for contact in self._contacts.values():
            contact.forget()

    def _watch(self, contact: Contact) -> None:
        """Look again when a level has been there long enough."""
        due_s = contact.due_s
        old = self._timers.pop(contact, None)
        if old is not None:
            old.cancel()
        if due_s is not None:
            self._timers[contact] = asyncio.get_running_loop().call_at(due_s, self._settle, contact)

    def _settle(self, contact: Contact) -> None:
        self._timers.pop(contact, None)
        # A timer may fire a little early by the clock's resolution.
        if contact.settle(max(asyncio.get_running_loop().time(), contact.due_s or 0.0)):
            self._on_change({contact})


@dataclass(slots=True, eq=False)
class Input:
    """An input point; analog ones have no contact."""

    name: str
    pin: Pin
    contact: Contact | None = None
    told: Value = None
    told_s: float = field(default=float("-inf"))

    def value(self, analog: dict[int, int]) -> Value:
        """What it reads now; None if nothing is known."""
        if self.contact is not None:
            return self.contact.value if self.contact.known else None
        count = analog.get(self.pin.channel if self.pin.channel is not None else -1)
        return None if count is None else self.pin.raw(count)


class FirmataWatch:
    """The inputs of one plan, told as they change; analog ones no faster than their cycle."""

    def __init__(self, inputs: Sequence[Input], listener: Listener, cycle_s: float) -> None:
        self._inputs = tuple(inputs)
        self._listener = listener
        self._cycle_s = cycle_s

    def first(self, analog: dict[int, int], faults: dict[str, Fault]) -> None:
        """Tell what is known, and what cannot be."""
        readings = Readings(faults=dict(faults))
        for one in self._inputs:
            if (value := one.value(analog)) is not None:
                readings.values[one.name] = one.told = value
        self._listener.tell(readings)

    def changed(self, contacts: set[Contact]) -> None:
        """Tell the inputs that changed."""
        values = {
            one.name: one.contact.value for one in self._inputs if one.contact is not None and one.contact in contacts
        }
        if values:
            self._listener.tell(Readings(dict(values)))

    def analog(self, heard: Analog) -> None:
        """Tell an analog value if it is another, and its cycle over."""
        now_s = asyncio.get_running_loop().time()
        values: dict[str, Value] = {}
        for one in self._inputs:
            if one.contact is None and one.pin.channel == heard.channel and now_s >= one.told_s + self._cycle_s:
                value = one.pin.raw(heard.value)
                if value != one.told:
                    values[one.name] = one.told = value
                    one.told_s = now_s
        if values:
            self._listener.tell(Readings(values))

    def alive(self) -> None:
        """Tell that nothing is new."""
        self._listener.alive()

    def lost(self, error: NotConnected) -> None:
        """Tell that the board is gone."""
        self._listener.lost(error)
