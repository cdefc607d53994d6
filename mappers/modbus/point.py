"""What people write about a Modbus value: where it lies and how it is encoded; KubeEdge's keys are read as they are.

native    {table: holding, address: 4, type: float32, wordOrder: little, scale: 0.1}
KubeEdge  {register: HoldingRegister, offset: 4, limit: 2, isRegisterSwap: true, scale: 0.1}
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final, Self

from pydantic import ConfigDict, Field, field_validator, model_validator
from pydantic.alias_generators import to_camel

from mappers.modbus.encoding import REGISTERS, WORD_BITS, Encoding, Order, RawType
from mappers.modbus.kubeedge import native_point
from mappers.modbus.plan import Table
from mappers.sdk import PointConfig, ValueType

_CAMEL: Final = ConfigDict(alias_generator=to_camel)
_HIGHEST: Final = 65535


class ModbusPoint(PointConfig):
    """Where a property lies and how it is encoded.

    Without a type, ``length`` registers are read as the property's own type: see ``encoding``.
    """

    model_config = _CAMEL

    table: Table
    address: int
    type: RawType | None = None
    length: Annotated[int, Field(ge=1, le=125)] | None = None
    bit: Annotated[int, Field(ge=0, le=15)] | None = None
    bits: Annotated[int, Field(ge=1, le=16)] | None = None
    byte_order: Order = Order.BIG
    word_order: Order = Order.BIG

    @model_validator(mode="before")
    @classmethod
    def _accept_kubeedge(cls, given: Any) -> Any:
        return native_point(given) if isinstance(given, Mapping) and "register" in given else given

    @field_validator("address")
    @classmethod
    def _address(cls, address: int) -> int:
        if address < 0:
            message = f"address {address} is below 0; Modbus addresses are 0 to {_HIGHEST}"
            raise ValueError(message)
        if address > _HIGHEST:
            table, meant = _numbered(address)
            message = (
                f"address {address} is over {_HIGHEST}; Modbus addresses start at 0 - did you mean 40001-style"
                f" numbering? use address: {meant} with table: {table}"
            )
            raise ValueError(message)
        return address

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        for check in (self._check_bits, self._check_length):
            if problem := check():
                raise ValueError(problem)
        end = self.address + self.registers
        if end - 1 > _HIGHEST:
            message = (
                f"address {self.address} with {self.registers} registers ends at {end - 1}, over {_HIGHEST};"
                " the value must lie inside the address space"
            )
            raise ValueError(message)
        return self

    @property
    def registers(self) -> int:
        """Addresses that the value fills; of a coil or discrete input always one."""
        if self.table.of_bits or self.bit is not None:
            return 1
        return REGISTERS.get(self.type, 0) if self.type not in (None, RawType.STRING) else self.length or 1

    def encoding(self, value_type: ValueType) -> Encoding:
        """Return how the registers are read, by the property's type where the point says none.

        Raises ValueError when the property's type does not go with so many registers.
        """
        raw_type = self.type or self._type_for(value_type)
        return Encoding(raw_type, self.registers, self.byte_order, self.word_order, self.bit, self.bits)

    def mismatch(self, value_type: ValueType) -> str:
        """Why the registers cannot be read as a property of that type."""
        try:
            self.encoding(value_type)
        except ValueError as error:
            return str(error)
        return ""

    def _type_for(self, value_type: ValueType) -> RawType:
        if self.bits is not None:
            return RawType.UINT16
        if self.table.of_bits or self.bit is not None:
            return RawType.BOOL
        by_length = _BY_LENGTH.get(value_type, {})
        raw_type = RawType.STRING if value_type is ValueType.STRING else by_length.get(self.registers)
        if raw_type is None:
            fits = ", ".join(map(str, by_length)) or "no number of"
            message = (
                f"a property of type {value_type} cannot be read from {self.registers} registers without a type"
                f" ({fits} would do); for example type: uint16"
            )
            raise ValueError(message)
        return raw_type

    def _check_bits(self) -> str:
        if self.table.of_bits and self.type not in (None, RawType.BOOL):
            return f"a {self.table} is one bit: its type is bool, not {self.type}; leave type out"
        if self.table.of_bits and self.bits is not None:
            return f"bits picks bits of a register; a {self.table} is one bit already, leave bits out"
        if self.table.of_bits and self.bit is not None:
            return f"bit picks a bit of a register; a {self.table} is one bit already, leave bit out"
        if self.bits is not None:
            return self._check_field(self.bits)
        if self.bit is not None and self.type not in (None, RawType.BOOL):
            return f"bit {self.bit} of a register is of type bool, not {self.type}; leave type out"
        return ""

    def _check_field(self, bits: int) -> str:
        if self.bit is None:
            return f"bits {bits} is the width of a field, whose lowest bit is missing; for example bit: 4"
        if self.bit + bits > WORD_BITS:
            return f"bits {bits} from bit {self.bit} reach beyond the register; bit and bits make at most {WORD_BITS}"
        if self.type not in (None, RawType.UINT16):
            return f"a field of {bits} bits is a whole number, not {self.type}; leave type out"
        return ""

    def _check_length(self) -> str:
        if self.table.of_bits or self.bit is not None:
            return ""
        if self.type is None:
            return "" if self.length else "type is missing; for example type: uint16 (or length, to use the property's)"
        if self.type is RawType.STRING:
            return "" if self.length else "a string needs its length in registers; for example length: 8"
        size = REGISTERS[self.type]
        if self.length not in (None, size):
            return f"a {self.type} has {size} registers, not {self.length}; leave length out"
        return ""


_BY_LENGTH: Final[dict[ValueType, dict[int, RawType]]] = {
    ValueType.INT: {1: RawType.INT16, 2: RawType.INT32, 4: RawType.INT64},
    ValueType.FLOAT: {1: RawType.INT16, 2: RawType.FLOAT32, 4: RawType.FLOAT64},
    ValueType.DOUBLE: {1: RawType.INT16, 2: RawType.FLOAT32, 4: RawType.FLOAT64},
    ValueType.BOOLEAN: {1: RawType.BOOL},
}

_BY_DIGIT: Final = {1: Table.DISCRETE, 3: Table.INPUT, 4: Table.HOLDING}


def _numbered(address: int) -> tuple[Table, int]:
    """Read an address over 65535 as a six-digit reference such as 400101, else give the example of 40001."""
    digit, number = divmod(address, 100_000)
    if digit in _BY_DIGIT and 1 <= number <= _HIGHEST + 1:
        return _BY_DIGIT[digit], number - 1
    return Table.HOLDING, 0
