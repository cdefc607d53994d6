"""What people write about framings, and the framers that it makes."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator
from pydantic.alias_generators import to_camel

from mappers.serialgpio.checksum import Checksum
from mappers.serialgpio.framing import Check, FixedFramer, Framer, LengthFramer, LineFramer, SlipFramer, StxFramer
from mappers.serialgpio.template import literal


class Framing(StrEnum):
    """How messages are told apart."""

    LINE = "line"
    FIXED = "fixed"
    LENGTH = "length"
    STX = "stx"
    SLIP = "slip"


_KEYS: Final = {
    "end": (Framing.LINE, Framing.STX),
    "sendEnd": (Framing.LINE,),
    "start": (Framing.FIXED, Framing.LENGTH, Framing.STX),
    "escape": (Framing.STX,),
    "length": (Framing.FIXED,),
    "lengthBytes": (Framing.LENGTH,),
    "lengthOrder": (Framing.LENGTH,),
    "lengthExtra": (Framing.LENGTH,),
}
_CHECKED_KEYS: Final = ("crcOrder", "crcText")


class FramingConfig(BaseModel):
    """A framing and its check; keys of another framing are mistakes."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True, alias_generator=to_camel)

    type: Framing = Framing.LINE
    end: str = ""
    send_end: str = ""
    start: str = ""
    escape: str = ""
    length: Annotated[int, Field(ge=1, le=4096)] | None = None
    length_bytes: Literal[1, 2, 4] = 1
    length_order: Literal["big", "little"] = "big"
    length_extra: Annotated[int, Field(ge=0, le=64)] = 0
    crc: Checksum = Checksum.NONE
    crc_order: Literal["big", "little"] | None = None
    crc_text: bool | None = None

    @field_validator("end", "send_end", "start", "escape")
    @classmethod
    def _bytes(cls, text: str) -> str:
        literal(text)
        return text

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        for check in (self._check_keys, self._check_length, self._check_stx, self._check_crc):
            if problem := check():
                raise ValueError(problem)
        return self

    def framer(self) -> Framer:
        """What cuts messages out of what comes."""
        match self.type:
            case Framing.FIXED:
                return FixedFramer(self.length or 1, literal(self.start), self._check())
            case Framing.LENGTH:
                start, extra = literal(self.start), self.length_extra
                return LengthFramer(self.length_bytes, self.length_order, start=start, extra=extra, check=self._check())
            case Framing.STX:
                return StxFramer(self._start[0], self._end[0], self._escape, self._check())
            case Framing.SLIP:
                return SlipFramer(self._check())
        return LineFramer(self._end, self._check())

    def framed(self, payload: bytes) -> bytes:
        """A message as it is sent; one of fixed framing may have another length than answers. Raises NotFramable."""
        if self.type is Framing.FIXED:
            return FixedFramer(len(payload), literal(self.start), self._check()).frame(payload)
        if self.type is Framing.LINE and self.send_end:
            return LineFramer(literal(self.send_end), self._check()).frame(payload)
        return self.framer().frame(payload)

    @property
    def _end(self) -> bytes:
        return literal(self.end) or (b"\x03" if self.type is Framing.STX else b"\n")

    @property
    def _start(self) -> bytes:
        return literal(self.start) or b"\x02"

    @property
    def _escape(self) -> int | None:
        return literal(self.escape)[0] if self.escape else None

    def _check(self) -> Check:
        order: Literal["big", "little"] = self.crc_order or ("little" if self.crc.little else "big")
        return Check(self.crc, order, self._as_text)

    @property
    def _as_text(self) -> bool:
        """As digits where a byte could mean the end, unless it is said otherwise."""
        if self.crc_text is not None:
            return self.crc_text
        return self.type is Framing.LINE or (self.type is Framing.STX and not self.escape)

    def _check_keys(self) -> str:
        given = {to_camel(name) for name in self.model_fields_set}
        for key, framings in _KEYS.items():
            if key in given and self.type not in framings:
                return f"{key} is for framing {' and '.join(framings)}, type is {self.type}; leave {key} out"
        for key in _CHECKED_KEYS:
            if key in given and self.crc is Checksum.NONE:
                return f"{key} says how a check is sent, and there is none; add crc, or leave {key} out"
        return ""

    def _check_length(self) -> str:
        if self.type is Framing.FIXED and self.length is None:
            return "length is missing: the bytes of a message without start and check; for example length: 8"
        return ""

    def _check_stx(self) -> str:
        if self.type is not Framing.STX:
            return ""
        meant = [self._start, self._end] + ([literal(self.escape)] if self.escape else [])
        if any(len(one) != 1 for one in meant):
            return "start, end and escape are one byte each; for example start: 'hex:02'"
        if len(set(meant)) < len(meant):
            return "start, end and escape are the same; use different bytes"
        return ""

    def _check_crc(self) -> str:
        bare = self.type is Framing.LINE or (self.type is Framing.STX and not self.escape)
        if self.crc is not Checksum.NONE and self.crc_text is False and bare:
            return "a check in raw bytes may look like the end of a message; leave crcText out"
        return ""
