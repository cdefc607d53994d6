"""The wires of a guest's machine, from outside: its buttons and events (QMP), and the pins of its chips (qtest)."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any


class Wire:
    """A socket of qemu on which it answers line by line, and tells what happens in between."""

    def __init__(self, socket: Path) -> None:
        self._socket = socket
        self._answers: asyncio.Queue[str] = asyncio.Queue()
        self._told: asyncio.Queue[str] = asyncio.Queue()
        self._reading: asyncio.Task[None] | None = None
        self._writer: asyncio.StreamWriter | None = None

    def is_told(self, line: str) -> bool:
        """Whether a line is no answer."""
        raise NotImplementedError

    async def __aenter__(self) -> Wire:
        async with asyncio.timeout(30):
            while not self._socket.exists():  # noqa: ASYNC110  # qemu makes it
                await asyncio.sleep(0.05)
        reader, self._writer = await asyncio.open_unix_connection(str(self._socket))
        self._reading = asyncio.create_task(self._read(reader))
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._reading is not None
        self._reading.cancel()
        await asyncio.gather(self._reading, return_exceptions=True)
        assert self._writer is not None
        self._writer.close()

    async def say(self, line: str) -> str:
        """Say a line and have its answer."""
        assert self._writer is not None
        self._writer.write(line.encode() + b"\n")
        async with asyncio.timeout(30):
            return await self._answers.get()

    async def told(self, wanted: Callable[[str], bool], timeout_s: float) -> str:
        """Wait for something that happens; what happened before it is forgotten."""
        async with asyncio.timeout(timeout_s):
            while True:
                line = await self._told.get()
                if wanted(line):
                    return line

    async def _read(self, reader: asyncio.StreamReader) -> None:
        while line := (await reader.readline()).decode().strip():
            (self._told if self.is_told(line) else self._answers).put_nowait(line)


class Machinery(Wire):
    """qemu's own control: presses the button, tells of resets."""

    def is_told(self, line: str) -> bool:
        return "event" in json.loads(line) or "QMP" in json.loads(line)

    async def __aenter__(self) -> Machinery:
        await super().__aenter__()
        await self.ask("qmp_capabilities")
        return self

    async def ask(self, command: str, **arguments: Any) -> Any:
        answer = json.loads(await self.say(json.dumps({"execute": command, "arguments": arguments})))
        assert "return" in answer, answer
        return answer["return"]

    async def event(self, name: str, timeout_s: float) -> dict[str, Any]:
        event: dict[str, Any] = json.loads(
            await self.told(lambda line: json.loads(line).get("event") == name, timeout_s)
        )
        return event


class Pins(Wire):
    """The pins of one chip: what the guest drives is seen, what it reads is driven."""

    def __init__(self, socket: Path, chip: str) -> None:
        super().__init__(socket)
        self._chip = chip

    def is_told(self, line: str) -> bool:
        return line.startswith("IRQ ")

    async def watch_outputs(self) -> None:
        answer = await self.say(f"irq_intercept_out {self._chip}")
        assert answer == "OK", answer

    async def drive(self, pin: int, level: bool) -> None:
        """Put a level on a pin from outside."""
        answer = await self.say(f"set_irq_in {self._chip} {NO_NAME} {pin} {int(level)}")
        assert answer == "OK", answer

    async def driven(self, pin: int, level: bool, timeout_s: float) -> None:
        """Wait until the guest puts a level on a pin."""
        await self.told(lambda line: line == f"IRQ {'raise' if level else 'lower'} {pin}", timeout_s)


NO_NAME = "unnamed-gpio-in"
QMP = "qmp.sock"
QTEST = "pins.sock"


def words_for(folder: Path, *, pins: bool = False) -> tuple[str, ...]:
    """What qemu is told, for its control and the pins."""
    words = ("-qmp", f"unix:{folder / QMP},server=on,wait=off")
    if pins:
        words += ("-qtest", f"unix:{folder / QTEST},server=on,wait=off", "-qtest-log", "none")
    return words
