"""A facade of ``org.bluez``, not BlueZ: its D-Bus objects over bumble's virtual controllers.

    bleak's own BlueZ backend ── a private dbus-daemon ── the facade ── bumble host ── controller ── Air ── a peripheral

What it answers is what BlueZ's documentation and source say (doc/org.bluez.*.rst, src/gatt-client.c, src/adapter.c).
What it cannot show is what the real daemon, a kernel and a radio do in time.
"""

from tests.peers.bluez_facade.bus import PrivateBus
from tests.peers.bluez_facade.facade import Facade

__all__ = ["Facade", "PrivateBus"]
