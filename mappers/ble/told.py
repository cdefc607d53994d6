"""Subscriptions: what a device notifies over its link, or advertises, told to the runner as it comes."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from mappers.ble.gatt import Link, Reader, find, notify, read
from mappers.ble.heard import Heard, Part, part_of
from mappers.sdk import Fault, Listener, MapperError, NotConnected, Readings, Reason


class LinkWatch:
    """Points behind a link, through all its losses. ``names`` are those that the device tells by itself."""

    def __init__(self, readers: Sequence[Reader], listener: Listener, timeout_s: float) -> None:
        self._readers = readers
        self._listener = listener
        self._timeout_s = timeout_s
        self._open = True
        self.names: frozenset[str] = frozenset()

    async def up(self, link: Link) -> None:
        """Have notifications sent, and tell the present values. Raises bleak's errors."""
        self.names = await notify(link, self._readers, self._tell)
        told = [reader for reader in self._readers if reader.name in self.names and _readable(link, reader)]
        if told:
            self._tell(await read(link.client, told, {}, self._timeout_s))

    def down(self, error: MapperError) -> None:
        """Tell that there are no values."""
        if isinstance(error, NotConnected):
            self._listener.lost(error)
        elif self._open:
            fault = Fault(Reason.NOT_CONNECTED, error.message)
            self._tell(Readings(faults=dict.fromkeys(self.names, fault)))

    def idle(self) -> None:
        """Tell that nothing is new."""
        if self._open:
            self._listener.alive()

    def close(self) -> None:
        """Tell nothing more; the link may go on notifying until it ends."""
        self._open = False

    def _tell(self, readings: Readings) -> None:
        if self._open:
            self._listener.tell(readings)


class HeardWatch:
    """Points that a device advertises."""

    def __init__(self, readers: Sequence[Reader], listener: Listener) -> None:
        self._by_part: dict[Part, list[Reader]] = {}
        for reader in readers:
            self._by_part.setdefault(part_of(reader.address), []).append(reader)
        self._listener = listener

    def first(self, heard: Heard) -> None:
        """Tell what is known already, and of the rest that it is not."""
        self._put(heard, frozenset(self._by_part))

    def take(self, heard: Heard, parts: frozenset[Part]) -> None:
        """Tell what an advertisement brought."""
        if parts & self._by_part.keys():
            self._put(heard, parts)

    def _put(self, heard: Heard, parts: frozenset[Part]) -> None:
        readings = Readings()
        now_s = asyncio.get_running_loop().time()
        for part in parts & self._by_part.keys():
            for reader in self._by_part[part]:
                heard.put(readings, reader, now_s)
        self._listener.tell(readings)


def _readable(link: Link, reader: Reader) -> bool:
    found = find(link.client, reader.address)
    return not isinstance(found, Fault) and "read" in found.properties
