"""`edgetwin apply`, `delete` and `diff`: files of documents, all or nothing."""

from __future__ import annotations

from pathlib import Path

import typer

from edgehub.commands.session import ExitCode, folder, hub_client, run_command
from edgehub.offline import apply_offline
from edgehub.state import NotRunning
from twin.show.documents import AsJson, DryRun, Files, print_changes, read_sources
from twin.wire.api import ApplyMode, ApplyRequest


def apply(file: Files, dry_run: DryRun = False, as_json: AsJson = False) -> None:
    """Apply documents: device models, devices, connections, pods; ours, KubeEdge's, Kubernetes'. All, or none.

    Without a running hub the registry is changed directly, and the next hub serves it.

    Example: edgetwin apply -f plant.yaml --dry-run
    """
    run_command(_send(file, ApplyMode.APPLY, dry_run, as_json))


def delete(file: Files, dry_run: DryRun = False, as_json: AsJson = False) -> None:
    """Delete what a file of documents names, with the twins of its devices. All of them, or none.

    Example: edgetwin delete -f plant.yaml --dry-run
    """
    run_command(_send(file, ApplyMode.DELETE, dry_run, as_json))


def diff(file: Files, as_json: AsJson = False) -> None:
    """Show what apply would change, as a unified diff. Exit code 1 if there is a difference.

    Example: edgetwin diff -f plant.yaml
    """
    run_command(_send(file, ApplyMode.DIFF, dry_run=True, as_json=as_json))


async def _send(files: list[Path], mode: ApplyMode, dry_run: bool, as_json: bool) -> int:
    request = ApplyRequest(sources=read_sources(files), mode=mode, dry_run=dry_run)
    without_hub = False
    try:
        async with hub_client(timeout_s=60.0) as client:
            reply = await client.apply(request.sources, mode=mode, dry_run=dry_run)
    except NotRunning:
        reply = apply_offline(folder(), request)
        without_hub = True
    if as_json:
        typer.echo(reply.model_dump_json())
    else:
        note = "(no hub runs: the next `edgetwin run` serves it)" if without_hub else ""
        print_changes(reply, mode, dry_run=dry_run, note=note)
    changed = any(change.action != "unchanged" for change in reply.changes)
    return ExitCode.NO if mode is ApplyMode.DIFF and changed else ExitCode.DONE
