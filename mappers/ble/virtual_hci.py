"""Bluetooth whose controller is spoken to over TCP: bumble as the host, HCI packets on a socket.

    mapper process                                      another process
    bleak ── VirtualClient ── bumble host ── TCP ── controller ── Air ── controller ── a peripheral

For demonstrations and tests without hardware; also what a bridge to a real controller offers, on which it is untested.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any, Final

from bleak.exc import BleakBluetoothNotAvailableError, BleakBluetoothNotAvailableReason
from bumble.controller import Controller
from bumble.core import BaseBumbleError
from bumble.device import Device
from bumble.hci import Address, HCI_Disconnect_Command
from bumble.transport.common import StreamPacketSink, StreamPacketSource, Transport
from bumble.transport.tcp_client import open_tcp_client_transport

from mappers.ble.radio import BleakRadio
from mappers.ble.virtual import Air, backends

_OPEN_S: Final = 5.0
_ADAPTER: Final = "F0:F1:F2:F3:F4:F5"
_GONE: Final = 0x13  # the user ended the connection


class HciRadio(BleakRadio):
    """The radio of an adapter at ``HOST:PORT``, which is opened when it is needed."""

    def __init__(self, place: str) -> None:
        """Store the place."""
        client, scanner = backends(self)
        super().__init__("", client_backend=client, scanner_backend=scanner)
        self._place = place
        self._opening = asyncio.Lock()
        self._open: tuple[Device, Transport] | None = None

    async def central(self) -> Device:
        """The adapter, on. Raises BleakBluetoothNotAvailableError."""
        async with self._opening:
            if self._open is None:
                try:
                    async with asyncio.timeout(_OPEN_S):
                        await self._begin()
                except (OSError, TimeoutError, BaseBumbleError) as error:
                    message = f"no controller answers at {self._place}: {str(error) or type(error).__name__}"
                    reason = BleakBluetoothNotAvailableReason.NO_BLUETOOTH
                    raise BleakBluetoothNotAvailableError(message, reason) from error
            assert self._open is not None
            return self._open[0]

    async def close(self) -> None:
        """Let the controller go."""
        opened, self._open = self._open, None
        if opened is not None:
            await opened[1].close()

    async def _begin(self) -> None:
        transport = await open_tcp_client_transport(self._place)
        try:
            device = Device.with_hci("gateway", Address(_ADAPTER), transport.source, transport.sink)
            device.on(device.EVENT_FLUSH, self._lost)
            await device.power_on()
        except BaseException:
            await transport.close()
            raise
        self._open = device, transport

    def _lost(self) -> None:
        self._open = None


class HciServer:
    """Adapters for other processes: each connection is one, in the same air, for as long as it stands."""

    def __init__(self, air: Air) -> None:
        """Store the air; entering it listens."""
        self._air = air
        self._server: asyncio.Server | None = None
        self._clients: set[_Client] = set()

    async def __aenter__(self) -> int:
        """Listen on a free port of the loopback; gives the port."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: _Client(self._air, self._clients), "127.0.0.1", 0)
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    async def __aexit__(self, *_: object) -> None:
        """Listen no more, and let go of all."""
        assert self._server is not None
        self._server.close()
        for client in list(self._clients):
            client.end()


class _Client(StreamPacketSource):
    """One adapter: from its host come commands, to its host go events."""

    _controller: Controller | None = None
    _transport: asyncio.Transport | None = None

    def __init__(self, air: Air, clients: set[_Client]) -> None:
        super().__init__()
        self._air = air
        self._clients = clients

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        self._clients.add(self)
        sink = StreamPacketSink(transport)
        self._controller = Controller(
            "adapter", host_source=self, host_sink=sink, link=self._air.link, public_address=_ADAPTER
        )

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  # asyncio's own name for it
        self._clients.discard(self)
        if self._controller is not None:
            self._controller.host = None
            for connection in list(self._controller.le_connections.values()):
                command = HCI_Disconnect_Command(connection_handle=connection.handle, reason=_GONE)
                self._controller.on_hci_disconnect_command(command)
            with contextlib.suppress(KeyError):
                self._air.link.remove_controller(self._controller)

    def end(self) -> None:
        if self._transport is not None:
            self._transport.abort()
