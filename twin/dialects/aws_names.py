"""Names of AWS things and shadows, and the twins they stand for. Pure.

thing  `lamp-7`          device/default/lamp-7          a device of the namespace default
thing  `plant:tank`      device/plant/tank              of another one; AWS allows ':', our names do not have it
thing  of the table      the device that the table names, and no other thing is that device
shadow `config` of it    shadow/plant/tank.config       a named shadow: the device's name, a dot, the shadow's name

Names of shadows that are not in our alphabet are escaped with `-`: `-w` is W, `--` is -, `-1` _, `-2` :, `-3` $.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Final

from twin.errors import InvalidName
from twin.model import DEFAULT_NAMESPACE, NAME, Kind, TwinKey

THING: Final = re.compile(r"[A-Za-z0-9:_.-]{1,128}")
THING_RULE: Final = "1 to 128 characters A-Z, a-z, 0-9 and : _ . -"
SHADOW: Final = re.compile(r"[$A-Za-z0-9:_-]{1,64}")
SHADOW_RULE: Final = (
    "1 to 64 characters $ A-Z, a-z, 0-9 and : _ -; with the device's name, a dot, and two characters for each one"
    " that is not a-z or 0-9, it may have 63"
)


class Things:
    """Which device a thing is, and back; a device is one thing only."""

    def __init__(self, table: Mapping[str, TwinKey]) -> None:
        self._devices = dict(table)
        self._things = {key: thing for thing, key in table.items()}

    @property
    def named(self) -> Collection[TwinKey]:
        """The devices that the table names."""
        return self._things.keys()

    def device(self, thing: str) -> TwinKey | None:
        """The device that a thing is, known here or not; None if no device can bear that name."""
        named = self._devices.get(thing)
        if named is not None:
            return named
        namespace, _, name = thing.rpartition(":")
        namespace = namespace or DEFAULT_NAMESPACE
        if NAME.fullmatch(namespace) is None or NAME.fullmatch(name) is None:
            return None
        key = TwinKey(Kind.DEVICE, namespace, name)
        return key if self.thing(key) == thing else None

    def thing(self, device: TwinKey) -> str:
        """The thing that a device is."""
        named = self._things.get(device)
        if named is not None:
            return named
        return device.name if device.namespace == DEFAULT_NAMESPACE else f"{device.namespace}:{device.name}"


def shadow_key(device: TwinKey, shadow: str) -> TwinKey:
    """The twin of a named shadow. Raises InvalidName."""
    name = f"{device.name}.{_escaped(shadow)}"
    if SHADOW.fullmatch(shadow) is None or NAME.fullmatch(name) is None:
        raise InvalidName(what="shadow name", text=shadow, rule=SHADOW_RULE)
    return TwinKey(Kind.SHADOW, device.namespace, name)


def device_of(key: TwinKey) -> TwinKey:
    """The device that a twin belongs to: for a named shadow the device it is a shadow of, else itself."""
    if key.kind is not Kind.SHADOW:
        return key
    return TwinKey(Kind.DEVICE, key.namespace, key.name.rpartition(".")[0])


def shadow_of(key: TwinKey) -> str:
    """The name of a shadow as AWS's clients know it; empty for a device, whose twin is its classic shadow."""
    if key.kind is not Kind.SHADOW:
        return ""
    return _ESCAPE.sub(lambda found: _PLAIN.get(found[1], found[1].upper()), key.name.rpartition(".")[2])


_ESCAPE: Final = re.compile(r"-(.)")
_ESCAPES: Final = {"_": "-1", ":": "-2", "$": "-3", "-": "--"}
_PLAIN: Final = {"1": "_", "2": ":", "3": "$", "-": "-", "4": "-"}


def _escaped(shadow: str) -> str:
    made = "".join(one if (one.islower() or one.isdigit()) else _ESCAPES.get(one, f"-{one.lower()}") for one in shadow)
    return f"{made[:-1]}4" if made.endswith("--") else made  # a name of ours ends with a letter or digit
