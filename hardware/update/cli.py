"""`edgetwin hardware update`: install a bundle, see how far an update is, go back; and the service that does it."""

from __future__ import annotations

import json
import logging
import random
import ssl
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Final

import typer

from edgehub.release import wanted_release
from hardware.cli import told_errors
from hardware.update.agent import Agent
from hardware.update.fetch import BundleFolder, described, size_of
from hardware.update.machine import Record, Wanted
from hardware.update.manifest import BundleManifest
from hardware.update.place import Site
from hardware.update.records import report_of
from twin.console import ExitCode
from twin.errors import LinkError
from twin.link.backoff import Backoff
from twin.release import ReleaseReport, ReleaseState

Json = Annotated[bool, typer.Option("--json", help="One JSON object.")]
Config = Annotated[Path | None, typer.Option("--config", help="Settings file; see edgetwin check-config.")]
RETRY_CAP_S: Final = 300.0
GLANCE_S: Final = 20.0
TRIES: Final = 5
_CODES: Final = {
    ReleaseState.HEALTHY: ExitCode.DONE,
    ReleaseState.ROLLED_BACK: ExitCode.NO,
    ReleaseState.REFUSED: ExitCode.REFUSED,
}


def install(
    bundle: Annotated[str, typer.Argument(help="A bundle: a file, or an address that begins with https://.")],
    older: Annotated[str, typer.Option("--older", help="Go back to this older version, which the bundle has.")] = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check the bundle; change nothing.")] = False,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Install a bundle, try it, and keep it if all that worked before works again; else go back. As root.

    Exit code 1: it was rolled back; 4: the bundle was refused, nothing was changed; 5: it could not be installed.
    A restart of the machine or Ctrl-C does not end it: the updater's service goes on.

    Example: edgetwin hardware update install edgetwin-1.1.0.edgetwin --dry-run
    """
    with _told_errors():
        site = Site.here(config)
        backend = site.backend()
        site.records.make()
        with site.records.locked(_patience_s(site)), _progress(quiet=as_json) as told:
            updater = site.updater(backend, told)
            file = _given(site, bundle, told)
            manifest = backend.check(file, older)
            if dry_run:
                _show_plan(manifest, backend.standing().version, as_json)
                return
            sha256, size = described(file)
            updater.want(Wanted(manifest.version, sha256, size, file=str(file.absolute()), older=older))
            record = updater.run()
            site.given.clear()
            report = report_of(record, backend.standing())
        _show(report, as_json)
        raise typer.Exit(_CODES.get(record.state, ExitCode.FAILED))


def status(config: Config = None, as_json: Json = False) -> None:
    """Show what runs, and how far an update is.

    Example: edgetwin hardware update status
    """
    with _told_errors():
        site = Site.here(config)
        report = site.records.told()
        if report is None:
            report = report_of(Record(), site.backend().standing())
        _show(report, as_json)


def rollback(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would run; change nothing.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Go back to the release from before, or end the trial of a new one. As root.

    Example: edgetwin hardware update rollback --dry-run
    """
    with _told_errors():
        site = Site.here(config)
        backend = site.backend()
        standing = backend.standing()
        if dry_run:
            before = standing.before or "nothing: there is no release from before"
            _say({"runs": standing.version, "before": standing.before}, f"{standing.version} -> {before}", as_json)
            return
        if not yes and sys.stdin.isatty() and not typer.confirm(f"Leave {standing.version}?", err=True):
            raise typer.Exit(ExitCode.NO)
        with site.records.locked(_patience_s(site)), _progress(quiet=as_json) as told:
            updater = site.updater(backend, told)
            updater.go_back()
            record = updater.run()
            report = report_of(record, backend.standing())
        _show(report, as_json)
        done = record.state in (ReleaseState.ROLLED_BACK, ReleaseState.FAILED)
        raise typer.Exit(ExitCode.DONE if done else ExitCode.FAILED)


def agent(config: Config = None) -> None:
    """Be the updater's service: install what the cloud wants, finish what was begun. As root, under systemd.

    Example: edgetwin hardware update agent
    """
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)-7s %(name)s: %(message)s")
    with _told_errors():
        site = Site.here(config)
        backend = site.backend()
        updater = site.updater(backend, lambda *_: None)
        backoff = Backoff(1.0, RETRY_CAP_S, random.Random())
        Agent(backend, updater, site.records, lambda: wanted_release(site.folder), time.sleep, backoff).run()


def _given(site: Site, bundle: str, told: Callable[[Record, int, int], None]) -> Path:
    """The bundle as a file; one of an address is fetched beside the others, and gone on with if that broke off."""
    if "://" not in bundle:
        return Path(bundle)
    context = site.tls if _is_of_cloud(site, bundle) else ssl.create_default_context
    folder = BundleFolder(site.given.folder, context)
    wanted = Wanted(bundle, "", size_of(bundle, context()), url=bundle)
    record = Record(ReleaseState.DOWNLOADING, wanted)
    for left in reversed(range(TRIES)):
        try:
            return folder.fetch(wanted, lambda done, of: told(record, done, of))
        except LinkError:
            if not left:
                raise
            time.sleep(1)
    raise AssertionError


def _patience_s(site: Site) -> float:
    """How long to wait for another updater: the service has its looks, which are short where no update is under way."""
    return GLANCE_S if site.records.load().state.settled else 0.0


def _is_of_cloud(site: Site, url: str) -> bool:
    from urllib.parse import urlsplit

    from edgehub.cloud_keys import CloudKeys

    place = CloudKeys(site.folder.keys).connection()
    return place is not None and urlsplit(place.enrol_url).hostname == urlsplit(url).hostname


def _told_errors() -> AbstractContextManager[None]:
    return told_errors("interrupted; the updater's service goes on with it, if it runs")


@contextmanager
def _progress(*, quiet: bool) -> Iterator[Callable[[Record, int, int], None]]:
    """A line for each state, and a bar for what has a size."""
    if quiet:
        yield lambda *_: None
        return
    last: list[Record] = [Record()]

    def line(record: Record) -> None:
        if replace(record, at=0) != replace(last[0], at=0):
            last[0] = record
            tries = f", try {record.tries} of 3" if record.state is ReleaseState.TRYING and record.tries else ""
            stage = f": {record.stage}{tries}" if record.state is ReleaseState.TRYING else ""
            typer.echo(f"{record.state}{stage}{f' ({record.reason})' if record.reason else ''}", err=True)

    if not sys.stderr.isatty():
        yield lambda record, _done, _of: line(record)
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    columns = (TextColumn("{task.description:12}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", visible=False)

        def told(record: Record, done: int, of: int) -> None:
            bar.update(task, description=str(record.state), completed=done, total=of or None, visible=bool(of))
            if not of:
                line(record)

        yield told


def _show_plan(manifest: BundleManifest, runs: str, as_json: bool) -> None:
    about = {"version": manifest.version, "runs": runs, "compatible": manifest.compatible, "files": len(manifest.files)}
    lines = [f"bundle  {manifest.version} for {manifest.compatible}; signed, whole, and taken here"]
    lines += [
        f"runs    {runs}",
        "steps   install beside it; switch; start; judge, at most 3 starts; keep it or go back",
    ]
    _say(about, "\n".join(lines), as_json)


def _show(report: ReleaseReport, as_json: bool) -> None:
    lines = [f"runs    {report.version}{f' in {report.slot}' if report.slot != report.version else ''}"]
    lines.append(f"state   {report.state}{f' {report.wanted}' if report.wanted else ''}")
    if report.tries:
        lines.append(f"tries   {report.tries}")
    if report.reason:
        lines.append(f"reason  {report.reason}")
    _say(report.model_dump(mode="json"), "\n".join(lines), as_json)


def _say(about: dict[str, object], text: str, as_json: bool) -> None:
    typer.echo(json.dumps(about) if as_json else text)
