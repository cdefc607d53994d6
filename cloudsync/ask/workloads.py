"""`edgetwin cloud pods` and `deployments`: what the cloud itself has running, where, and why something is not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Literal

import typer

from cloudsync.ask.session import CredentialsFile, cloud_client
from twin.console import ExitCode, run_command
from twin.show.documents import AsJson
from twin.show.table import console, plain_table
from twin.wire.cloud_api import CloudDeploymentBody, CloudPodBody, WorkloadsReply, WorkloadsRequest

Namespace = Annotated[str, typer.Option("--namespace", "-n", help="Only those of one namespace.")]


def pods(namespace: Namespace = "", credentials: CredentialsFile = None, as_json: AsJson = False) -> None:
    """Show the cloud's pods: which gateway has each, what that says of it, and why a pod has none.

    Example: edgetwin cloud pods
    """
    run_command(_pods(namespace, credentials, as_json))


def deployments(namespace: Namespace = "", credentials: CredentialsFile = None, as_json: AsJson = False) -> None:
    """Show the cloud's Deployments: how many pods each asks for, and how many there are.

    Example: edgetwin cloud deployments
    """
    run_command(_deployments(namespace, credentials, as_json))


async def _pods(namespace: str, credentials: Path | None, as_json: bool) -> int:
    found = [one for page in await _all("pods", namespace, credentials) for one in page.pods]
    if as_json:
        typer.echo(json.dumps({"pods": [one.model_dump(mode="json") for one in found]}))
    elif not found:
        typer.echo("No pods.")
    else:
        table = plain_table("POD", "GATEWAY", "PHASE", "READY", "RESTARTS", "REASON")
        for one in found:
            ready = "yes" if one.ready else "no"
            table.add_row(one.pod, one.gateway or "-", _phase(one), ready, str(one.restarts), _reason(one))
        console().print(table)
    return ExitCode.DONE


async def _deployments(namespace: str, credentials: Path | None, as_json: bool) -> int:
    found = [one for page in await _all("deployments", namespace, credentials) for one in page.deployments]
    if as_json:
        typer.echo(json.dumps({"deployments": [one.model_dump(mode="json") for one in found]}))
    elif not found:
        typer.echo("No Deployments.")
    else:
        table = plain_table("DEPLOYMENT", "READY", "CURRENT", "PLACED", "REASON")
        for one in found:
            table.add_row(one.deployment, *_counts(one), one.reason)
        console().print(table)
    return ExitCode.DONE


async def _all(kind: Literal["pods", "deployments"], namespace: str, credentials: Path | None) -> list[WorkloadsReply]:
    pages = []
    async with cloud_client(credentials) as client:
        after = ""
        while True:
            page = await client.workloads(WorkloadsRequest(kind=kind, namespace=namespace, after=after, limit=1000))
            pages.append(page)
            if not (after := page.after):
                return pages


def _phase(one: CloudPodBody) -> str:
    return f"{one.phase}?" if one.cut_off else one.phase


def _reason(one: CloudPodBody) -> str:
    parts = [one.reason] if one.reason else []
    if one.cut_off:
        parts.append(f"{one.gateway} is cut off")
    if one.may_run_at:
        parts.append(f"may still run at {', '.join(one.may_run_at)}")
    return "; ".join(parts)


def _counts(one: CloudDeploymentBody) -> tuple[str, str, str]:
    return f"{one.ready}/{one.replicas}", str(one.current), str(one.placed)
