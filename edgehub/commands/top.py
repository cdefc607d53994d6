"""`edgetwin top`: the gateway's pulse on the whole screen, live."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
import termios
import time
import tty
from collections.abc import Callable, Iterator, Sequence
from typing import Annotated

import typer
from rich.live import Live

from edgehub.commands.session import ExitCode, hub_client, run_command
from twin.client import TwinClient
from twin.errors import EdgetwinError
from twin.model import TwinKey
from twin.show.pulse import Number, Pulse
from twin.show.pulse_view import screen
from twin.show.table import console

EVERY_S = 1.0
_AS_TEXT_ROWS = 1000
_GIVE_UP_AFTER = 5  # unanswered questions; a hub that starts anew has other passwords


def top(
    kind: Annotated[str, typer.Option(help="Twins of this kind: device, gateway, pod, ...")] = "device",
    namespace: Annotated[str, typer.Option("--namespace", "-n", help="Only twins of this namespace.")] = "",
    once: Annotated[bool, typer.Option("--once", help="Look for two seconds, print it, and end.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object; implies --once.")] = False,
) -> None:
    """Show rates, the line to the cloud and what moves, live, until q or Ctrl-C.

    First comes what is not as it should be, then what changes most. Bars are the last minute.

    Example: edgetwin top --namespace plant
    """
    run_command(_top(kind, namespace, once=once or as_json or not console().is_terminal, as_json=as_json))


async def _top(kind: str, namespace: str, *, once: bool, as_json: bool) -> int:
    pulse = Pulse()
    try:
        async with hub_client() as client, asyncio.TaskGroup() as tasks:
            follower = tasks.create_task(_follow(client, pulse, kind, namespace))
            if once:
                await _look(client, pulse)
                _print(pulse, as_json)
            else:
                await _show(client, pulse)
            follower.cancel()
    except* EdgetwinError as group:
        raise group.exceptions[0] from None
    return ExitCode.DONE


async def _follow(client: TwinClient, pulse: Pulse, kind: str, namespace: str) -> None:
    initial = True
    async with client.watch(kind=kind, namespace=namespace, every_ms=round(EVERY_S * 500)) as events:
        async for event in events:
            pulse.twins(event.twins, event.gone, _now_ms(), initial=initial)
            initial = initial and not event.ready


async def _look(client: TwinClient, pulse: Pulse) -> None:
    for pause_s in (EVERY_S, EVERY_S, 0.0):
        pulse.status(await client.status(), _now_ms())
        await asyncio.sleep(pause_s)


async def _show(client: TwinClient, pulse: Pulse) -> None:
    ended = asyncio.Event()
    terminal = console()
    unanswered, trouble = 0, ""
    with _keys(ended.set), Live(console=terminal, screen=True, auto_refresh=False) as live:
        while not ended.is_set():
            try:
                pulse.status(await client.status(), _now_ms())
                unanswered, trouble = 0, ""
            except EdgetwinError as error:
                unanswered, trouble = unanswered + 1, f"no answer: {error.message}"
                if unanswered == _GIVE_UP_AFTER:
                    raise
            live.update(screen(pulse, _now_ms(), terminal.size.height, trouble), refresh=True)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(EVERY_S):
                    await ended.wait()


def _print(pulse: Pulse, as_json: bool) -> None:
    now_ms = _now_ms()
    if not as_json:
        console().print(screen(pulse, now_ms, _AS_TEXT_ROWS))
        return
    last = pulse.last()
    moving = [
        {
            "twin": str(TwinKey.parse(one.twin)),
            "property": one.name,
            "value": one.leaf.value if one.leaf else None,
            "well": one.well,
            "changes": one.changes,
        }
        for one in pulse.moving(now_ms)
    ]
    rates = {"reports_s": _last(pulse.reports_s()), "values_s": _last(pulse.values_s())}
    status = None if last is None else last.model_dump(mode="json", exclude_defaults=True)
    typer.echo(json.dumps({"status": status, **rates, "moving": moving}, ensure_ascii=False))


def _last(numbers: Sequence[Number]) -> float:
    return round(numbers[-1].number, 1) if numbers else 0.0


@contextlib.contextmanager
def _keys(end: Callable[[], None]) -> Iterator[None]:
    """Call ``end`` when q is typed; a terminal that is no terminal has no keys."""
    if not sys.stdin.isatty():
        yield
        return
    descriptor, loop = sys.stdin.fileno(), asyncio.get_running_loop()
    before = termios.tcgetattr(descriptor)
    tty.setcbreak(descriptor)
    loop.add_reader(descriptor, lambda: end() if b"q" in os.read(descriptor, 64).lower() else None)
    try:
        yield
    finally:
        loop.remove_reader(descriptor)
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)


def _now_ms() -> int:
    return int(time.time() * 1000)
