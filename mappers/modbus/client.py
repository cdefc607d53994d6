"""pymodbus as the driver uses it: clients that do not reconnect, and answers kept as bytes."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Final, TypeAlias

from pymodbus.client import AsyncModbusSerialClient, AsyncModbusTcpClient
from pymodbus.constants import ExcCodes
from pymodbus.pdu import ModbusPDU

from mappers.modbus.config import ModbusConnection, Transport
from mappers.modbus.framers import FRAMERS
from mappers.modbus.plan import Table

Client: TypeAlias = AsyncModbusTcpClient | AsyncModbusSerialClient


def new_client(config: ModbusConnection, on_change: Callable[[bool], None]) -> Client:
    """Make a client, not yet connected. on_change: called with whether the connection stands."""
    client = _client(config, on_change)
    client.ctx.framer = FRAMERS[config.transport](client.ctx.framer.decoder)
    client.ctx.max_buffer_size = client.ctx.framer.MAX_SIZE
    for reply in (RegistersReply, _InputRegistersReply, _ReadWriteReply):
        client.register(reply)
    return client


async def opened(client: Client, config: ModbusConnection) -> str:
    """Connect; returns why that failed, or nothing. Raises ValueError for settings that no port can have."""
    open_transport = client.ctx.call_create
    if config.transport is Transport.TLS:
        # pymodbus knows no name of the server other than the host.
        open_transport = partial(
            asyncio.get_running_loop().create_connection,
            client.ctx.handle_new_connection,
            config.host,
            config.port,
            ssl=tls_context(config),
            server_hostname=config.server_name or config.host,
        )
    causes = []

    async def noting() -> Any:
        try:
            return await open_transport()
        except OSError as error:
            causes.append(error)
            raise

    client.ctx.call_create = noting
    if await client.connect():
        return ""
    return _told(causes[0]) if causes else f"no answer in {config.timeout_ms} ms"


def tls_context(config: ModbusConnection) -> ssl.SSLContext:
    """Who is trusted, and who we are. Raises ValueError naming the file that cannot be used."""
    try:
        context = ssl.create_default_context(cafile=config.ca or None)
    except OSError as error:
        message = f"ca {config.ca} cannot be used: {_told(error)}"
        raise ValueError(message) from error
    if config.certificate:
        try:
            context.load_cert_chain(config.certificate, config.private_key)
        except OSError as error:
            message = f"certificate {config.certificate} and privateKey {config.private_key}: {_told(error)}"
            raise ValueError(message) from error
    return context


def _told(error: OSError) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the host's certificate is not trusted: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        return f"no TLS with it: {(error.reason or str(error)).replace('_', ' ').lower()}"
    if isinstance(error, socket.gaierror) or not error.errno:
        return error.strerror or str(error) or type(error).__name__
    return os.strerror(error.errno)


def code_name(code: int) -> str:
    """Name an exception code as messages do."""
    try:
        return f"{ExcCodes(code).name} ({code})"
    except ValueError:
        return f"exception {code}"


class RegistersReply(ModbusPDU):
    """The answer to a read of registers, kept as the bytes that came: our codec takes them all at once."""

    function_code = 3
    rtu_byte_count_pos = 2
    raw = b""

    def decode(self, data: bytes) -> None:
        """Take the bytes after their count."""
        self.raw = data[1 : 1 + data[0]]

    def __str__(self) -> str:
        # pymodbus makes the text of each answer for its log, even when nobody reads the log.
        return "registers"


class _InputRegistersReply(RegistersReply):
    function_code = 4


class _ReadWriteReply(RegistersReply):
    function_code = 23


def _client(config: ModbusConnection, on_change: Callable[[bool], None]) -> Client:
    timeout_s = config.timeout_ms / 1000
    if not config.transport.is_serial:
        return AsyncModbusTcpClient(
            config.host,
            port=config.port,
            timeout=timeout_s,
            retries=config.retries,
            reconnect_delay=0,
            trace_connect=on_change,
        )
    return AsyncModbusSerialClient(
        config.serial_port,
        baudrate=config.baudrate,
        bytesize=config.data_bits,
        parity=config.parity[0].upper(),
        stopbits=config.stop_bits,
        timeout=timeout_s,
        retries=config.retries,
        reconnect_delay=0,
        trace_connect=on_change,
    )


def _read_holding(client: Client, address: int, count: int, unit: int) -> Awaitable[ModbusPDU]:
    return client.read_holding_registers(address, count=count, device_id=unit)


def _read_input(client: Client, address: int, count: int, unit: int) -> Awaitable[ModbusPDU]:
    return client.read_input_registers(address, count=count, device_id=unit)


def _read_coils(client: Client, address: int, count: int, unit: int) -> Awaitable[ModbusPDU]:
    return client.read_coils(address, count=count, device_id=unit)


def _read_discrete(client: Client, address: int, count: int, unit: int) -> Awaitable[ModbusPDU]:
    return client.read_discrete_inputs(address, count=count, device_id=unit)


READ: Final[dict[Table, Callable[[Client, int, int, int], Awaitable[ModbusPDU]]]] = {
    Table.HOLDING: _read_holding,
    Table.INPUT: _read_input,
    Table.COIL: _read_coils,
    Table.DISCRETE: _read_discrete,
}
