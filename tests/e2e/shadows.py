"""A lamp, and the account that may use its topics; used by the tests of AWS's shadows."""

from __future__ import annotations

import json

from tests.e2e.rig import Hub
from twin.wire.api import DocumentSource

LAMP = """
apiVersion: edgetwin.dev/v1
kind: DeviceModel
metadata: {name: lamp}
spec:
  properties:
    - {name: on, type: BOOLEAN, accessMode: ReadWrite}
    - {name: level, type: DOUBLE, accessMode: ReadWrite, minimum: 0, maximum: 100}
    - {name: rgb, type: JSON, accessMode: ReadWrite}
---
apiVersion: edgetwin.dev/v1
kind: Device
metadata: {name: lamp}
spec: {deviceModelRef: {name: lamp}}
---
apiVersion: edgetwin.dev/v1
kind: Device
metadata: {name: other}
spec: {deviceModelRef: {name: lamp}}
"""


def account(hub: Hub, name: str, *devices: str) -> str:
    """Make an account; returns its password."""
    options = [part for device in devices for part in ("--device", device)]
    made = hub.run("account", "create", name, *options, "--json")
    assert made.returncode == 0, made.stderr
    password: str = json.loads(made.stdout)["password"]
    return password


async def with_lamp(hub: Hub) -> Hub:
    """Start the gateway and give it two lamps."""
    hub.start()
    await hub.ready()
    async with hub.client() as client:
        await client.apply([DocumentSource(name="lamp.yaml", text=LAMP)])
    return hub
