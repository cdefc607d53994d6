"""`edgetwin cloud rollout`: a release on its way to gateways, wave by wave."""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Final

import typer

from cloudsync.bundle_cli import chosen
from cloudsync.bundles import BUNDLES_PATH
from cloudsync.cli import ADMIN, Config, Json
from cloudsync.local import LocalCloud, local_cloud
from cloudsync.rollout.fleet import Gateway, look
from cloudsync.rollout.plan import assigned, current_wave, failures, turned, wave_ends
from cloudsync.rollout.show import as_body, lines
from cloudsync.store import AuditEntry
from cloudsync.store.rollouts import Phase, Rollout
from twin.console import ExitCode, run_command
from twin.errors import Refused
from twin.manifest.fields import parsed_duration_ms
from twin.release import Release

Id = Annotated[str, typer.Argument(metavar="ID", help="Of the rollout.")]
_TRIES: Final = 10


def start(
    bundle: Annotated[str, typer.Argument(help="A bundle's version, or the beginning of its sha256.")],
    canary: Annotated[int, typer.Option("--canary", min=1, help="Gateways of the first wave.")] = 1,
    percent: Annotated[str, typer.Option("--percent", help="How many have it after each further wave.")] = "10,50",
    label: Annotated[
        list[str] | None, typer.Option("--label", "-l", help="Only gateways with it: key=value. Several: all of them.")
    ] = None,
    gateway: Annotated[list[str] | None, typer.Option("--gateway", help="Only this one. May be repeated.")] = None,
    stop_on: Annotated[int, typer.Option("--stop-on", min=1, help="As many failed gateways stop it.")] = 1,
    limit: Annotated[str, typer.Option("--limit", help="How long a gateway may take: 30m, 2h.")] = "1h",
    soak: Annotated[str, typer.Option("--soak", help="How long a wave has to be healthy before the next.")] = "5m",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show who would be in which wave.")] = False,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Begin to bring a release to gateways: a few first, then more, at last all. It stops when too many fail.

    Gateways that are not there get it when they come, and hold up nobody else. The cloud carries it out by itself.

    Example: edgetwin cloud rollout start 1.4.0 --canary 2 --percent 10,50 --label site=north --stop-on 2
    """
    run_command(
        _start(
            *(bundle, canary, _percents(percent), _labels(label or []), gateway or [], stop_on),
            *(_duration_ms(limit, "--limit"), _duration_ms(soak, "--soak"), dry_run, config, as_json),
        )
    )


async def _start(
    named: str,
    canary: int,
    percents: Sequence[int],
    labels: Mapping[str, str],
    only: Sequence[str],
    stop_on: int,
    limit_ms: int,
    soak_ms: int,
    dry_run: bool,
    config: Path | None,
    as_json: bool,
) -> int:
    async with local_cloud(config) as cloud:
        bundle = chosen(await cloud.store.rollouts.bundles(), named)
        id_ = f"r-{secrets.token_hex(4)}"
        release = Release(
            version=bundle.version,
            url=f"{cloud.url}{BUNDLES_PATH}/{bundle.sha256}",
            sha256=bundle.sha256,
            size=bundle.size_bytes,
            order=id_,
        )
        gateways = await _chosen(cloud, labels, only, bundle.version)
        ends = wave_ends(len(gateways), canary, percents)
        places = assigned({one.name: one.seen.online for one in gateways}, ends, id_)
        rollout = Rollout(*(id_, release, places, tuple(ends), stop_on, limit_ms, soak_ms), made_at=cloud.now_ms())
        if not dry_run:
            await cloud.store.rollouts.put(rollout, looked_after=True)
            what = f"{bundle.version} to {len(places)} gateways in {len(ends)} waves"
            await cloud.store.audit(AuditEntry(cloud.now_ms(), ADMIN, "rollout", id_, what))
        away = {one.name for one in gateways if not one.seen.online}
    if as_json:
        typer.echo(json.dumps(as_body(rollout) | {"dry_run": dry_run}))
        return ExitCode.DONE
    for number, wave in enumerate(rollout.waves):
        names = [one.gateway + (" (away)" if one.gateway in away else "") for one in places if one.wave == number]
        typer.echo(f"wave {number + 1}, {wave}: {', '.join(names)}")
    if not dry_run:
        typer.echo(f"rollout {id_} has begun; `edgetwin cloud rollout status {id_}` shows how it goes")
    return ExitCode.DONE


async def _chosen(cloud: LocalCloud, labels: Mapping[str, str], only: Sequence[str], version: str) -> list[Gateway]:
    """The gateways that it is for. Raises Refused if there are none, or another rollout has them."""
    fleet = await look(cloud.store, cloud.known, cloud.now_ms(), labels=True)
    for name in only:
        if name not in fleet:
            message = f"no gateway {name} has joined and said what it runs"
            raise Refused(message, remedy="`edgetwin cloud gateway list` shows those that have joined.")
    fits = [
        one
        for one in fleet.values()
        if (not only or one.name in only) and all(one.labels.get(key) == value for key, value in labels.items())
    ]
    found = [one for one in fits if one.runs != version]
    if not found:
        message = f"all {len(fits)} gateways run {version} already" if fits else "no gateway fits"
        raise Refused(message, remedy="`edgetwin cloud query` shows gateways; Gateway documents give them labels.")
    names = {one.name for one in found}
    for rollout in await cloud.store.rollouts.rollouts(looked_after=True):
        if not rollout.phase.over and (both := sorted(names & {one.gateway for one in rollout.places})):
            message = f"rollout {rollout.id} has {both[0]}" + (f" and {len(both) - 1} more" if len(both) > 1 else "")
            raise Refused(message, remedy=f"Wait for it, or end it: `edgetwin cloud rollout abort {rollout.id}`.")
    return found


def status(
    rollout: Annotated[str, typer.Argument(metavar="ID", help="Of one rollout; without it, all in short.")] = "",
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Show how rollouts are: how far, who failed and why.

    Exit code 1 if the rollout that was named has stopped.

    Example: edgetwin cloud rollout status
    """
    run_command(_status(rollout, config, as_json))


async def _status(named: str, config: Path | None, as_json: bool) -> int:
    async with local_cloud(config) as cloud:
        rollouts = await cloud.store.rollouts.rollouts()
        found = [_named(rollouts, named)] if named else rollouts
    if as_json:
        bodies = [as_body(one) for one in found]
        typer.echo(json.dumps(bodies[0] if named else {"rollouts": bodies}))
    elif named:
        for line in lines(found[0]):
            typer.echo(line)
    else:
        for one in found:
            wave = f"wave {current_wave(one) + 1} of {len(one.waves)}"
            typer.echo(f"{one.id}  {one.release.version}  {one.phase}, {wave}, {len(failures(one))} failed")
        if not found:
            typer.echo("No rollouts.")
    return ExitCode.NO if named and found[0].phase is Phase.STOPPED else ExitCode.DONE


def pause(rollout: Id, config: Config = None) -> None:
    """Order no further gateway to have it, for now. Those that have begun go on.

    Example: edgetwin cloud rollout pause r-0123abcd
    """
    run_command(_turn(rollout, Phase.PAUSED, config))


def resume(rollout: Id, config: Config = None) -> None:
    """Go on with a rollout that was paused.

    Example: edgetwin cloud rollout resume r-0123abcd
    """
    run_command(_turn(rollout, Phase.RUNNING, config))


def abort(rollout: Id, config: Config = None) -> None:
    """End a rollout. What no gateway has begun to install is taken back; what is installed stays.

    Example: edgetwin cloud rollout abort r-0123abcd
    """
    run_command(_turn(rollout, Phase.ABORTED, config))


async def _turn(named: str, phase: Phase, config: Path | None) -> int:
    async with local_cloud(config) as cloud:
        for _ in range(_TRIES):  # a worker may write at the same time
            known = _named(await cloud.store.rollouts.rollouts(), named)
            if await cloud.store.rollouts.put(turned(known, phase), looked_after=True):
                await cloud.store.audit(AuditEntry(cloud.now_ms(), ADMIN, "rollout", known.id, phase.value))
                typer.echo(f"rollout {known.id} is {phase}")
                return ExitCode.DONE
    message = f"rollout {named} changes all the time"
    raise Refused(message, remedy="Try again.")


def _named(rollouts: Sequence[Rollout], named: str) -> Rollout:
    for one in rollouts:
        if one.id == named:
            return one
    message = f"there is no rollout {named}"
    raise Refused(message, remedy="`edgetwin cloud rollout status` shows all.")


def _percents(text: str) -> list[int]:
    found = [int(part) if part.strip().isdigit() else 0 for part in text.split(",") if part.strip()]
    if any(not 1 <= one <= 100 for one in found) or found != sorted(set(found)):  # percent
        message = f"--percent {text}: percents rise from 1 to 100, with commas between them"
        raise typer.BadParameter(message)
    return found


def _labels(said: Sequence[str]) -> dict[str, str]:
    found = {}
    for text in said:
        key, equals, value = text.partition("=")
        if not key or not equals:
            message = f"--label {text}: write key=value"
            raise typer.BadParameter(message)
        found[key] = value
    return found


def _duration_ms(text: str, option: str) -> int:
    found = parsed_duration_ms(text)
    if found is None:
        message = f"{option} {text}: write a duration such as 30s, 10m or 2h"
        raise typer.BadParameter(message)
    return found
