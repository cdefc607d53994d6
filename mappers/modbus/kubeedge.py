"""KubeEdge's de facto Modbus keys, rewritten as ours; pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from mappers.modbus.encoding import REGISTERS, RawType
from mappers.modbus.plan import Table


def native_connection(given: Mapping[str, object]) -> dict[str, object]:
    """Return the connection's keys under our names; keys of ours and unknown ones pass unchanged.

    The transport follows from the keys when it is not said; parity may be a letter.
    """
    native = {_CONNECTION_KEYS.get(key, key): value for key, value in given.items()}
    if "timeout" in native and not native.keys() & {"timeoutMs", "timeout_ms"}:
        native["timeoutMs"] = _milliseconds(native.pop("timeout"))
    if isinstance(parity := native.get("parity"), str):
        native["parity"] = _PARITY.get(parity.lower(), parity.lower())
    if "transport" not in native and (native.get("serialPort") or native.get("serial_port")):
        native["transport"] = "rtu"
    return native


def native_point(given: Mapping[str, object]) -> dict[str, object]:
    """Return a KubeEdge visitor as a native point: its offset is an address, its limit a count of registers.

    Keys that mean nothing here are left out. Raises ValueError naming a key with a value that has no meaning.
    """
    table = _table(given["register"])
    if "offset" not in given:
        message = "offset is missing: in a visitor with the key register it is the address; for example offset: 0"
        raise ValueError(message)
    length = _count(given.get("limit", 1))
    native: dict[str, object] = {"table": table, "address": given["offset"]}
    if given.get("scale") not in (None, 0, "0"):  # 0 is how Go writes a scale that was not given
        native["scale"] = given["scale"]
    if not table.of_bits:
        native["type"] = raw_type = _raw_type(given.get("dataType"), length)
        if raw_type in (None, RawType.STRING):
            native["length"] = length
        native["byteOrder"] = "little" if _flag(given, "isSwap") else "big"
        native["wordOrder"] = "little" if _flag(given, "isRegisterSwap") else "big"
    return native


_CONNECTION_KEYS: Final = {
    "ip": "host",
    "baudrate": "baudRate",
    "serialport": "serialPort",
    "databits": "dataBits",
    "stopbits": "stopBits",
}

_PARITY: Final = {"": "none", "n": "none", "e": "even", "o": "odd"}

_TABLES: Final = {
    "coil": Table.COIL,
    "discreteinput": Table.DISCRETE,
    "discrete": Table.DISCRETE,
    "input": Table.INPUT,
    "holding": Table.HOLDING,
}

_BY_LENGTH: Final = {
    "int": {1: RawType.INT16, 2: RawType.INT32, 4: RawType.INT64},
    "uint": {1: RawType.UINT16, 2: RawType.UINT32, 4: RawType.UINT64},
    "float": {1: RawType.FLOAT16, 2: RawType.FLOAT32, 4: RawType.FLOAT64},
    "double": {2: RawType.FLOAT32, 4: RawType.FLOAT64},
}
_OTHER_NAMES: Final = {"boolean": "bool", "integer": "int"}

_SECONDS_BELOW: Final = 100
"""KubeEdge never fixed the unit of ``timeout``: nobody waits 100 seconds, or less than 100 milliseconds."""


def _milliseconds(timeout: object) -> object:
    try:
        number = float(str(timeout))
        return round(number * 1000) if number < _SECONDS_BELOW else round(number)
    except (ValueError, OverflowError):  # no number, or one without end
        return timeout  # the model's own check refuses it by name


def _table(register: object) -> Table:
    name = str(register).lower().removesuffix("s").removesuffix("register")
    if name not in _TABLES:
        message = (
            f"register {register!r} is not known; use one of CoilRegister, DiscreteInputRegister, InputRegister,"
            " HoldingRegister"
        )
        raise ValueError(message)
    return _TABLES[name]


def _count(limit: object) -> int:
    try:
        count = int(str(limit))
    except ValueError:
        count = 0
    if count < 1:
        message = f"limit {limit!r} is not a count of registers; for example limit: 2"
        raise ValueError(message)
    return count


def _raw_type(name: object, length: int) -> RawType | None:
    """Return the type that dataType names; None leaves it to the property's type."""
    if name in (None, ""):
        return None
    lowered = str(name).lower()
    lowered = _OTHER_NAMES.get(lowered, lowered)
    if by_length := _BY_LENGTH.get(lowered):
        if length in by_length:
            return by_length[length]
        message = f"dataType {name} does not have {length} registers; use a limit of {' or '.join(map(str, by_length))}"
        raise ValueError(message)
    try:
        raw_type = RawType(lowered)
    except ValueError:
        known = ", ".join([*RawType, *_BY_LENGTH])
        message = f"dataType {name!r} is not known; use one of {known}"
        raise ValueError(message) from None
    if (size := REGISTERS.get(raw_type, length)) != length:
        message = f"dataType {name} has {size} registers, but limit is {length}; use limit: {size}"
        raise ValueError(message)
    return raw_type


def _flag(given: Mapping[str, object], key: str) -> bool:
    text = str(given.get(key, False)).lower()
    if text not in ("true", "false"):
        message = f"{key} {given[key]!r} is not true or false; for example {key}: true"
        raise ValueError(message)
    return text == "true"
