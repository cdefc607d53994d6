"""Looks for units behind a host or on a line: who answers at all, what it says of itself, which tables it has.

unit ──read of a holding register──> silence, or a gateway's word that nobody is there: next
                                └──> any answer, a refusal too ──identification (43/14, else 17)──> a device
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable
from typing import Final

from pymodbus.constants import DeviceInformation, ExcCodes, MoreData
from pymodbus.pdu.mei_message import ReadDeviceInformationResponse
from pymodbus.pdu.other_message import ReportDeviceIdResponse

from mappers.modbus.client import READ
from mappers.modbus.config import ModbusConnection, ModbusScan, unit_range
from mappers.modbus.plan import Table
from mappers.modbus.writing import Ask
from mappers.sdk import Access, DeviceTimeout, FoundDevice, FoundPoint, Progress, ValueType

_NOBODY: Final = (ExcCodes.GATEWAY_PATH_UNAVIABLE, ExcCodes.GATEWAY_NO_RESPONSE)
_ODD_UNITS: Final = (247, 213, 199)
_OBJECTS: Final = {0: "vendor", 1: "product", 2: "revision", 3: "url", 4: "name", 5: "model", 6: "application"}
_MOST_ANSWERS: Final = 8  # in which one identification may come


async def discover(
    ask: Ask, who: Ask, config: ModbusConnection, wanted: ModbusScan, tell: Callable[[Progress], None]
) -> AsyncIterator[FoundDevice]:
    """All units that answer. A host that answers for whatever unit is asked is one device. Raises NotConnected.

    ``who`` makes requests that a host may not take well, and raises DeviceTimeout for those that cost the connection.
    """
    units = list(dict.fromkeys(unit_range(wanted.units)))
    if not config.transport.numbered:
        units = [unit for unit in units if 0 < unit < 255]
    scan = _Scan(ask, who)
    if config.transport.numbered and len(units) > len(_ODD_UNITS) and await scan.any_unit():
        units = units[:1]
    for number, unit in enumerate(units):
        tell(Progress(number, len(units), f"unit {unit}"))
        if await scan.is_there(unit):
            yield await scan.device(unit)
    tell(Progress(len(units), len(units)))


class _Scan:
    def __init__(self, ask: Ask, who: Ask) -> None:
        self._ask = ask
        self._who = who

    async def any_unit(self) -> bool:
        """Whether it answers for units that hardly all are there."""
        for unit in _ODD_UNITS:
            if not await self.is_there(unit):
                return False
        return True

    async def is_there(self, unit: int) -> bool:
        """Whether anything comes back."""
        code = await self._read(unit, Table.HOLDING)
        return code is not None and code not in _NOBODY

    async def device(self, unit: int) -> FoundDevice:
        """What a unit says of itself, and the first value of each table that it has."""
        identity = await self._identity(unit) or await self._report(unit)
        points = [_POINTS[table] for table in Table if await self._read(unit, table) == 0]
        title = " ".join(identity[key] for key in ("vendor", "product") if key in identity)
        name = re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")[:40] or "unit"
        return FoundDevice(f"{name}-{unit}", {"unit": unit}, tuple(points), title or f"unit {unit}", identity)

    async def _read(self, unit: int, table: Table) -> int | None:
        """Exception code of a read of the first address, 0 for an answer, None for silence."""
        try:
            reply = await self._ask(lambda client: READ[table](client, 0, 1, unit), f"{table} 0 of unit {unit}",
                                    again=True)  # fmt: skip
        except DeviceTimeout:
            return None
        return reply.exception_code if reply.isError() else 0

    async def _identity(self, unit: int) -> dict[str, str]:
        """By function 43/14: what a unit has of vendor, product, revision and, if it has them, the regular objects."""
        found: dict[str, str] = {}
        for kind in (DeviceInformation.BASIC, DeviceInformation.REGULAR):
            object_id = 0 if kind is DeviceInformation.BASIC else 3
            for _ in range(_MOST_ANSWERS):
                reply = await self._information(unit, kind, object_id)
                if reply is None:
                    return found
                found |= {
                    name: _text(said)
                    for number, name in _OBJECTS.items()
                    if isinstance(said := reply.information.get(number), bytes) and _text(said)
                }
                if reply.more_follows != MoreData.KEEP_READING or reply.next_object_id <= object_id:
                    break
                object_id = reply.next_object_id
        return found

    async def _information(self, unit: int, kind: int, object_id: int) -> ReadDeviceInformationResponse | None:
        try:
            reply = await self._who(
                lambda client: client.read_device_information(read_code=kind, object_id=object_id, device_id=unit),
                f"identification of unit {unit}",
                again=True,
            )
        except DeviceTimeout:  # some leave a function that they do not know without an answer
            return None
        return reply if isinstance(reply, ReadDeviceInformationResponse) else None

    async def _report(self, unit: int) -> dict[str, str]:
        """By function 17, whose text has no fixed parts."""
        try:
            reply = await self._who(
                lambda client: client.report_device_id(device_id=unit), f"identification of unit {unit}", again=True
            )
        except DeviceTimeout:
            return {}
        text = _text(reply.identifier) if isinstance(reply, ReportDeviceIdResponse) else ""
        return {"product": text} if text else {}


_POINTS: Final = {
    Table.HOLDING: FoundPoint(
        "holding-0", ValueType.INT, Access.READ_ONLY, {"table": "holding", "address": 0, "type": "uint16"}
    ),
    Table.INPUT: FoundPoint(
        "input-0", ValueType.INT, Access.READ_ONLY, {"table": "input", "address": 0, "type": "uint16"}
    ),
    Table.COIL: FoundPoint("coil-0", ValueType.BOOLEAN, Access.READ_ONLY, {"table": "coil", "address": 0}),
    Table.DISCRETE: FoundPoint("discrete-0", ValueType.BOOLEAN, Access.READ_ONLY, {"table": "discrete", "address": 0}),
}


def _text(raw: bytes) -> str:
    """What can be printed of it."""
    return "".join(char for char in raw.decode("utf-8", "replace") if char.isprintable() and char != "\ufffd").strip()
