"""Common modules without hardware, each as a function of bytes. Pure.

For tests and demonstrations; ``mappers.serialgpio.virtual_line.VirtualLine`` puts one behind a pty.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Final

from mappers.serialgpio.checksum import Checksum, checksum

_COMMAND: Final = re.compile(r"(gpio|adc|relay) (read|set|clear|on|off) ([0-9A-V])")


@dataclass(slots=True)
class VirtualNumato:
    """A USB module with a prompt: lines as ``gpio`` or as ``relay``, 10-bit analog inputs."""

    levels: dict[str, bool] = field(default_factory=dict)
    analog: dict[str, int] = field(default_factory=dict)
    _typed: bytearray = field(default_factory=bytearray)

    def received(self, chunk: bytes) -> bytes:
        """Take what is typed; its echo, answer and prompt for each command."""
        self._typed += chunk
        said = b""
        while (at := self._typed.find(b"\r")) >= 0:
            command = self._typed[:at].decode("ascii", "replace")
            del self._typed[: at + 1]
            answer = self._answer(command)
            said += f"{command}\n\r{answer + chr(10) + chr(13) if answer else ''}>".encode()
        return said

    def _answer(self, command: str) -> str:
        found = _COMMAND.fullmatch(command)
        if found is None:
            return ""
        what, verb, line = found.groups()
        if verb == "read":
            if what == "adc":
                return str(self.analog.get(line, 0))
            level = self.levels.get(line, False)
            return str(int(level)) if what == "gpio" else ("on" if level else "off")
        self.levels[line] = verb in ("set", "on")
        return ""


@dataclass(slots=True)
class VirtualDcon:
    """One ADAM or I-7000 module on a line: eight outputs, eight inputs, analog inputs in engineering units."""

    unit: str = "01"
    outputs: int = 0
    inputs: int = 0
    analog: dict[int, float] = field(default_factory=dict)
    checked: bool = False
    """Whether commands and answers have a checksum."""
    _typed: bytearray = field(default_factory=bytearray)

    def received(self, chunk: bytes) -> bytes:
        """Take what comes; an answer to each command that is for this module and whole."""
        self._typed += chunk
        said = b""
        while (at := self._typed.find(b"\r")) >= 0:
            command = self._typed[:at].decode("ascii", "replace")
            del self._typed[: at + 1]
            answer = self._checked(command)
            if answer:
                said += (answer + self._sum(answer)).encode() + b"\r"
        return said

    def _checked(self, command: str) -> str:
        if self.checked:
            command, given = command[:-2], command[-2:]
            if given != self._sum(command):
                return ""
        return self._answer(command[0], command[3:]) if command[1:3] == self.unit else ""

    def _answer(self, head: str, rest: str) -> str:
        if head == "$" and rest == "6":
            return f"!{self.outputs:02X}{self.inputs:02X}00"
        if head == "#" and re.fullmatch("1[0-7]0[01]", rest):
            bit = 1 << int(rest[1])
            self.outputs = self.outputs | bit if rest[3] == "1" else self.outputs & ~bit
            return ">"
        if head == "#" and re.fullmatch("[0-9A-F]", rest) and int(rest, 16) in self.analog:
            return f">{self.analog[int(rest, 16)]:+07.3f}"
        return f"?{self.unit}"

    def _sum(self, text: str) -> str:
        return f"{checksum(Checksum.SUM8, text.encode()):02X}" if self.checked else ""


@dataclass(slots=True)
class VirtualRelays:
    """Relays by bytes: KMtronic's of ``count`` relays, or one with a CH340 if ``lcus``."""

    count: int = 2
    lcus: bool = False
    closed: set[int] = field(default_factory=set)
    _typed: bytearray = field(default_factory=bytearray)

    def received(self, chunk: bytes) -> bytes:
        """Take what comes; the answers to questions."""
        self._typed += chunk
        head, size = (0xA0, 4) if self.lcus else (0xFF, 3)
        said = b""
        while (at := self._typed.find(head)) >= 0 and len(self._typed) >= at + size:
            command = bytes(self._typed[at : at + size])
            if self.lcus and checksum(Checksum.SUM8, command[:3]) != command[3]:
                del self._typed[: at + 1]
                continue
            del self._typed[: at + size]
            said += self._answer(command[1], command[2])
        return said

    def _answer(self, relay: int, what: int) -> bytes:
        if not self.lcus and what == 3 and self.count <= 2:
            return bytes((0xFF, relay, relay in self.closed))
        if not self.lcus and relay == 9 and self.count > 2:
            return bytes(number in self.closed for number in range(1, self.count + 1))
        if what in (0, 1):
            (self.closed.add if what else self.closed.discard)(relay)
        return b""
