"""Modbus with pymodbus: reads and writes the units behind one host or on one serial line; I/O only.

The SDK reconnects; pymodbus does not. Between two requests of a read the driver gives way to what is more urgent.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Sequence
from typing import Final

from pymodbus.constants import ExcCodes
from pymodbus.pdu import ModbusPDU

from mappers.modbus.client import READ, RegistersReply, code_name
from mappers.modbus.codec import NotEncodable, encode
from mappers.modbus.config import ModbusConnection, ModbusDevice, ModbusScan, Transport
from mappers.modbus.discover import discover
from mappers.modbus.encoding import Encoding
from mappers.modbus.plan import TCP_COST, Cost, Limits, Request, Span, Table, ascii_cost, gap_cost, rtu_cost
from mappers.modbus.point import ModbusPoint
from mappers.modbus.pool import Pool
from mappers.modbus.reading import BlockRead, Learnt, ReadPlan
from mappers.modbus.wire import Send
from mappers.modbus.writing import MOST_READ_WRITE, Writing
from mappers.sdk import (
    DeviceTimeout,
    Fault,
    FoundDevice,
    MapperError,
    NotConnected,
    Point,
    Progress,
    Readings,
    Reason,
    Value,
    WriteRefused,
)

_REFUSED_ADDRESS: Final = (ExcCodes.ILLEGAL_ADDRESS, ExcCodes.ILLEGAL_VALUE)


class ModbusDriver:
    """Reads and writes the devices of one host or serial line."""

    def __init__(self, config: ModbusConnection) -> None:
        """Store the settings; ``connect`` acts."""
        self._config = config
        self._limits = Limits(config.max_block, config.max_block_bits)
        self._cost = _cost(config)
        self._pool = Pool(config)
        self._learnt: dict[int, Learnt] = {}
        self._turn: Callable[[], Awaitable[None]] | None = None

    def give_way(self, turn: Callable[[], Awaitable[None]]) -> None:
        """Await this between two requests of a read."""
        self._turn = turn

    async def connect(self) -> None:
        """Open the connection, or as many as are wanted. Raises NotConnected."""
        # What pymodbus logs as errors is raised by us as errors of ours, once, with the place named.
        library_log = logging.getLogger("pymodbus")
        if library_log.level == logging.NOTSET:
            library_log.setLevel(logging.CRITICAL + 1)
        for learnt in self._learnt.values():
            learnt.limits, learnt.answered = self._limits, Limits(0, 0)
            learnt.silent, learnt.mask_write, learnt.read_write = False, True, True
        await self._pool.open()

    async def close(self) -> None:
        """Let go of the connection."""
        self._pool.close()

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
        learnt = self._learnt_of(device.unit)
        return ReadPlan(device.unit, spans, encodings, cost=self._cost, learnt=learnt, faults=faults)

    async def read(self, plan: ReadPlan) -> Readings:
        """Read the planned points, one request a block. Raises NotConnected or DeviceTimeout."""
        readings = Readings()
        blocks = plan.begin(readings)
        if blocks and plan.learnt.silent:  # a small request finds out whether it is there again
            await self._ask_block(plan, plan.smallest(blocks[0]), readings)
        todo = iter(blocks)
        if len(self._pool) < 2 or len(blocks) < 2:
            await self._read_blocks(plan, todo, readings)
            return readings
        failures: list[MapperError] = []

        async def read_some() -> None:
            """Read until there is no more, or another fails: none is cancelled, for a write may be under way in it."""
            try:
                await self._read_blocks(plan, todo, readings)
            except MapperError as error:
                failures.append(error)
                for _ in todo:  # the others end, too
                    pass

        await asyncio.gather(*(read_some() for _ in range(min(len(self._pool), len(blocks)))))
        if failures:
            raise next((error for error in failures if isinstance(error, NotConnected)), failures[0])
        return readings

    async def write(self, device: ModbusDevice, point: Point[ModbusPoint], value: Value) -> Readings | None:
        """Write one raw value; returns what the unit then holds, if it says so in the same answer.

        Raises WriteRefused, NotConnected or DeviceTimeout.
        """
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
        writing = Writing(self._pool.ask, self._learnt_of(unit), unit, address, place)
        if table is Table.COIL:
            code = await writing.coil(on=words[0] != 0)
        elif encoding.bit is not None:
            code = await writing.bits(encoding.sent_mask, words[0])
        elif device.read_write and len(words) <= MOST_READ_WRITE:
            code = await writing.registers_read_back(words)
        else:
            code = await writing.registers(words)
        if code:
            message = f"{point.name} at {place} was not written: the device answered {code_name(code)} to {value!r}"
            raise WriteRefused(message)
        if writing.read_back is None:
            return None
        readings = Readings()
        request = Request(table, address, len(words), (Span(table, address, len(words), point.name),))
        BlockRead(request, {point.name: encoding}).add_registers(writing.read_back, readings)
        return readings

    async def discover(self, wanted: ModbusScan, tell: Callable[[Progress], None]) -> AsyncGenerator[FoundDevice, None]:
        """Ask each unit whether it is there, and what it is. Raises NotConnected."""
        self._pool.never_give_up()
        async for found in discover(self._pool.ask, self._ask_who, self._config, wanted, tell):
            yield found

    async def _ask_who(self, send: Send, place: str, *, again: bool = False) -> ModbusPDU:  # noqa: ARG002  # an Ask; never again
        """Ask for an identification: some hosts end the connection over a function that they do not know."""
        try:
            return await self._pool.ask(send, place, again=False)
        except NotConnected as error:
            await self._pool.open()
            self._pool.never_give_up()
            raise DeviceTimeout(error.message, remedy=error.remedy) from error

    async def _read_blocks(self, plan: ReadPlan, blocks: Iterator[BlockRead], readings: Readings) -> None:
        for number, block in enumerate(blocks):
            if number and self._turn is not None:
                await self._turn()
            code = await self._ask_block(plan, block, readings)
            if code in _REFUSED_ADDRESS:
                await self._read_pieces(plan, block, code, readings)

    async def _ask_block(self, plan: ReadPlan, block: BlockRead, readings: Readings) -> int:
        """Read one block into readings; returns the exception code of the device, 0 for an answer."""
        request = block.request
        place = f"{request.table} {request.address}"
        try:
            reply = await self._pool.ask(
                lambda client: READ[request.table](client, request.address, request.count, plan.unit),
                f"{place} of unit {plan.unit}",
            )
        except DeviceTimeout as silence:
            return await self._without_answer(plan, block, silence)
        code = reply.exception_code if reply.isError() else 0
        if code == ExcCodes.GATEWAY_NO_RESPONSE:
            message = f"unit {plan.unit} behind {self._config.where} does not answer: the gateway says so for {place}"
            raise DeviceTimeout(message)
        if code:
            if code not in _REFUSED_ADDRESS:
                text = f"unit {plan.unit} answered {code_name(code)} to a read of {request.count} from {place}"
                block.add_fault(Fault(Reason.DEVICE_FAILURE, text), readings)
            return code
        if isinstance(reply, RegistersReply) and not request.table.of_bits and len(reply.raw) == 2 * request.count:
            block.add_registers(reply.raw, readings)
        elif request.table.of_bits and len(reply.bits) >= request.count:
            block.add_bits(reply.bits, readings)
        else:
            text = f"unit {plan.unit} answered another length than {request.count} from {place}"
            block.add_fault(Fault(Reason.DECODE_ERROR, text), readings)
        plan.answered(block)
        return 0

    async def _without_answer(self, plan: ReadPlan, block: BlockRead, silence: DeviceTimeout) -> int:
        """Find out whether a unit is silent, or leaves only a block that is too big for it without an answer."""
        if not plan.learnt.doubts(block.request) or not plan.halves(block):
            plan.learnt.silent = True
            raise silence
        try:
            await self._ask_block(plan, plan.smallest(block), Readings())
        except DeviceTimeout:
            plan.learnt.silent = True
            raise silence from None
        plan.too_big(block)
        return ExcCodes.ILLEGAL_VALUE

    async def _read_pieces(self, plan: ReadPlan, refused: BlockRead, code: int, readings: Readings) -> None:
        """Halve a refused block until only what the device does not have stays without a value."""
        if not plan.halves(refused):
            self._refuse(plan, refused, code, readings)
            return
        all_good, largest = True, 0
        pieces = [refused]
        while pieces:
            for piece in plan.halves(pieces.pop()):
                if self._turn is not None:
                    await self._turn()
                code = await self._ask_block(plan, piece, readings)
                if code not in _REFUSED_ADDRESS:
                    all_good, largest = all_good and not code, max(largest, piece.request.count)
                elif plan.halves(piece):
                    pieces.append(piece)
                else:
                    all_good = False
                    self._refuse(plan, piece, code, readings)
        plan.refused_block(refused, largest if all_good else 0)

    def _refuse(self, plan: ReadPlan, place: BlockRead, code: int, readings: Readings) -> None:
        request = place.request
        text = f"unit {plan.unit} answered {code_name(code)} for {request.table} {request.address}"
        if request.count > 1:
            text += f" to {request.address + request.count - 1}"
        fault = Fault(Reason.ILLEGAL_ADDRESS, text)
        place.add_fault(fault, readings)
        plan.refused_place(place, fault)

    def _learnt_of(self, unit: int) -> Learnt:
        return self._learnt.setdefault(unit, Learnt(self._limits))

    def _unusable(self, device: ModbusDevice) -> str:
        if not self._config.transport.numbered and device.unit in (0, 255):
            return f"unit {device.unit} has no answer on a serial line; use 1 to 247"
        return ""


def _cost(config: ModbusConnection) -> Cost:
    if config.gap is not None:
        return gap_cost(config.gap)
    match config.transport:
        case Transport.RTU:
            return rtu_cost(config.baudrate)
        case Transport.ASCII:
            return ascii_cost(config.baudrate)
    return TCP_COST
