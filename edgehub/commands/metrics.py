"""`edgetwin metrics export`: what any process of ours tells Prometheus, sent to an OpenTelemetry collector."""

from __future__ import annotations

import json
import logging
import random
import socket
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Final
from urllib.parse import urlsplit

import typer

from edgehub.export.exporter import Exporter
from edgehub.export.rounds import Round, Told
from edgehub.export.setup import ExportSetup, SourceSetup
from edgehub.push.target import Delivered, Later
from twin.clock import SystemClock
from twin.console import ExitCode, run_command
from twin.link.backoff import Backoff
from twin.manifest.fields import parsed_duration_ms

RETRY_BASE_S: Final = 0.5
LEAST_MS: Final = 1000
_LOOPBACK: Final = frozenset({"127.0.0.1", "localhost", "::1"})


def export(
    sources: Annotated[list[str], typer.Option("--from", help="An endpoint of metrics; again for further ones.")],
    target: Annotated[str, typer.Option("--to", help="The collector, http://host:4318; /v1/metrics is added.")],
    every: Annotated[str, typer.Option(help="How often, 1s or more.")] = "30s",
    once: Annotated[bool, typer.Option("--once", help="Send once and end; exit code 1 if anything failed.")] = False,
    instance: Annotated[str, typer.Option(help="Its service.instance.id, if there is one endpoint.")] = "",
    header: Annotated[list[str] | None, typer.Option(help="NAME=VALUE, sent to the collector.")] = None,
    token_file: Annotated[Path | None, typer.Option(help="Holds the collector's bearer token.")] = None,
    from_token_file: Annotated[Path | None, typer.Option(help="Holds the endpoints' bearer token.")] = None,
    ca: Annotated[
        Path | None, typer.Option(help="PEM of the CAs of collector and endpoints; else the system's.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a round.")] = False,
) -> None:
    """Send metrics of gateways, clouds and meshes to an OpenTelemetry collector, by OTLP over HTTP. Ctrl-C ends it.

    Each time how it is now: what cannot be sent is told, and not kept.

    Example: edgetwin metrics export --from http://127.0.0.1:9464/metrics --to http://collector:4318
    """
    if instance and len(sources) > 1:
        message = "it is the name of one endpoint, and there are several"
        raise typer.BadParameter(message, param_hint="--instance")
    every_ms = parsed_duration_ms(every)
    if every_ms is None or every_ms < LEAST_MS:
        message = f"{every!r} is no interval; write 1s, 30s or 5m"
        raise typer.BadParameter(message, param_hint="--every")
    setup = ExportSetup(
        sources=tuple(
            SourceSetup(url=_url(one, "--from"), instance=instance or instance_of(one, socket.gethostname()))
            for one in dict.fromkeys(sources)
        ),
        url=_url(target, "--to"),
        every_s=every_ms / 1000,
        headers=dict(_header(one) for one in header or ()),
        token_file=_path(token_file),
        source_token_file=_path(from_token_file),
        ca=_path(ca),
    )
    logging.getLogger("httpx").setLevel(logging.WARNING)
    run_command(_export(setup, once=once, as_json=as_json))


def instance_of(url: str, machine: str) -> str:
    """Whose metrics an address gives: host and port, and this machine's name for loopback, which all machines have."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    port = parts.port or (443 if parts.scheme == "https" else 80)
    return f"{machine if host in _LOOPBACK else host}:{port}"


async def _export(setup: ExportSetup, *, once: bool, as_json: bool) -> int:
    told = Told([one.url for one in setup.sources], setup.url)

    def tell(done: Round) -> None:
        if as_json:
            typer.echo(json.dumps(_body(done)))
        else:
            _say(told, setup.url, done)

    backoff = Backoff(RETRY_BASE_S, setup.every_s, random.Random())
    exporter = Exporter(setup, clock=SystemClock(), backoff=backoff, tell=tell)
    if once:
        return ExitCode.DONE if (await exporter.once()).whole else ExitCode.NO
    await exporter.run()
    return ExitCode.DONE


def _say(told: Told, target: str, done: Round) -> None:
    for one in told.news(done):
        if one.why:
            typer.echo(f"{one.url}: {one.why}", err=True)
        elif one.url == target:
            typer.echo(f"{done.points} points sent to {target}")


def _body(done: Round) -> dict[str, object]:
    outcome = done.outcome
    return {
        "at": datetime.fromtimestamp(done.at_ms / 1000, UTC).isoformat(),
        "sent": isinstance(outcome, Delivered),
        "points": done.points,
        "why": "" if isinstance(outcome, Delivered) else outcome.why,
        "after_s": outcome.after_s if isinstance(outcome, Later) else 0,
        "silent": dict(done.silent),
    }


def _url(url: str, option: str) -> str:
    try:
        parts = urlsplit(url)
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        good = False
    if not good:
        message = f"{url!r} is not an address; write http://127.0.0.1:9464/metrics, http://collector:4318"
        raise typer.BadParameter(message, param_hint=option)
    return url


def _header(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not (equals and name.strip() and text.isascii() and text.isprintable()):
        message = f"{text!r} is no header; write NAME=VALUE"
        raise typer.BadParameter(message, param_hint="--header")
    return name.strip(), value.strip()


def _path(path: Path | None) -> str:
    return str(path.absolute()) if path is not None else ""
