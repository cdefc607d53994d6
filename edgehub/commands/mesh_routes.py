"""`edgetwin mesh routes`: services and routes of the gateway as a table, and what keeps any of them from working."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Annotated

import typer
from rich.text import Text

from edgehub.commands.session import ExitCode, folder, hub_client, run_command
from edgehub.offline import stored_twins
from edgehub.state import NotRunning
from twin.model import Kind
from twin.show.table import console, plain_table
from twin.wire.api import TwinBody
from twin.wire.mesh import RouteEndpoint, RouteTwin

_STYLES = {"ready": "green", "not-ready": "red", "failing": "red"}


def routes(
    namespace: Annotated[str, typer.Option("--namespace", "-n", help="Only of this namespace.")] = "",
    endpoints: Annotated[bool, typer.Option("--endpoints", "-e", help="Each endpoint on a line of its own.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object with all that is known.")] = False,
) -> None:
    """List services and routes: addresses, endpoints, and why one is not in force. Exit code 1 if one is not.

    Without a running hub, how they were when it ended.

    Example: edgetwin mesh routes --endpoints
    """
    run_command(_routes(namespace, endpoints, as_json))


async def known_routes(namespace: str = "") -> list[RouteTwin]:
    """What the twins of this gateway's services and routes say; of the last hub, if none runs. Raises NotRunning."""
    try:
        async with hub_client() as client:
            found = [one async for one in client.list(kind=Kind.ROUTE, namespace=namespace)]
    except NotRunning as reason:
        if not folder().registry.exists():
            raise
        typer.echo(f"{reason.message}; this is how it left them", err=True)
        twins = stored_twins(folder()).items()
        found = [body for key, body in twins if key.kind is Kind.ROUTE and namespace in ("", key.namespace)]
    return sorted(filter(None, map(route_of, found)), key=lambda one: (one.kind != "Service", one.name))


def route_of(body: TwinBody) -> RouteTwin | None:
    """What the twin of a service or route reports; None before it has reported."""
    known = {name: leaf.value for name, leaf in body.reported.items() if name in RouteTwin.model_fields}
    return RouteTwin.model_validate(known) if "kind" in known and "name" in known else None


async def _routes(namespace: str, endpoints: bool, as_json: bool) -> int:
    found = await known_routes(namespace)
    if as_json:
        typer.echo(json.dumps({"routes": [one.model_dump(mode="json", exclude_defaults=True) for one in found]}))
    elif not found:
        typer.echo("No services and no routes. `edgetwin apply -f FILE` adds some.")
    else:
        table = plain_table("NAME", "KIND", "ADDRESS", "PORTS", "PLANE", "READY", "REQUESTS/S", "STATE")
        for one in found:
            table.add_row(*_row(one))
            for endpoint in one.endpoints if endpoints else ():
                table.add_row(*_endpoint_row(endpoint))
        console().print(table)
    return ExitCode.DONE if all(not list(_broken(one)) for one in found) else ExitCode.NO


def _row(one: RouteTwin) -> Iterator[Text | str]:
    ready = sum(endpoint.health == "ready" for endpoint in one.endpoints)
    yield one.name
    yield one.kind
    yield one.address or (", ".join(one.parents) if one.parents else "none")
    yield " ".join(_port(port.port, port.transport, port.node_port) for port in one.ports)
    yield " ".join(sorted({port.plane for port in one.ports if port.plane}))
    yield f"{ready}/{len(one.endpoints)}" if one.kind == "Service" else ""
    yield f"{one.rates.requests_s:g}" if one.rates.requests_s else ""
    broken = list(_broken(one))
    yield Text("; ".join(broken), style="red") if broken else Text("Programmed", style="green")


def _port(port: int, transport: str, node_port: int) -> str:
    return f"{port}{'/udp' if transport == 'UDP' else ''}{f':{node_port}' if node_port else ''}"


def _broken(one: RouteTwin) -> Iterator[str]:
    """What keeps it from being in force, and what it does in place of serving."""
    for name, condition in one.conditions.items():
        if not condition.holds:
            yield f"not {name}: {condition.reason}: {condition.message}".removesuffix(": ")
    if one.breaker == "open":
        yield "breaker open"
    for alert in one.alerts:
        yield f"ALARM {alert}"


def _endpoint_row(one: RouteEndpoint) -> Iterator[Text | str]:
    where = ", ".join(filter(None, (one.node, one.zone and f"zone {one.zone}", one.via and f"via {one.via}")))
    yield f"  {one.place}"
    yield one.origin
    yield where
    yield str(one.port)
    yield ""
    yield ""
    yield ""
    yield Text(one.health, style=_STYLES.get(one.health, "yellow"))
