"""`edgetwin mesh resolve`: what the gateway's own DNS answers to a name, and which endpoints stand behind it."""

from __future__ import annotations

import asyncio
import json
from typing import Annotated, Any, Final

import typer

from edgehub.commands.mesh_routes import known_routes
from edgehub.commands.session import ExitCode, hub_client, run_command
from edgehub.state import NotRunning
from twin.errors import EdgetwinError
from twin.show.table import console, plain_table
from twin.wire.mesh import MeshReply, MeshRequest, RouteEndpoint, RouteTwin

ASK_S: Final = 3.0
_TYPES: Final = ("A", "AAAA", "SRV", "CNAME", "PTR")


class NoAnswer(EdgetwinError):
    """The gateway's DNS does not answer."""

    code = "no_answer"


def resolve(
    name: Annotated[str, typer.Argument(help="web, web.plant or any DNS name")],
    namespace: Annotated[str, typer.Option("--namespace", "-n", help="Of names without one.")] = "default",
    record: Annotated[str, typer.Option("--type", "-t", help="A, AAAA, SRV, CNAME or PTR.")] = "A",
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """Ask the gateway's DNS for a name over the wire; say which endpoints stand behind it, and why in that order.

    Exit code 1 if there is no such name.

    Example: edgetwin mesh resolve web.plant
    """
    if record.upper() not in _TYPES:
        text = f"{record} is none of {', '.join(_TYPES)}"
        raise typer.BadParameter(text, param_hint="--type")
    run_command(_resolve(name, namespace, record.upper(), as_json))


async def _resolve(name: str, namespace: str, record: str, as_json: bool) -> int:
    async with hub_client() as client:
        mesh = await client.mesh(MeshRequest())
    if not mesh.dns:
        message = f"the mesh of this gateway serves no DNS: it is {mesh.state}"
        raise NotRunning(message, remedy="Apply a Service, or see mesh.enabled and mesh.dns.listen.")
    full = full_name(name, namespace, mesh.domain)
    code, answers = await asyncio.to_thread(ask, mesh.dns, full, record)
    behind = next((one for one in await known_routes() if one.kind == "Service" and _is(full, one, mesh)), None)
    endpoints = preferred(behind) if behind else []
    if as_json:
        said: dict[str, Any] = {"name": full, "server": mesh.dns, "status": code, "answers": answers}
        said["endpoints"] = [one.model_dump(mode="json") | {"why": why} for one, why in endpoints]
        typer.echo(json.dumps(said))
    else:
        typer.echo(f"{full} {record} at {mesh.dns}: {code}")
        for one in answers:
            typer.echo(f"  {one}")
        if behind is not None:
            typer.echo(f"service {behind.name}, {'behind ' + behind.address if behind.address else 'headless'}:")
            table = plain_table("ENDPOINT", "PORT", "HEALTH", "WHERE", "WHY HERE IN THE ORDER")
            for endpoint, why in endpoints:
                table.add_row(endpoint.place, str(endpoint.port), endpoint.health, endpoint.node or "-", why)
            console().print(table)
    return ExitCode.DONE if answers else ExitCode.NO


def full_name(name: str, namespace: str, domain: str) -> str:
    """The DNS name that is meant by a short one, as a client in that namespace would complete it."""
    labels = name.rstrip(".").split(".")
    if name.endswith(".") or name.rstrip(".").endswith(f".{domain}") or len(labels) > 3:
        return name.rstrip(".")
    if len(labels) == 1:
        return f"{labels[0]}.{namespace}.svc.{domain}"
    if len(labels) == 2 or labels[2] == "svc":
        return f"{labels[0]}.{labels[1]}.svc.{domain}"
    return name


def ask(server: str, name: str, record: str, *, tcp: bool = False) -> tuple[str, list[str]]:
    """The status and the answers of one question. Raises NoAnswer."""
    from mesh.dns import asking  # dnspython, for the commands that ask

    try:
        return asking.ask(server, name, record, tcp=tcp, within_s=ASK_S)
    except asking.NoAnswer as error:
        raise NoAnswer(error.message, remedy="`edgetwin mesh doctor` checks the whole chain.") from None


def preferred(route: RouteTwin) -> list[tuple[RouteEndpoint, str]]:
    """The endpoints, best first as its twin has them, each with the reason for its place."""
    return [(one, _why(one)) for one in route.endpoints]


def _why(one: RouteEndpoint) -> str:
    if one.health == "stale":
        return "last: heard of too long ago"
    if one.health != "ready":
        return f"not used: {one.health}"
    near = {"here": "on this gateway", "peer": "a peer said so"}.get(one.origin, "")
    place = near or (f"on {one.node}" if one.node else "in a document")
    through = f", through the tunnel of {one.via}" if one.via else ""
    return f"{place}{through}" + (f", weight {one.weight}" if one.weight != 1 else "")


def _is(name: str, route: RouteTwin, mesh: MeshReply) -> bool:
    namespace, _, service = route.name.partition("/")
    return name == f"{service}.{namespace}.svc.{mesh.domain}"
