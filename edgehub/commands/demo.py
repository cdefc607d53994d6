"""`edgetwin demo`: a gateway with a demo plant over real sockets, shown live until Ctrl-C."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import random
import socket
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Annotated, Final

import typer
from rich.console import Group
from rich.live import Live
from rich.text import Text

from edgehub.app import Gateway
from edgehub.cloud_keys import CloudKeys
from edgehub.commands.demo_line import LineAction, turn_line
from edgehub.commands.session import ExitCode, hub_client, run_command
from edgehub.demo.cloud import DemoCloud, is_installed
from edgehub.demo.line import DemoLine
from edgehub.demo.places import Places, board_documents
from edgehub.mesh_settings import DnsSettings, MeshSettings, PlaneChoice
from edgehub.settings import BrokerSettings, CloudSettings, LogSettings, PodSettings, Settings
from edgehub.state import StateFolder
from edgehub.storage import lock_holder
from edgehub.web.folder import USER, WebFolder
from twin.clock import SystemClock
from twin.errors import EdgetwinError
from twin.show.table import console, short_key, twin_table, value_text
from twin.supervisor import PARENT_ENV
from twin.wire.api import DocumentSource, TwinBody, WatchEvent

SNAPSHOT_S: Final = 5.0
READY_S: Final = 20.0
TRY_NEXT: Final = (
    ("./edgetwin set plant/tank valve=80", "open the inflow valve and see the level rise"),
    ("./edgetwin set plant/panel lamp=true", "switch on the lamp and see the light at the panel"),
    ("./edgetwin explain plant/tank valve", "who wrote it, who won, has the device followed"),
    ("./edgetwin watch plant/tank", "every change, as it is stored"),
    ("./edgetwin cloud get plant/tank", "the same twin, as the demo's cloud has it"),
    ("./edgetwin mesh routes", "two web services, and a route that shares requests 3 to 1"),
    ("./edgetwin demo cut", "cut the line to the cloud; `demo restore` mends it"),
)


def demo(
    action: Annotated[
        LineAction | None, typer.Argument(help="Of a demo that runs: cut or restore its line to the cloud.")
    ] = None,
    seconds: Annotated[
        float | None, typer.Option(help="End after so many seconds; exit code 1 if no value moved.")
    ] = None,
) -> None:
    """Run a gateway with a demo plant behind four real protocols, and a cloud for it. Ctrl-C ends everything.

    A tank and a cooler behind Modbus TCP, a press behind OPC UA, a panel on a serial port, a room over Bluetooth, whose
    link is virtual.

    State is kept in .state/demo (or EDGETWIN_STATE). `demo cut` and `demo restore`, in another terminal, cut the line
    between gateway and cloud and mend it, and show how many leaves are unsent.

    Example: edgetwin demo --seconds 30
    """
    os.environ.setdefault("EDGETWIN_STATE", str(Path(".state/demo").absolute()))
    folder = StateFolder(Path(os.environ["EDGETWIN_STATE"]).absolute())
    run_command(_demo(folder, seconds) if action is None else turn_line(folder, action))


async def _demo(folder: StateFolder, seconds: float | None) -> int:
    folder.make()
    if pid := lock_holder(folder.registry):  # before anything is drawn or written that is the other's
        message = f"a demo or hub runs on {folder.path} already (process {pid})"
        raise EdgetwinError(message, remedy="End it with Ctrl-C in its terminal, or name a folder in EDGETWIN_STATE.")
    log_file = folder.path / "hub.log"
    logging.basicConfig(
        filename=log_file, level=logging.INFO, format="%(asctime)s %(levelname)-7s %(name)s: %(message)s"
    )
    deadline_s = None if seconds is None else time.monotonic() + seconds
    async with contextlib.AsyncExitStack() as stack:
        line = await stack.enter_async_context(DemoLine(folder.line))
        settings = _settings(line.port)
        _say("starting the plant: tank and cooler (Modbus TCP), press (OPC UA), panel (serial), room (Bluetooth)")
        places = await stack.enter_async_context(_plant())
        if not places.ble:
            _say("the room is left out: its virtual Bluetooth link needs bumble (pip install 'edgetwin[demo]')")
        password = WebFolder(folder.web).draw()
        _say(f"starting the gateway; its log is {log_file}")
        running = Gateway.running(settings, folder, clock=SystemClock(), rng=random.Random())
        gateway = await stack.enter_async_context(running)
        _say(f"the broker is on {gateway.access.host}:{gateway.access.port}, the plant on {_shown(places)}")
        _say(f"the dashboard is at {gateway.web.url}, user {USER}, password {password}")
        clouding = asyncio.create_task(_cloud(folder, settings.gateway_name, line), name="cloud of the demo")
        stack.push_async_callback(_ended, clouding)
        client = await stack.enter_async_context(hub_client())
        reply = await client.apply([DocumentSource(name="plant.yaml", text=places.documents())])
        _say(f"applied {len(reply.changes)} documents; waiting for the first readings")
        boards = board_documents(sys.executable, _free_port(), _free_port())
        await client.apply([DocumentSource(name="board.yaml", text=boards)])
        events = await stack.enter_async_context(client.watch(kind="device", namespace="plant"))
        screen = _Screen(live=sys.stdout.isatty())
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout_at(_loop_time(deadline_s)):
                await screen.show(events)
    if not screen.moved:
        typer.echo(f"no value moved; {log_file} may say why", err=True)
        return ExitCode.NO if seconds is not None else ExitCode.DONE
    return ExitCode.DONE


def _settings(line_port: int) -> Settings:
    cloud = CloudSettings(url=f"mqtts://localhost:{line_port}", first_delay="0s", retry_cap="2s")
    pods = PodSettings(stop_with_hub=True)
    # What needs no root, and is another demo's only by chance.
    addresses = f"127.96.{random.randrange(256)}.0/24"
    dns = DnsSettings(listen=f"127.0.0.1:{_free_port()}")
    mesh = MeshSettings(plane=PlaneChoice.USERSPACE, addresses=addresses, dns=dns)
    broker = BrokerSettings(port=_free_port())
    return Settings(broker=broker, cloud=cloud, pods=pods, mesh=mesh, log=LogSettings())


async def _cloud(folder: StateFolder, gateway: str, line: DemoLine) -> None:
    """A cloud beside the gateway, until cancelled; without one the demo goes on, as every gateway does."""
    if not is_installed():
        _say("there is no cloud: it needs fastapi and uvicorn (pip install 'edgetwin[cloud]')")
        return
    cloud = DemoCloud(folder.cloud, folder.path / "cloud.log")
    try:
        async with cloud.running(gateway, CloudKeys(folder.keys)):
            line.target = cloud.gateways_port
            _say(f"the cloud is up, and the gateway has joined it; its log is {folder.path / 'cloud.log'}")
            _say(f"the page of the fleet, and REST, are at {cloud.url}; apps ask on MQTT port {cloud.apps_port}")
            _say(f"the password of that page is the api_token in {cloud.folder / 'admin.json'}")
            await asyncio.Event().wait()
    except (EdgetwinError, OSError, TimeoutError) as error:
        _say(f"there is no cloud: {error}")


async def _ended(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


class _Screen:
    """What the user sees: a live table on a terminal, lines and snapshots elsewhere."""

    def __init__(self, *, live: bool) -> None:
        self._live = live
        self._console = console()
        self._twins: dict[str, TwinBody] = {}
        self._changed: frozenset[tuple[str, str]] = frozenset()
        self.moved = False

    async def show(self, events: AsyncIterator[WatchEvent]) -> None:
        """Show events until cancelled."""
        if not self._live:
            await self._lines(events)
            return
        with Live(console=self._console, auto_refresh=False) as live:
            shown_s = 0.0
            async for event in events:
                self._take(event)
                if time.monotonic() - shown_s >= 0.1:
                    live.update(self._picture(), refresh=True)
                    shown_s = time.monotonic()

    async def _lines(self, events: AsyncIterator[WatchEvent]) -> None:
        snapshot_s = time.monotonic() + SNAPSHOT_S
        told = False
        async for event in events:
            self._take(event)
            for line in self._event_lines(event):
                typer.echo(line)
            if time.monotonic() >= snapshot_s:
                snapshot_s += SNAPSHOT_S
                self._console.print(self._picture(hints=not told))
                told = True

    def _take(self, event: WatchEvent) -> None:
        if event.body is None:
            return
        before = self._twins.get(event.twin)
        self._twins[event.twin] = event.body
        self._changed = frozenset((event.twin, name) for name in event.reported)
        if before is not None and not event.initial:
            known = {name: leaf.value for name, leaf in before.reported.items()}
            now = {name: leaf.value for name, leaf in event.body.reported.items()}
            self.moved = self.moved or any(name in known and known[name] != value for name, value in now.items())

    def _event_lines(self, event: WatchEvent) -> list[str]:
        if event.body is None or event.initial:
            return []
        leaves = ", ".join(f"{name} = {value_text(event.body.reported[name].value)}" for name in event.reported)
        wanted = ", ".join(f"{name} desired" for name in event.desired)
        return [f"{short_key(event.twin)}: " + "; ".join(part for part in (leaves, wanted) if part)]

    def _picture(self, *, hints: bool = True) -> Group:
        table = twin_table([self._twins[name] for name in sorted(self._twins)], int(time.time() * 1000), self._changed)
        if not hints:
            return Group(Text(), table)
        width = max(len(command) for command, _ in TRY_NEXT)
        lines = [Text.assemble("  ", (f"{command:<{width}}", "bold"), f"   {why}") for command, why in TRY_NEXT]
        return Group(
            Text(), table, Text("\nTry next, in another terminal (Ctrl-C here ends everything):"), *lines, Text()
        )


@contextlib.asynccontextmanager
async def _plant() -> AsyncIterator[Places]:
    """The plant as a process of its own, as the outside world would be; gives the places of its parts."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "edgehub.demo.site"),
        stdout=asyncio.subprocess.PIPE,
        start_new_session=True,
        env={**os.environ, PARENT_ENV: str(os.getpid())},
    )
    try:
        assert process.stdout is not None
        async with asyncio.timeout(READY_S):
            line = (await process.stdout.readline()).decode()
        try:
            places = Places.from_line(line)
        except ValueError:
            message = f"the plant did not start; it said {line!r}"
            raise EdgetwinError(message, remedy="Run `python -m edgehub.demo.site` to see why.") from None
        yield places
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


def _shown(places: Places) -> str:
    ble = f", Bluetooth over {places.ble}" if places.ble else ""
    return f"Modbus {places.modbus}, OPC UA {places.opcua}, {places.serial}{ble}"


def _say(text: str) -> None:
    typer.echo(f"==> {text}")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _loop_time(deadline_s: float | None) -> float | None:
    return None if deadline_s is None else asyncio.get_running_loop().time() + deadline_s - time.monotonic()
