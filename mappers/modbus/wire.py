"""One connection to a host or a serial line: a request, its answer, and silence where the line wants it.

Frames of a serial line carry no number, so a late answer could be taken for the next one: after a cancelled request the
line is left quiet for as long as an answer may take.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeAlias

from pymodbus.exceptions import ConnectionException, ModbusIOException
from pymodbus.pdu import ModbusPDU

from mappers.modbus.client import Client, new_client, opened
from mappers.modbus.config import ModbusConnection
from mappers.sdk import DeviceTimeout, NotConnected

Send: TypeAlias = Callable[[Client], Awaitable[ModbusPDU]]


class Wire:
    """One request at a time."""

    def __init__(self, config: ModbusConnection) -> None:
        """Store the settings; ``open`` acts."""
        self._config = config
        self._pause_s = config.pause_s
        self._client: Client | None = None
        self._quiet_until_s = 0.0
        self._function = 0

    @property
    def stands(self) -> bool:
        """Whether it is open."""
        return self._client is not None and self._client.connected

    async def open(self) -> None:
        """Connect. Raises NotConnected."""
        self._client = client = new_client(self._config, self._changed)
        client.ctx.trace_pdu = self._note
        try:
            cause = await opened(client, self._config)
        except ValueError as error:  # a name that is no host name, a speed that the port does not have, a bad file
            raise not_connected(self._config, str(error)) from error
        if cause:
            raise not_connected(self._config, cause)

    def close(self) -> None:
        """Let go of it; a request in flight fails."""
        client, self._client = self._client, None
        if client is not None:
            client.close()
            _fail_waiting(client)

    def never_give_up(self) -> None:
        """Stay connected however many requests get no answer: they go to units that may not be there."""
        if self._client is not None:
            self._client.set_max_no_responses(_ENDLESS)
            self._client.ctx.count_until_disconnect = _ENDLESS

    async def ask(self, send: Send, place: str) -> ModbusPDU:
        """Send one request and return the answer, which may be an exception response.

        Raises NotConnected or DeviceTimeout.
        """
        client = self._client
        if client is None or not client.connected:
            raise not_connected(self._config, "the connection is gone")
        if self._quiet_until_s:
            await self._be_quiet()
        task = asyncio.current_task()
        cancels = task.cancelling() if task else 0
        try:
            reply = await send(client)
        except asyncio.CancelledError:
            if not self._config.transport.numbered:
                self._rest(self._config.timeout_ms / 1000)
            raise
        except ConnectionException as error:
            raise not_connected(self._config, str(error)) from error
        except ModbusIOException as error:
            if not client.connected:
                raise not_connected(self._config, "the connection was lost") from error
            tries = self._config.retries + 1
            message = f"no answer from {place} at {self._config.where} in {tries} x {self._config.timeout_ms} ms"
            raise DeviceTimeout(message) from error
        if task and task.cancelling() > cancels:  # the wait_for in pymodbus swallows it when the answer is just there
            raise asyncio.CancelledError
        if self._pause_s:
            self._rest(self._pause_s)
        if reply.function_code & 0x7F != self._function:
            message = f"no answer from {place} at {self._config.where}, but one to function {reply.function_code}"
            raise DeviceTimeout(message)
        return reply

    def _note(self, sending: bool, pdu: ModbusPDU) -> ModbusPDU:
        """Note which function was asked for: pymodbus takes the answer to any."""
        if sending:
            self._function = pdu.function_code
        return pdu

    def _rest(self, seconds: float) -> None:
        self._quiet_until_s = asyncio.get_running_loop().time() + seconds

    async def _be_quiet(self) -> None:
        await asyncio.sleep(max(0.0, self._quiet_until_s - asyncio.get_running_loop().time()))
        self._quiet_until_s = 0.0

    def _changed(self, connected: bool) -> None:
        if not connected and self._client is not None:
            _fail_waiting(self._client)


def not_connected(config: ModbusConnection, cause: str) -> NotConnected:
    """Why there is no connection, and what to look at."""
    remedy = (
        "Check that the port exists, that this account may open it, and that no other program has."
        if config.transport.is_serial
        else f"Check that the host is up and takes Modbus as transport {config.transport} on this port."
    )
    return NotConnected(f"Modbus at {config.where}: {cause}", remedy=remedy)


_ENDLESS = 1_000_000


def _fail_waiting(client: Client) -> None:
    """Fail the request in flight when its connection is gone; pymodbus would let it run into its time-outs."""
    waiting = client.ctx.response_future
    if not waiting.done():
        waiting.set_exception(ConnectionException("the connection was lost"))
        waiting.exception()  # taken: nobody may be waiting just now
