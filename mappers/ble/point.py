"""What people write about a point: where in a device a value is, and what its bytes mean."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from enum import StrEnum
from typing import Annotated, Any, Final, Self

from pydantic import ConfigDict, Field, field_validator, model_validator
from pydantic.alias_generators import to_camel

from mappers.ble.bthome_kinds import KINDS, NAMES
from mappers.ble.encoding import Encoding
from mappers.ble.kubeedge import native_point
from mappers.ble.rawtype import OTHER_NAMES, RawType
from mappers.ble.standard import STANDARDS, Standard, type_of
from mappers.ble.uuids import assigned, full_uuid
from mappers.sdk import PointConfig, ValueType

_NUMBERS: Final = frozenset({ValueType.INT, ValueType.FLOAT, ValueType.DOUBLE})
_ANY: Final = frozenset(ValueType) - {ValueType.JSON, ValueType.STREAM}
_SOURCES: Final = ("characteristic", "serviceData", "manufacturerData", "bthome", "advertised")


class ByteOrder(StrEnum):
    """Which byte of a number comes first."""

    LITTLE = "little"
    BIG = "big"


class Advertised(StrEnum):
    """What every advertisement has or may have."""

    RSSI = "rssi"
    TX_POWER = "txPower"
    NAME = "name"


class BlePoint(PointConfig):
    """A characteristic, or a part of what the device advertises, and what its bytes mean."""

    model_config = ConfigDict(alias_generator=to_camel)

    characteristic: str = ""
    service: str = ""
    service_data: str = ""
    manufacturer_data: Annotated[int, Field(ge=0, le=0xFFFF)] | None = None
    bthome: str = ""
    number: Annotated[int, Field(ge=1, le=255)] = 1
    advertised: Advertised | None = None
    type: RawType = RawType.AUTO
    byte_order: ByteOrder = ByteOrder.LITTLE
    at: Annotated[int, Field(ge=0, le=511)] = 0
    length: Annotated[int, Field(ge=0, le=512)] = 0
    bit: Annotated[int, Field(ge=0, le=63)] | None = None
    bits: Annotated[int, Field(ge=1, le=64)] = 1
    names: dict[str, str] = Field({}, examples=['{"ON": "01", "OFF": "00"}'])
    notify: bool = True
    response: bool | None = None

    @model_validator(mode="before")
    @classmethod
    def _accept_kubeedge(cls, given: Any) -> Any:
        return native_point(given) if isinstance(given, Mapping) and "characteristicUUID" in given else given

    @field_validator("type", mode="before")
    @classmethod
    def _other_name(cls, name: Any) -> Any:
        return OTHER_NAMES.get(name.lower(), name.lower()) if isinstance(name, str) else name

    @field_validator("characteristic", "service", "service_data")
    @classmethod
    def _uuid(cls, text: str) -> str:
        return full_uuid(text) if text else text

    @field_validator("bthome")
    @classmethod
    def _bthome(cls, name: str) -> str:
        if name and name not in NAMES:
            near = get_close_matches(name, NAMES, 1) or ["temperature"]
            message = f"bthome {name!r} is not the name of an object; for example bthome: {near[0]}"
            raise ValueError(message)
        return name

    @field_validator("names")
    @classmethod
    def _names(cls, names: dict[str, str]) -> dict[str, str]:
        for word, text in names.items():
            try:
                meant = bytes.fromhex(text)
            except ValueError:
                meant = b""
            if not meant:
                message = f"names {word!r}: {text!r} is not hexadecimal bytes; for example names: {{{word}: '01'}}"
                raise ValueError(message)
        return names

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        for check in (self._check_source, self._check_service, self._check_bits, self._check_length):
            if problem := check():
                raise ValueError(problem)
        return self

    @property
    def heard(self) -> bool:
        """Whether it is in advertisements; else the device is connected to."""
        return not self.characteristic

    @property
    def standard(self) -> Standard | None:
        """What the Bluetooth SIG fixed for it, where nothing else is said."""
        number = assigned(self.characteristic) if self.characteristic else None
        plain = self.type is RawType.AUTO and not (self.at or self.length or self.names)
        return STANDARDS.get(number) if plain and number is not None else None

    def encoding(self) -> Encoding:
        """What its bytes mean."""
        if (standard := self.standard) is not None:
            return standard.encoding
        return Encoding(
            self.type,
            at=self.at,
            length=self.length,
            big=self.byte_order is ByteOrder.BIG,
            bit=self.bit,
            bits=self.bits,
            names={word: bytes.fromhex(text) for word, text in self.names.items()},
        )

    def mismatch(self, value_type: ValueType) -> str:
        """Why this cannot be read as a property of that type."""
        raw = frozenset({ValueType.STRING}) if self.names else self._raw_types()
        if any(one is value_type or {one, value_type} <= _NUMBERS for one in raw):
            return ""
        if value_type is ValueType.BOOLEAN and self.bit is not None and self.bits == 1:
            return ""
        wanted = " or ".join(sorted(raw)) if len(raw) < len(_ANY) else ValueType.BYTES
        return f"it gives {wanted} values, the property is {value_type}; make the property {wanted}"

    def _raw_types(self) -> frozenset[ValueType]:
        if self.bthome:
            return frozenset(kind.type for kind in KINDS.values() if kind.name == self.bthome)
        if self.advertised is not None:
            return frozenset({ValueType.STRING if self.advertised is Advertised.NAME else ValueType.INT})
        if self.type is RawType.AUTO and self.standard is None:
            return _ANY
        return frozenset({type_of(self.encoding())})

    def _check_source(self) -> str:
        given = [self.characteristic, self.service_data, self.manufacturer_data, self.bthome, self.advertised]
        said = [key for key, one in zip(_SOURCES, given, strict=True) if one not in ("", None)]
        if not said:
            return f"characteristic is missing; for example characteristic: 2A6E (or {', '.join(_SOURCES[1:])})"
        if len(said) > 1:
            return f"{' and '.join(said)} are given together; keep one of them"
        return ""

    def _check_service(self) -> str:
        if self.service and not self.characteristic:
            return "service tells which of several characteristics is meant; add characteristic, or remove service"
        return ""

    def _check_bits(self) -> str:
        if self.bit is None:
            return "bits is the width of a bit field; add bit, its lowest bit" if self.bits != 1 else ""
        if not (self.type.whole or self.type is RawType.BOOLEAN):
            return f"bit is for whole numbers, type is {self.type}; for example type: uint8"
        if self.bit + self.bits > 8 * self.type.size:
            last = self.bit + self.bits - 1
            return f"bit {last} is beyond a {self.type}; use a wider type, or fewer bits"
        return ""

    def _check_length(self) -> str:
        if self.length and self.type.size:
            return f"length is for utf8, bytes and auto; a {self.type} has {self.type.size}: remove length"
        return ""
