"""`edgetwin cloud bundle`: the bundles of releases that the cloud has for its gateways."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated

import typer

from cloudsync.bundles import BundleFolder
from cloudsync.cli import ADMIN, Config, Json
from cloudsync.local import local_cloud
from cloudsync.store import AuditEntry
from cloudsync.store.rollouts import Bundle
from twin.console import ExitCode, run_command
from twin.errors import EdgetwinError, Refused
from twin.show.table import console, plain_table

_SHORT = 12


def add(
    file: Annotated[Path, typer.Argument(help="A bundle: .edgetwin, or .raucb of an image.")],
    version: Annotated[str, typer.Option("--version", help="Of the release; needed for a bundle of an image.")] = "",
    sha256: Annotated[str, typer.Option("--sha256", help="Refuse the file if it has another.")] = "",
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Check a bundle and keep it for gateways, which fetch it over HTTPS with their certificates.

    Gateways check who signed it before they install anything; the cloud does not know whom they trust.

    Example: edgetwin cloud bundle add edgetwin-1.4.0-amd64.edgetwin
    """
    run_command(_add(file, version, sha256, config, as_json))


async def _add(file: Path, version: str, sha256: str, config: Path | None, as_json: bool) -> int:
    async with local_cloud(config) as cloud:
        told = _progress() if sys.stderr.isatty() and not as_json else _silent
        try:
            bundle = await asyncio.to_thread(
                BundleFolder(cloud.folder.bundles).add, file, version=version, sha256=sha256, told=told
            )
        except OSError as error:
            message = f"{file} cannot be kept: {error.strerror or error}"
            raise EdgetwinError(message, remedy="Check the file's name, and the free space of the cloud.") from None
        bundle = replace(bundle, added_at=cloud.now_ms())
        await cloud.store.rollouts.put_bundle(bundle)
        await cloud.store.audit(AuditEntry(cloud.now_ms(), ADMIN, "bundle", bundle.sha256, f"added {bundle.version}"))
    if as_json:
        typer.echo(json.dumps(asdict(bundle)))
    else:
        typer.echo(f"{bundle.version}  {bundle.sha256}  {bundle.size_bytes / 1e6:.1f} MB")
    return ExitCode.DONE


def list_(config: Config = None, as_json: Json = False) -> None:
    """List the bundles that gateways can have, the newest first.

    Example: edgetwin cloud bundle list
    """
    run_command(_list(config, as_json))


async def _list(config: Path | None, as_json: bool) -> int:
    async with local_cloud(config) as cloud:
        bundles = await cloud.store.rollouts.bundles()
    if as_json:
        typer.echo(json.dumps({"bundles": [asdict(one) for one in bundles]}))
    elif not bundles:
        typer.echo("No bundles.")
    else:
        table = plain_table("VERSION", "FOR", "SHA256", "MB", "FILE")
        for one in bundles:
            size = f"{one.size_bytes / 1e6:.1f}"
            table.add_row(one.version, one.compatible or "-", one.sha256[:_SHORT], size, one.name)
        console().print(table)
    return ExitCode.DONE


def remove(
    bundle: Annotated[str, typer.Argument(help="Its version, or the beginning of its sha256.")],
    config: Config = None,
) -> None:
    """Remove a bundle. One that a rollout still needs is refused.

    Example: edgetwin cloud bundle remove 1.3.0
    """
    run_command(_remove(bundle, config))


async def _remove(named: str, config: Path | None) -> int:
    async with local_cloud(config) as cloud:
        bundle = chosen(await cloud.store.rollouts.bundles(), named)
        for rollout in await cloud.store.rollouts.rollouts(looked_after=True):
            if rollout.release.sha256 == bundle.sha256 and not rollout.phase.over:
                message = f"rollout {rollout.id} brings {bundle.version} to gateways, and is {rollout.phase}"
                raise Refused(message, remedy=f"`edgetwin cloud rollout abort {rollout.id}` ends it.")
        await cloud.store.rollouts.drop_bundle(bundle.sha256)
        BundleFolder(cloud.folder.bundles).remove(bundle.sha256)
        await cloud.store.audit(AuditEntry(cloud.now_ms(), ADMIN, "bundle", bundle.sha256, f"removed {bundle.version}"))
    typer.echo(f"{bundle.version} is removed")
    return ExitCode.DONE


def chosen(bundles: Sequence[Bundle], named: str) -> Bundle:
    """The bundle of a version, or with a sha256 that begins so. Raises Refused unless there is just one."""
    found = [one for one in bundles if named and (one.version == named or one.sha256.startswith(named))]
    if len(found) == 1:
        return found[0]
    if not found:
        message = f"there is no bundle {named!r}"
        raise Refused(
            message, remedy="`edgetwin cloud bundle add FILE` adds one; `edgetwin cloud bundle list` shows all."
        )
    shown = ", ".join(f"{one.sha256[:_SHORT]} for {one.compatible or 'images'}" for one in found)
    message = f"{named!r} names {len(found)} bundles: {shown}"
    raise Refused(message, remedy="Name it by the beginning of its sha256.")


def _progress() -> Callable[[int, int], None]:
    last = [-1]

    def told(done: int, of: int) -> None:
        percent = done * 100 // of
        if percent != last[0]:
            last[0] = percent
            sys.stderr.write(f"\r{percent:3} %" + ("\n" if done == of else ""))
            sys.stderr.flush()

    return told


def _silent(_: int, __: int) -> None:
    pass
