"""Paho's client, imported without dnspython: paho would load it where it is installed, and keep 7 MB of it in every
process for a look-up of brokers that we never ask it for.
"""

from __future__ import annotations

import sys
from typing import Final

__all__ = ["DISCONNECT", "PUBACK", "PUBLISH", "Client", "MQTTv5"]

_DNS: Final = sys.modules.get("dns")
sys.modules["dns"] = None  # type: ignore[assignment]  # the documented way to have an import fail
try:
    from paho.mqtt.client import DISCONNECT, PUBACK, PUBLISH, Client, MQTTv5
finally:
    if _DNS is None:
        del sys.modules["dns"]
    else:
        sys.modules["dns"] = _DNS
