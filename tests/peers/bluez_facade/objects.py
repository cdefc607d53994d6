"""D-Bus objects as BlueZ shows them: properties, calls, and the signals when either come, change or go."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, Final

from dbus_fast import Message, MessageType, Variant
from dbus_fast.aio import MessageBus

PROPERTIES: Final = "org.freedesktop.DBus.Properties"
MANAGER: Final = "org.freedesktop.DBus.ObjectManager"
ERROR: Final = "org.bluez.Error."

Call = Callable[[Message], Awaitable[tuple[str, list[Any]]]]
"""Answers a call with a signature and a body. Raises Refused."""


class Refused(Exception):
    """One of BlueZ's errors, by the last part of its name."""

    def __init__(self, name: str, text: str) -> None:
        super().__init__(text)
        self.name = name if "." in name else ERROR + name
        self.text = text


class Objects:
    """All objects of one connection to the bus."""

    def __init__(self, bus: MessageBus) -> None:
        self._bus = bus
        self._properties: dict[str, dict[str, dict[str, Variant]]] = {}
        self._calls: dict[tuple[str, str, str], Call] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        bus.add_message_handler(self._on_message)

    def add(
        self, path: str, interface: str, properties: Mapping[str, Variant], calls: Mapping[str, Call] | None = None
    ) -> None:
        """Have an object with one interface."""
        self._properties[path] = {interface: dict(properties)}
        for member, call in (calls or {}).items():
            self._calls[path, interface, member] = call
        self._signal("/", MANAGER, "InterfacesAdded", "oa{sa{sv}}", [path, self._properties[path]])

    def remove(self, paths: Iterable[str]) -> None:
        """Have them no more."""
        for path in paths:
            gone = list(self._properties.pop(path, ()))
            self._calls = {key: call for key, call in self._calls.items() if key[0] != path}
            self._signal("/", MANAGER, "InterfacesRemoved", "oas", [path, gone])

    def change(self, path: str, **properties: Variant) -> None:
        """Set properties, and tell of them: as BlueZ does also of equal ones."""
        ((interface, known),) = self._properties[path].items()
        known.update(properties)
        self._signal(path, PROPERTIES, "PropertiesChanged", "sa{sv}as", [interface, properties, []])

    def value(self, path: str, name: str) -> Any:
        """One property; None if the object or the property is not there."""
        for known in self._properties.get(path, {}).values():
            if name in known:
                return known[name].value
        return None

    def under(self, path: str) -> list[str]:
        """The objects below one, the deepest first."""
        return sorted((one for one in self._properties if one.startswith(f"{path}/")), reverse=True)

    def run(self, work: Awaitable[None]) -> None:
        """Have something done beside."""
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """End what is done beside."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _signal(self, path: str, interface: str, member: str, signature: str, body: list[Any]) -> None:
        if self._bus.connected:
            self._bus.send(Message.new_signal(path, interface, member, signature, body))

    def _on_message(self, message: Message) -> bool:
        if message.message_type is not MessageType.METHOD_CALL or message.interface == "org.freedesktop.DBus.Peer":
            return False
        self.run(self._answer(message))
        return True

    async def _answer(self, message: Message) -> None:
        try:
            signature, body = await self._called(message)
        except Refused as error:
            answer = Message.new_error(message, error.name, error.text)
        else:
            answer = Message.new_method_return(message, signature, body)
        if self._bus.connected:
            self._bus.send(answer)

    async def _called(self, message: Message) -> tuple[str, list[Any]]:
        path, interface, member = message.path or "", message.interface or "", message.member or ""
        if (interface, member) == (MANAGER, "GetManagedObjects"):
            return "a{oa{sa{sv}}}", [self._properties]
        if path not in self._properties:
            raise Refused("org.freedesktop.DBus.Error.UnknownObject", f"there is no object {path}")
        if (interface, member) == (PROPERTIES, "Set"):
            _, name, value = message.body
            self.change(path, **{name: value})
            return "", []
        call = self._calls.get((path, interface, member))
        if call is None:
            raise Refused("org.freedesktop.DBus.Error.UnknownMethod", f"{interface} of {path} has no {member}")
        return await call(message)
