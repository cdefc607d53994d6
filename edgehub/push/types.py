"""Which types of pushes there are: ours, and those that others have installed."""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import entry_points
from typing import Any, Final

from edgehub.push.target import Broken, PushType

GROUP: Final = "edgetwin.pushes"

_OURS: Final = {name: f"edgehub.push.{name}" for name in ("http", "mqtt", "influxdb2", "otel")}


def push_type(name: str) -> PushType[Any]:
    """The type of this name. Raises Broken if there is none, or it cannot be loaded."""
    found: Any
    try:
        if name in _OURS:
            found = import_module(_OURS[name]).PUSH
        else:
            chosen = next(iter(entry_points(group=GROUP, name=name)), None)
            if chosen is None:
                message = f"no push of the type {name} is installed; there are {', '.join(known_types())}"
                raise Broken(message)
            found = chosen.load()
    except ImportError as error:
        message = f"the push of the type {name} cannot be loaded: {error}"
        raise Broken(message) from None
    if not isinstance(found, PushType):
        message = f"what is installed as the push {name} is no PushType"
        raise Broken(message)
    return found


def known_types() -> list[str]:
    """The names of all types."""
    return sorted({*_OURS, *(one.name for one in entry_points(group=GROUP))})
