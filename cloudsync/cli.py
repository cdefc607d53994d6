"""`edgetwin cloud`: the cloud's own commands. They work on its state folder, whether it runs or not."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import random
import signal
import time
from pathlib import Path
from typing import Annotated, Final

import typer

from cloudsync.health import CloudNotRunning, CloudStatus, read_health
from cloudsync.identity.ca import Authority
from cloudsync.identity.errors import AlreadyInitialised
from cloudsync.identity.folder import GATEWAYS, USERS, CloudFolder, state_folder
from cloudsync.identity.roles import Role
from cloudsync.local import local_identities
from cloudsync.settings import load_settings
from twin.certificates import fingerprint
from twin.clock import SystemClock
from twin.console import ExitCode, run_command
from twin.private_file import write_private
from twin.show.waiting import waiting

ADMIN: Final = "admin"
HEALTH_OLD_MS: Final = 20_000

Json = Annotated[bool, typer.Option("--json", help="One JSON object.")]
Config = Annotated[Path | None, typer.Option("--config", help="Settings file; edgetwin-cloud.yaml is looked for.")]


def init(config: Config = None, as_json: Json = False) -> None:
    """Make the CA of a cloud and the credentials of its first admin. What is there already is not overwritten.

    Example: edgetwin cloud init
    """
    run_command(_init(config, as_json))


async def _init(config: Path | None, as_json: bool) -> int:
    settings = load_settings(config, os.environ).settings
    folder = CloudFolder(state_folder(os.environ))
    folder.make()
    now = SystemClock().now_us() // 1000
    made = []
    for name in (GATEWAYS, USERS):
        paths = folder.certificate(name), folder.key(name)
        if all(path.exists() for path in paths):
            continue
        if any(path.exists() for path in paths):
            message = f"{folder.ca} holds one half of the authority {name}, a key or a certificate"
            raise AlreadyInitialised(message, remedy="Put the other half back from a backup, or remove both.")
        folder.keep_authority(name, Authority.create(f"edgetwin {name} of {settings.host}"[:64], now))
        made.append(name)
    with waiting("making the store of the cloud", quiet=as_json):
        made += await _admin(config, folder, new=bool(made))
    told = {
        "state": str(folder.path),
        "made": made,
        "ca": fingerprint(folder.authority(GATEWAYS).certificate),
        "credentials": str(folder.admin),
    }
    if as_json:
        typer.echo(json.dumps(told))
        return ExitCode.DONE
    typer.echo(
        f"cloud        {folder.path}: " + ("made the CA and an admin" if made else "is there, nothing was changed")
    )
    typer.echo(f"CA           {told['ca']}")
    typer.echo(f"credentials  {folder.admin}")
    typer.echo("Keep a copy of the folder ca/ where nobody else can read it: whoever has it can be any gateway.")
    return ExitCode.DONE


async def _admin(config: Path | None, folder: CloudFolder, *, new: bool) -> list[str]:
    """Make the first admin, or another one for a new CA; those that were made."""
    async with local_identities(config) as (identities, store):
        known = await store.account(ADMIN)
        if known is not None and (folder.admin.exists() or not new):
            return []
        credentials = await identities.add_user(ADMIN, Role.ADMIN, by="init", replace=known is not None)
        credentials.write(folder.admin)
        return [ADMIN]


def run(
    config: Config = None,
    workers: Annotated[int | None, typer.Option("--workers", min=0, max=64, help="Instead of the setting.")] = None,
) -> None:
    """Run a cloud until Ctrl-C: brokers, workers, web.

    Example: edgetwin cloud run --workers 2
    """
    run_command(_run(config, workers))


async def _run(config: Path | None, workers: int | None) -> int:
    from cloudsync.app import Cloud

    settings = load_settings(config, os.environ).settings
    if workers is not None:
        settings = settings.model_copy(update={"workers": workers})
    logging.basicConfig(level=settings.log.level.upper(), format="%(asctime)s %(levelname)-7s %(name)s: %(message)s")
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    folder = CloudFolder(state_folder(os.environ))
    async with Cloud.running(settings, folder, clock=SystemClock(), rng=random.Random()):
        await stop.wait()
    return ExitCode.DONE


def shard(
    host: Annotated[str, typer.Argument(help="Name or address by which workers reach that machine.")],
    out: Annotated[Path, typer.Option("--out", help="The state folder to make; copy it to that machine.")],
    config: Config = None,
) -> None:
    """Make the state folder of a machine that runs a gateways' broker only: certificates, and no key of the CA.

    Example: edgetwin cloud shard broker-2.example --out broker-2
    """
    run_command(_shard(host, out, config))


async def _shard(host: str, out: Path, config: Path | None) -> int:
    from cloudsync.brokers import SERVERS
    from cloudsync.server_certificate import SERVER_DAYS, hosts_to_serve

    settings = load_settings(config, os.environ).settings
    folder, made = CloudFolder(state_folder(os.environ)), CloudFolder(out)
    if made.has_authority() or made.certificate(SERVERS).exists():
        message = f"{out} is the folder of a cloud already"
        raise AlreadyInitialised(message, remedy="Name another folder with --out.")
    gateways, users = folder.authority(GATEWAYS), folder.authority(USERS)
    made.make()
    hosts = (host, *hosts_to_serve(settings))
    certificate, key = gateways.issue_server(hosts, now=SystemClock().now_us() // 1000, days=SERVER_DAYS)
    write_private(made.key(SERVERS), key)
    write_private(made.certificate(SERVERS), certificate + gateways.certificate)
    for name, authority in ((GATEWAYS, gateways), (USERS, users)):
        write_private(made.certificate(name), authority.certificate)
    typer.echo(f"{out}: copy it to {host} as its EDGETWIN_CLOUD_STATE; good for {SERVER_DAYS} days")
    return ExitCode.DONE


def status(as_json: Json = False) -> None:
    """Show how the cloud is: brokers, children, alarms.

    Exit code 1 if something is wrong, 3 if no cloud runs.

    Example: edgetwin cloud status
    """
    run_command(_status(as_json))


async def _status(as_json: bool) -> int:
    found = read_health(CloudFolder(state_folder(os.environ)))
    age_ms = int(time.time() * 1000) - found.written_at
    if not _lives(found.pid):
        message = f"the cloud of {found.state_folder} (process {found.pid}) has ended"
        raise CloudNotRunning(message, remedy="Start it with `edgetwin cloud run`.")
    alarms = list(found.alarms)
    if age_ms > HEALTH_OLD_MS:
        alarms.append(f"the health file is {age_ms // 1000} s old")
    if as_json:
        typer.echo(json.dumps(found.model_dump(mode="json") | {"alarms": alarms}))
    else:
        for name, text in _status_rows(found, alarms):
            typer.echo(f"{name:<20} {text}")
    return ExitCode.NO if alarms else ExitCode.DONE


def _status_rows(found: CloudStatus, alarms: list[str]) -> list[tuple[str, str]]:
    up_s = (found.written_at - found.started_at) // 1000
    return [
        ("cloud", f"edgetwin {found.version}, process {found.pid}, up {up_s} s"),
        ("state", found.state_folder),
        ("store", found.store),
        *(("broker", line) for line in found.brokers),
        ("web", found.web or "none here"),
        ("known", f"{found.gateways} gateways, {found.users} users"),
        *(
            (child.name, (f"process {child.pid}" if child.running else "not running") + f", {child.restarts} restarts")
            for child in found.children
        ),
        *(("ALARM", alarm) for alarm in alarms),
    ]


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
