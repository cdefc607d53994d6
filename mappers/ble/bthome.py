"""BTHome version 2: service data of sensors that only advertise, plain or encrypted. Pure.

| device info 1 | object id 1, value | object id 1, value | ...
| device info 1 | the same, AES-CCM  | counter 4 | check 4 |        encrypted

Bits of the device info: 0 encrypted, 2 sends only when something happens, 5 to 7 version.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from mappers.ble.bthome_kinds import KINDS, Kind
from mappers.ble.encoding import NotDecodable
from twin.model import Value

UUID: Final = "0000fcd2-0000-1000-8000-00805f9b34fb"
_VERSION: Final = 2
_CHECK_BYTES: Final = 4
_COUNTER_BYTES: Final = 4


@dataclass(frozen=True, slots=True)
class Found:
    """One object of a message; ``number`` counts those of one name from 1."""

    name: str
    number: int
    value: Value
    kind: Kind


@dataclass(frozen=True, slots=True)
class Packet:
    """One message. ``counter`` rises with each encrypted one."""

    found: tuple[Found, ...]
    counter: int | None = None
    unknown: int | None = None
    """An object id of a newer version; what follows it cannot be read."""

    def value(self, name: str, number: int = 1) -> Value:
        """Value of an object. Raises KeyError."""
        for one in self.found:
            if (one.name, one.number) == (name, number):
                return one.value
        raise KeyError(name)


def packet(given: bytes, address: str = "", bindkey: bytes | None = None) -> Packet:
    """Read service data. ``address`` and the key of 16 bytes are for encrypted ones. Raises NotDecodable."""
    if not given:
        message = "BTHome service data is empty"
        raise NotDecodable(message)
    if given[0] >> 5 != _VERSION:
        message = f"BTHome version {given[0] >> 5} is not known; version 2 is"
        raise NotDecodable(message)
    if not given[0] & 1:
        if bindkey is not None:
            message = "a BTHome message is not encrypted, though its device has a bindkey"
            raise NotDecodable(message)  # anybody could have sent it
        return _read(given[1:], None)
    if bindkey is None:
        message = "BTHome messages are encrypted; give the device its bindkey"
        raise NotDecodable(message)
    opened, counter = _decrypted(given, address, bindkey)
    return _read(opened, counter)


def _decrypted(given: bytes, address: str, bindkey: bytes) -> tuple[bytes, int]:
    from cryptography.exceptions import InvalidTag  # slow to import, and few need it
    from cryptography.hazmat.primitives.ciphers.aead import AESCCM

    tail = _COUNTER_BYTES + _CHECK_BYTES
    sealed, counter = given[1:-tail], given[-tail:-_CHECK_BYTES]
    if not sealed:
        message = f"an encrypted BTHome message of {len(given)} bytes is too short"
        raise NotDecodable(message)
    try:
        nonce = bytes.fromhex(address.replace(":", "")) + b"\xd2\xfc" + given[:1] + counter
        opened = AESCCM(bindkey, tag_length=_CHECK_BYTES).decrypt(nonce, sealed + given[-_CHECK_BYTES:], None)
    except (InvalidTag, ValueError):
        message = "a BTHome message does not fit the bindkey of its device"
        raise NotDecodable(message) from None
    return opened, int.from_bytes(counter, "little")


def _read(objects: bytes, counter: int | None) -> Packet:
    found: list[Found] = []
    counts: dict[str, int] = {}
    at = 0
    while at < len(objects):
        kind = KINDS.get(objects[at])
        if kind is None:
            return Packet(tuple(found), counter, objects[at])
        size = kind.encoding.type.size
        at += 1
        if not size:  # its length stands before it
            size, at = objects[at] if at < len(objects) else 1, at + 1
        part = objects[at : at + size]
        if len(part) < size:
            message = f"a BTHome message ends within its {kind.name}"
            raise NotDecodable(message)
        counts[kind.name] = counts.get(kind.name, 0) + 1
        value = kind.encoding.decode(part, kind.type)
        found.append(Found(kind.name, counts[kind.name], value, kind))
        at += size
    return Packet(tuple(found), counter)
