"""Modbus over TCP and serial lines (RTU) with pymodbus; I/O only.

One request is in flight at a time. The SDK reconnects; pymodbus does not.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, TypeAlias

from pymodbus.constants import ExcCodes
from pymodbus.exceptions import ConnectionException, ModbusIOException
from pymodbus.pdu import ModbusPDU

from mappers.modbus.client import READ, Client, RegistersReply, code_name, new_client
from mappers.modbus.codec import NotEncodable, encode
from mappers.modbus.config import ModbusConnection, ModbusDevice, ModbusPoint
from mappers.modbus.encoding import Encoding, RawType
from mappers.modbus.plan import TCP_COST, Cost, Limits, Span, Table, gap_cost, rtu_cost
from mappers.modbus.reading import BlockRead, ReadPlan
from mappers.sdk import DeviceTimeout, Fault, NotConnected, Point, Readings, Reason, Value, WriteRefused

Send: TypeAlias = Callable[[Client], Awaitable[ModbusPDU]]

_REFUSED_ADDRESS: Final = (ExcCodes.ILLEGAL_ADDRESS, ExcCodes.ILLEGAL_VALUE)


class ModbusDriver:
    """Reads and writes the devices of one TCP host or serial line."""

    def __init__(self, config: ModbusConnection) -> None:
        """Store the settings; ``connect`` acts."""
        self._config = config
        self._limits = Limits(config.max_block, config.max_block_bits)
        self._cost = _cost(config)
        self._client: Client | None = None
        self._quiet_from_s = 0.0

    async def connect(self) -> None:
        """Open the connection. Raises NotConnected."""
        await self.close()
        # What pymodbus logs as errors is raised by us as errors of ours, once, with the place named.
        library_log = logging.getLogger("pymodbus")
        if library_log.level == logging.NOTSET:
            library_log.setLevel(logging.CRITICAL + 1)
        self._client = client = new_client(self._config, self._connection_changed)
        try:
            connected = await client.connect()
        except ValueError as error:  # a name that is no host name, a speed that the port does not have
            raise self._not_connected(cause=str(error)) from error
        if not connected:
            raise self._not_connected(cause="no connection could be opened")

    async def close(self) -> None:
        """Let go of the connection."""
        client, self._client = self._client, None
        if client is not None:
            client.close()
            _fail_waiting(client)

    def plan(self, device: ModbusDevice, points: Sequence[Point[ModbusPoint]]) -> ReadPlan:
        """Batch the points of one device; a point that cannot be read as configured gets a fault."""
        spans: list[Span] = []
        encodings: dict[str, Encoding] = {}
        faults: dict[str, Fault] = {}
        unusable = self._unusable(device)
        for point in points:
            try:
                encoding = point.address.encoding(point.type)
            except ValueError as error:
                faults[point.name] = Fault(Reason.CONFIG_ERROR, f"{point.name}: {error}")
                continue
            limit = self._limits.of(point.address.table)
            if unusable:
                faults[point.name] = Fault(Reason.CONFIG_ERROR, f"{point.name}: {unusable}")
            elif encoding.registers > limit:
                text = f"{point.name}: {encoding.registers} registers are over the connection's maxBlock of {limit}"
                faults[point.name] = Fault(Reason.CONFIG_ERROR, text)
            else:
                spans.append(Span(point.address.table, point.address.address, encoding.registers, point.name))
                encodings[point.name] = encoding
        return ReadPlan(device.unit, spans, encodings, cost=self._cost, limits=self._limits, faults=faults)

    async def read(self, plan: ReadPlan) -> Readings:
        """Read the planned points, one request a block. Raises NotConnected or DeviceTimeout."""
        readings = Readings()
        for block in plan.begin(readings):
            code = await self._read_block(plan, block, readings)
            if code in _REFUSED_ADDRESS:
                await self._read_places(plan, block, code, readings)
        return readings

    async def write(self, device: ModbusDevice, point: Point[ModbusPoint], value: Value) -> None:
        """Write one raw value. Raises WriteRefused, NotConnected or DeviceTimeout."""
        address, table, unit = point.address.address, point.address.table, device.unit
        if unusable := self._unusable(device):
            message = f"{point.name}: {unusable}"
            raise WriteRefused(message)
        if table in (Table.INPUT, Table.DISCRETE):
            message = f"{point.name} is {table} {address} of unit {unit}, which Modbus cannot write"
            raise WriteRefused(message, remedy=f"Use table: {'holding' if table is Table.INPUT else 'coil'}.")
        try:
            encoding = point.address.encoding(point.type)
            words = encode(value, encoding)
        except NotEncodable as error:
            message = f"{point.name} at {table} {address} of unit {unit} was not written: {error}"
            raise WriteRefused(message) from None
        except ValueError as error:
            message = f"{point.name}: {error}"
            raise WriteRefused(message) from None
        place = f"{table} {address} of unit {unit}"
        if table is Table.COIL:
            code = await self._write_coil(unit, address, on=words[0] != 0, place=place)
        elif encoding.type is RawType.BOOL and encoding.bit is not None:
            (mask,) = encode(True, encoding)  # the bit as sent, its bytes in the order of the device
            code = await self._write_bit(unit, address, mask, on=words[0] != 0, place=place)
        else:
            code = await self._write_registers(unit, address, words, place=place)
        if code:
            message = f"{point.name} at {place} was not written: the device answered {code_name(code)} to {value!r}"
            raise WriteRefused(message)

    async def _read_block(self, plan: ReadPlan, block: BlockRead, readings: Readings) -> int:
        """Read one block into readings; returns the exception code of the device, 0 for an answer."""
        request = block.request
        place = f"{request.table} {request.address}"
        reply = await self._ask(
            lambda client: READ[request.table](client, request.address, request.count, plan.unit),
            f"{place} of unit {plan.unit}",
        )
        if reply.isError():
            code = reply.exception_code
            if code == ExcCodes.GATEWAY_NO_RESPONSE:
                message = f"unit {plan.unit} behind {self._where} does not answer: the gateway says so for {place}"
                raise DeviceTimeout(message)
            if code not in _REFUSED_ADDRESS:
                text = f"unit {plan.unit} answered {code_name(code)} to a read of {request.count} from {place}"
                block.add_fault(Fault(Reason.DEVICE_FAILURE, text), readings)
            return code
        if isinstance(reply, RegistersReply) and len(reply.raw) == 2 * request.count:
            block.add_registers(reply.raw, readings)
        elif request.table.of_bits and len(reply.bits) >= request.count:
            block.add_bits(reply.bits, readings)
        else:
            text = f"unit {plan.unit} answered another length than {request.count} from {place}"
            block.add_fault(Fault(Reason.DECODE_ERROR, text), readings)
        plan.answered(block)
        return 0

    async def _read_places(self, plan: ReadPlan, refused: BlockRead, code: int, readings: Readings) -> None:
        """Read a refused block place by place, so that only what the device does not have stays without a value."""
        places = plan.places(refused)
        if not places:
            self._refuse(plan, refused, code, readings)
            return
        all_good = True
        for place in places:
            if (code := await self._read_block(plan, place, readings)) in _REFUSED_ADDRESS:
                self._refuse(plan, place, code, readings)
            all_good = all_good and not code
        plan.refused_block(refused, all_good=all_good)

    def _refuse(self, plan: ReadPlan, place: BlockRead, code: int, readings: Readings) -> None:
        request = place.request
        text = f"unit {plan.unit} answered {code_name(code)} for {request.table} {request.address}"
        if request.count > 1:
            text += f" to {request.address + request.count - 1}"
        fault = Fault(Reason.ILLEGAL_ADDRESS, text)
        place.add_fault(fault, readings)
        plan.refused_place(place, fault)

    async def _write_coil(self, unit: int, address: int, *, on: bool, place: str) -> int:
        reply = await self._ask(lambda client: client.write_coil(address, on, device_id=unit), place)
        if reply.isError() and reply.exception_code == ExcCodes.ILLEGAL_FUNCTION:
            # Some devices know only the functions for several.
            reply = await self._ask(lambda client: client.write_coils(address, [on], device_id=unit), place)
        return reply.exception_code if reply.isError() else 0

    async def _write_registers(self, unit: int, address: int, words: list[int], *, place: str) -> int:
        if len(words) == 1:
            reply = await self._ask(lambda client: client.write_register(address, words[0], device_id=unit), place)
            if not (reply.isError() and reply.exception_code == ExcCodes.ILLEGAL_FUNCTION):
                return reply.exception_code if reply.isError() else 0
        reply = await self._ask(lambda client: client.write_registers(address, words, device_id=unit), place)
        return reply.exception_code if reply.isError() else 0

    async def _write_bit(self, unit: int, address: int, mask: int, *, on: bool, place: str) -> int:
        reply = await self._ask(lambda client: READ[Table.HOLDING](client, address, 1, unit), place)
        if reply.isError():
            return reply.exception_code
        if not isinstance(reply, RegistersReply) or len(reply.raw) != 2:
            message = f"{place} was not written: its other bits could not be read"
            raise WriteRefused(message)
        word = int.from_bytes(reply.raw, "big")
        return await self._write_registers(unit, address, [word | mask if on else word & ~mask], place=place)

    async def _ask(self, send: Send, place: str) -> ModbusPDU:
        """Send one request and return the answer, which may be an exception response."""
        client = self._client
        if client is None or not client.connected:
            raise self._not_connected(cause="the connection is gone")
        if self._quiet_from_s:
            await self._be_quiet()
        try:
            return await send(client)
        except asyncio.CancelledError:
            if self._config.transport == "rtu":
                # RTU frames carry no number: the late answer must not be taken for the answer to the next request.
                self._quiet_from_s = asyncio.get_running_loop().time()
            raise
        except ConnectionException as error:
            raise self._not_connected(cause=str(error)) from error
        except ModbusIOException as error:
            if not client.connected:
                raise self._not_connected(cause="the connection was lost") from error
            tries = self._config.retries + 1
            message = f"no answer from {place} at {self._where} in {tries} x {self._config.timeout_ms} ms"
            raise DeviceTimeout(message) from error

    async def _be_quiet(self) -> None:
        elapsed_s = asyncio.get_running_loop().time() - self._quiet_from_s
        await asyncio.sleep(max(0.0, self._config.timeout_ms / 1000 - elapsed_s))
        self._quiet_from_s = 0.0

    def _connection_changed(self, connected: bool) -> None:
        if not connected and self._client is not None:
            _fail_waiting(self._client)

    def _unusable(self, device: ModbusDevice) -> str:
        if self._config.transport == "rtu" and device.unit in (0, 255):
            return f"unit {device.unit} has no answer on a serial line; use 1 to 247"
        return ""

    @property
    def _where(self) -> str:
        config = self._config
        return f"{config.host}:{config.port}" if config.transport == "tcp" else config.serial_port

    def _not_connected(self, *, cause: str) -> NotConnected:
        remedy = (
            "Check that the host is up and takes Modbus TCP on this port."
            if self._config.transport == "tcp"
            else "Check that the port exists, that this account may open it, and that no other program has."
        )
        return NotConnected(f"Modbus at {self._where}: {cause}", remedy=remedy)


def _cost(config: ModbusConnection) -> Cost:
    if config.gap is not None:
        return gap_cost(config.gap)
    return TCP_COST if config.transport == "tcp" else rtu_cost(config.baudrate)


def _fail_waiting(client: Client) -> None:
    """Fail the request in flight when its connection is gone; pymodbus would let it run into its time-outs."""
    waiting = client.ctx.response_future
    if not waiting.done():
        waiting.set_exception(ConnectionException("the connection was lost"))
        waiting.exception()  # taken: nobody may be waiting just now
