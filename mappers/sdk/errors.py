"""What a driver may raise.

MapperError                 reason (twin.model.Reason) and text
├── NotConnected            the bus or host is not reachable
├── DeviceTimeout           the connection stands, this device does not answer
├── WriteRefused            the device said no to a write, or the value cannot be encoded
└── InvalidSettings         the mapper is unknown or broken, or its settings are wrong (raised by the SDK)
"""

from __future__ import annotations

from typing import ClassVar

from twin.errors import EdgetwinError
from twin.model import Reason


class MapperError(EdgetwinError):
    """Root of what drivers raise; ``reason`` becomes the quality reason of the readings."""

    code = "mapper"
    reason: ClassVar[Reason] = Reason.DEVICE_FAILURE


class NotConnected(MapperError):
    """The bus or host is not reachable."""

    code = "not_connected"
    reason = Reason.NOT_CONNECTED


class DeviceTimeout(MapperError):
    """The connection stands, this device does not answer."""

    code = "device_timeout"
    reason = Reason.TIMEOUT


class WriteRefused(MapperError):
    """The device refused a write, or the value cannot be written there."""

    code = "write_refused"
    reason = Reason.WRITE_REFUSED


class InvalidSettings(MapperError):
    """The mapper is unknown or broken, or cannot use its settings as written."""

    code = "invalid_settings"
    reason = Reason.CONFIG_ERROR
