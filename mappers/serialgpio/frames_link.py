"""A line on which messages are sent and received: one question at a time, and what comes by itself.

A late answer is not taken for the answer to the next question: after a question that failed, the next one waits until
the late answer has come, or could not come any more.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass

from mappers.sdk import DeviceTimeout, NotConnected
from mappers.serialgpio.framing_config import FramingConfig
from mappers.serialgpio.port import LineSettings, SerialPort


@dataclass(slots=True)
class _Question:
    """What accepts the answer, and where it goes."""

    accepts: Callable[[bytes], bool]
    answer: asyncio.Future[bytes]


class FramesLink:
    """``on_frame`` is called with each message that is no answer, ``on_lost`` once when the line is gone."""

    def __init__(
        self,
        path: str,
        settings: LineSettings,
        framing: FramingConfig,
        *,
        timeout_s: float,
        gap_s: float,
        on_frame: Callable[[bytes], None],
        on_lost: Callable[[NotConnected], None],
    ) -> None:
        """Store what to open; ``open`` acts."""
        self._port = SerialPort(path, settings, self)
        self._framing = framing
        self._framer = framing.framer()
        self._timeout_s = timeout_s
        self._gap_s = gap_s
        self._on_frame = on_frame
        self._on_lost = on_lost
        self._question: _Question | None = None
        self._late: Callable[[bytes], bool] | None = None
        self._late_until_s = 0.0
        self._came = asyncio.Event()
        self._heard_s = 0.0
        self._error: NotConnected | None = None

    def open(self) -> None:
        """Open the port. Raises NotConnected."""
        self._port.open()

    def close(self) -> None:
        """Let go of the port; whoever waits for an answer gets none."""
        self._port.close()
        self._fail(NotConnected(f"{self._port.path} was closed"))

    async def send(self, payload: bytes) -> None:
        """Send what has no answer. Raises NotConnected."""
        await self._be_quiet()
        self._write(payload)

    async def ask(self, payload: bytes, accepts: Callable[[bytes], bool]) -> bytes:
        """Send, and wait for the first message that is accepted. Raises DeviceTimeout, NotConnected."""
        await self._be_quiet()
        dropped = self._framer.dropped
        self._question = question = _Question(accepts, asyncio.get_running_loop().create_future())
        try:
            self._write(payload)
            async with asyncio.timeout(self._timeout_s):
                return await question.answer
        except (TimeoutError, asyncio.CancelledError) as error:
            self._late, self._late_until_s = accepts, asyncio.get_running_loop().time() + self._timeout_s
            if isinstance(error, asyncio.CancelledError):
                raise
            raise self._silent(payload, self._framer.dropped - dropped) from None
        finally:
            self._question = None

    def received(self, chunk: bytes) -> None:
        """Take bytes of the port."""
        now_s = asyncio.get_running_loop().time()
        if now_s > self._heard_s + self._gap_s:
            self._framer.silent()
        self._heard_s = now_s
        for payload in self._framer.feed(chunk):
            self._take(payload)

    def lost(self, error: NotConnected) -> None:
        """Note that the port is gone."""
        if self._error is None:
            self._fail(error)
            self._on_lost(error)

    def _take(self, payload: bytes) -> None:
        question = self._question
        if question is not None and not question.answer.done() and question.accepts(payload):
            question.answer.set_result(payload)
        elif self._late is not None and self._late(payload):
            self._late = None
            self._came.set()
        else:
            self._on_frame(payload)

    def _write(self, payload: bytes) -> None:
        if self._error is not None:
            raise self._error
        self._port.write(self._framing.framed(payload))

    async def _be_quiet(self) -> None:
        """Wait while a late answer may still come."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout_at(self._late_until_s):
                while self._late is not None:
                    self._came.clear()
                    await self._came.wait()
        self._late = None

    def _fail(self, error: NotConnected) -> None:
        if self._error is None:
            self._error = error
        if self._question is not None and not self._question.answer.done():
            self._question.answer.set_exception(self._error)
        self._late = None
        self._came.set()

    def _silent(self, payload: bytes, dropped: int) -> DeviceTimeout:
        text = f"no answer to {payload[:40]!r} at {self._port.path} in {self._timeout_s * 1000:.0f} ms"
        return DeviceTimeout(f"{text}; {dropped} broken messages came" if dropped else text)
