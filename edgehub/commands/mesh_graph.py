"""`edgetwin mesh graph`: who calls whom, as a tree of text."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Annotated

import typer

from edgehub.commands.session import ExitCode, hub_client, run_command
from twin.wire.mesh import CallBody, MeshRequest


def graph(as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False) -> None:
    """Show who calls which service, with rate, p99 latency and losses.

    Example: edgetwin mesh graph
    """
    run_command(_graph(as_json))


async def _graph(as_json: bool) -> int:
    async with hub_client() as client:
        reply = await client.mesh(MeshRequest(parts=["calls"]))
    if as_json:
        typer.echo(json.dumps({"calls": [one.model_dump(mode="json") for one in reply.calls]}))
    elif not reply.calls:
        typer.echo("Nobody has called a service lately.")
    else:
        typer.echo("\n".join(tree(reply.calls)))
    return ExitCode.DONE


def tree(calls: Iterable[CallBody]) -> Iterator[str]:
    """One branch a caller; below a service that calls others itself, what it calls."""
    found = sorted(calls, key=lambda one: (one.caller, -one.requests_s, one.service))
    by_caller: dict[str, list[CallBody]] = {}
    for one in found:
        by_caller.setdefault(one.caller, []).append(one)
    called = {one.service for one in found}
    shown: set[str] = set()
    for root in sorted(by_caller, key=lambda caller: caller in called):  # circles that nobody outside calls come last
        if root not in shown:
            shown.add(root)
            yield root
            yield from _below(root, by_caller, "", shown)


def _below(caller: str, by_caller: dict[str, list[CallBody]], indent: str, shown: set[str]) -> Iterator[str]:
    calls = by_caller.get(caller, [])
    for number, one in enumerate(calls):
        last = number == len(calls) - 1
        loss = f", {one.loss_percent:.1f} % lost" if one.loss_percent else ""
        yield f"{indent}{'└─' if last else '├─'} {one.service}  {one.requests_s:.1f}/s, p99 {one.p99_ms:.1f} ms{loss}"
        if one.service in by_caller and one.service not in shown:
            shown.add(one.service)
            yield from _below(one.service, by_caller, indent + ("   " if last else "│  "), shown)
