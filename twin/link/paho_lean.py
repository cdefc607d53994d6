"""Paho's client, imported without what it would load for services that we never ask of it, and keep in every process:
dnspython (7 MB), to look up brokers, and urllib.request with all of HTTP (0.5 MB), for proxies beside PySocks.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Final

__all__ = ["DISCONNECT", "PUBACK", "PUBLISH", "Client", "MQTTv5"]

_WITHOUT: Final[dict[str, ModuleType | None]] = {
    "dns": None,  # the documented way to have an import fail, which paho expects of these two
    "socks": None,
    "urllib.request": ModuleType("urllib.request"),
}
_THERE: Final = {name: sys.modules[name] for name in _WITHOUT if name in sys.modules}
sys.modules.update(_WITHOUT)  # type: ignore[arg-type]  # None is taken, see above
try:
    from paho.mqtt.client import DISCONNECT, PUBACK, PUBLISH, Client, MQTTv5
finally:
    for _name in _WITHOUT:
        del sys.modules[_name]
    sys.modules.update(_THERE)
