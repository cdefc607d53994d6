"""Fixtures: a gateway in a process of its own, with its broker and its mapper, and a device on a socket."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pyModbusTCP.server import DataBank, ModbusServer

from edgehub.state import StateFolder
from tests.e2e.rig import DOCUMENTS, Device, Hub
from twin.wire.api import DocumentSource


@pytest.fixture
def device(free_port: Callable[[], int]) -> Iterator[Device]:
    """A running Modbus TCP device."""
    port = free_port()
    bank = DataBank()
    server = ModbusServer(host="127.0.0.1", port=port, no_block=True, data_bank=bank)
    server.start()
    yield Device(port, bank, server)
    if server.is_run:
        server.stop()


@pytest.fixture
def stopped_hub(tmp_path: Path, free_port: Callable[[], int]) -> Iterator[Hub]:
    """A gateway that is not running yet; whatever the test starts is ended."""
    folder = tmp_path / "state"
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("EDGETWIN_")},
        "EDGETWIN_STATE": str(folder),
        "EDGETWIN_BROKER_PORT": str(free_port()),
        "EDGETWIN_GATEWAY_NAME": "gw-test",
        "EDGETWIN_MESH_ENABLED": "off",  # it would take addresses of the machine's
        "PATH": os.environ["PATH"] + ":/usr/sbin",
    }
    hub = Hub(StateFolder(folder), environment, log=tmp_path / "hub.log")
    yield hub
    if hub.running:
        hub.stop()


@pytest.fixture
async def hub(stopped_hub: Hub) -> Hub:
    """A running, empty gateway."""
    stopped_hub.start()
    await stopped_hub.ready()
    return stopped_hub


@pytest.fixture
async def plant(hub: Hub, device: Device) -> Device:
    """A device with two twins on the running gateway: v1, which is read over Modbus, and free, which nobody reads."""
    device.set_input(0, 17)
    text = DOCUMENTS.replace("${PORT}", str(device.port))
    async with hub.client() as client:
        await client.apply([DocumentSource(name="bench.yaml", text=text)])
    return device
