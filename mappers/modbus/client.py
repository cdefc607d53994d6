"""pymodbus as the driver uses it: clients that do not reconnect, and answers kept as bytes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final, TypeAlias

from pymodbus import FramerType
from pymodbus.client import AsyncModbusSerialClient, AsyncModbusTcpClient
from pymodbus.constants import ExcCodes
from pymodbus.pdu import ModbusPDU

from mappers.modbus.config import ModbusConnection
from mappers.modbus.plan import Table

Client: TypeAlias = AsyncModbusTcpClient | AsyncModbusSerialClient


def new_client(config: ModbusConnection, on_change: Callable[[bool], None]) -> Client:
    """Make a client, not yet connected. on_change: called with whether the connection stands."""
    client = _client(config, on_change)
    client.register(RegistersReply)
    client.register(_InputRegistersReply)
    return client


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


def _client(config: ModbusConnection, on_change: Callable[[bool], None]) -> Client:
    timeout_s = config.timeout_ms / 1000
    if config.transport == "tcp":
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
        framer=FramerType.RTU,
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
