"""The press of the demo plant behind an OPC UA server: what it does is read, what it is told is taken.

Nodes ``ns=2;s=Press.Run`` (Boolean), ``Press.Speed`` (Double, strokes a minute) are written; ``Press.ActualSpeed``,
``Press.Temperature`` (Double) and ``Press.Strokes`` (Int64) are read.
"""

from __future__ import annotations

from typing import Any, Final, Self

# asyncua has its home in mappers/opcua. The plant stands for the world outside: a process of its own that the gateway
# knows only by its socket.
from asyncua import ua
from asyncua.server.server import Server

from edgehub.demo.hall import Press, PressCommands, step_press

NAMESPACE: Final = "urn:edgetwin:demo"
_SHOWN: Final = (
    ("ActualSpeed", ua.VariantType.Double),
    ("Temperature", ua.VariantType.Double),
    ("Strokes", ua.VariantType.Int64),
)


class PressServer:
    """The press; ``async with`` opens its server on the loopback, ``step`` moves it."""

    def __init__(self) -> None:
        """Make the server; entering opens it."""
        self.press = Press()
        self._server = Server()
        self._nodes: dict[str, Any] = {}

    async def __aenter__(self) -> Self:
        """Listen on a free port."""
        server = self._server
        await server.init()
        server.set_endpoint("opc.tcp://127.0.0.1:0")
        server.set_security_policy([ua.SecurityPolicyType.NoSecurity])
        index = await server.register_namespace(NAMESPACE)
        folder = await server.nodes.objects.add_object(_node_id("Press", index), "Press")
        told = PressCommands()
        for name, value, kind in (
            ("Run", told.run, ua.VariantType.Boolean),
            ("Speed", told.speed, ua.VariantType.Double),
            *((name, 0, kind) for name, kind in _SHOWN),
        ):
            node = await folder.add_variable(_node_id(f"Press.{name}", index), name, value, kind)
            self._nodes[name] = node
        for name in ("Run", "Speed"):
            await self._nodes[name].set_writable()
        await server.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close the server."""
        await self._server.stop()

    @property
    def port(self) -> int:
        """The port it listens on."""
        binary: Any = self._server.bserver
        port: int = binary._server.sockets[0].getsockname()[1]  # noqa: SLF001  # asyncua does not tell it otherwise
        return port

    async def step(self, dt_s: float) -> None:
        """Take the commands, move the press, show the result."""
        run, speed = [await self._nodes[name].read_value() for name in ("Run", "Speed")]
        self.press = step_press(self.press, PressCommands(bool(run), float(speed)), dt_s)
        shown = (self.press.speed, self.press.temperature_c, self.press.count)
        for (name, kind), value in zip(_SHOWN, shown, strict=True):
            await self._nodes[name].write_value(value, kind)


def _node_id(text: str, index: int) -> ua.NodeId:
    return ua.NodeId(ua.String(text), ua.Int16(index))
