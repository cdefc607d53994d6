"""`edgetwin hardware run`: build if stale, flash or boot, and wait until the gateway is in the cloud."""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from importlib.metadata import version
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Final

import typer

from cloudsync.ask.session import CredentialsFile, find_credentials
from hardware.board import BoardProfile
from hardware.boards import board as board_of
from hardware.cli import told_errors
from hardware.errors import BootFailed, InvalidProvisioning
from hardware.flash.cli import confirm, show_plan, written
from hardware.flash.disk import disks_here
from hardware.flash.work import Order, mapped, opened
from hardware.image.build import Workshop, build
from hardware.image.cli import TREE, epoch_s, steps_shown
from hardware.provision.file import Provisioning, read_file
from hardware.run.qemu import GUEST_SEES_HOST, Guest, booted, machine_of
from hardware.run.report import first_of, watched
from hardware.vendor.adapt import adapt
from twin.console import ExitCode, run_command
from twin.manifest.fields import parsed_duration_ms

_GROWS_BYTES: Final = 2**30
"""What the disk of a virtual machine has more than its image, for data to grow into."""
_LOOPBACK: Final = ("localhost", "localhost.localdomain")


@dataclass(slots=True)
class Timings:
    """How long each part took, seconds."""

    told: Callable[[str], None]
    since: float = field(default_factory=time.monotonic)
    parts: dict[str, float] = field(default_factory=dict)

    def done(self, part: str, what: str) -> None:
        """A part is done; say so."""
        now = time.monotonic()
        self.parts[part] = round(now - self.since, 1)
        self.since = now
        self.told(f"{self.parts[part]:6.1f} s  {part}: {what}")


def run(
    board: Annotated[str, typer.Argument(help="A board of `edgetwin hardware boards`, or a profile: ./mine.yaml")],
    provision: Annotated[Path, typer.Option("--provision", help="The provisioning file: who the gateway is.")],
    to: Annotated[Path | None, typer.Option("--to", help="The disk to flash; else qemu boots, if it can.")] = None,
    from_image: Annotated[Path | None, typer.Option("--from-image", help="The vendor's image of the board.")] = None,
    serial: Annotated[str, typer.Option("--serial", help="Serial number of a built-in or large disk you mean.")] = "",
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask before the disk is written.")] = False,
    once: Annotated[bool, typer.Option("--once", help="Stop the virtual machine when the report has come.")] = False,
    wait: Annotated[str, typer.Option("--wait", help="How long the first report may take.")] = "10m",
    out: Annotated[Path, typer.Option("--out", help="Folder for the image.")] = Path("images"),
    cache: Annotated[Path, typer.Option("--cache", help="Kept between builds; may be removed.")] = TREE
    / ".cache/images",
    credentials: CredentialsFile = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object at the end.")] = False,
) -> None:
    """Make a gateway: build its image if it is stale, flash or boot it, and wait for its first report in the cloud.

    A virtual machine runs on until Ctrl-C. Exit code 4: something was refused, nothing was written; 5: no report came.

    Example: edgetwin hardware run qemu-x86-64 --provision hall-7.yaml --credentials admin.json
    """

    def say(line: str) -> None:
        if not as_json:
            typer.echo(line, err=True)

    timings = Timings(say)
    with told_errors():
        wait_ms = parsed_duration_ms(wait)
        if not wait_ms:
            message = f"--wait {wait} is no duration"
            raise InvalidProvisioning(message, remedy="Write one such as 10m.")
        profile, file = board_of(board), read_file(provision)
        find_credentials(credentials, os.environ)
        if to is None:
            machine_of(profile)
            check_reachable(file.said)
        shop = Workshop(TREE, cache.absolute(), out.absolute(), epoch_s())
        with steps_shown(quiet=as_json) as told:
            if from_image is not None:
                built = adapt(profile, from_image, version("edgetwin"), shop, told, reuse=True)
            else:
                built = build(profile, version("edgetwin"), shop, told, reuse=True)
        timings.done("build", str(built.image))
        target = to or shop.out / f"{profile.name}.disk.img"
        order = Order(built.image, target, file, serial, overwrite=to is None)
        with opened(order, mapped(built.image, lambda _: None), disks_here) as work:
            if not as_json:
                show_plan(work, as_json=False)
            if not yes:
                confirm(work.plan)
            written(work, quiet=as_json)
        timings.done("flash", str(target))
    site = _Site(profile, file.said, target, shop.out, wait_ms / 1000, credentials, stays=not once)
    run_command(_until_reported(site, timings, as_json=as_json, boots=to is None))


def check_reachable(said: Provisioning) -> None:
    """Raise InvalidProvisioning if a guest cannot reach the cloud that the token names, for that is itself."""
    if said.cloud is None or said.cloud.used:
        return
    host = said.cloud.join_token().host
    if host.lower() in _LOOPBACK or _is_loopback(host):
        message = f"cloud.token names {host}, which is the guest itself to a guest"
        remedy = (
            f"Give the cloud public_host: {GUEST_SEES_HOST}, which is this machine to it, or this machine's address."
        )
        raise InvalidProvisioning(message, remedy=remedy)


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


@dataclass(frozen=True, slots=True)
class _Site:
    board: BoardProfile
    said: Provisioning
    disk: Path
    folder: Path
    wait_s: float
    credentials: Path | None
    stays: bool


async def _until_reported(site: _Site, timings: Timings, *, as_json: bool, boots: bool) -> int:
    gateway = site.said.gateway.name
    async with AsyncExitStack() as stack:
        events = await stack.enter_async_context(watched(site.credentials, devices=bool(site.said.devices.strip())))
        guest: Guest | None = None
        if boots:
            await asyncio.to_thread(os.truncate, site.disk, site.disk.stat().st_size + _GROWS_BYTES)
            guest = await stack.enter_async_context(booted(site.board, site.disk, site.folder, timings.told))
            timings.told(f"          qemu runs, {'with' if guest.accelerated else 'without'} KVM; {guest.console}")
        else:
            timings.told(f"          put {site.disk} into the board and switch it on; waiting for {gateway}")
        twin = await _in_time(first_of(events, gateway), guest, site.wait_s)
        timings.done("report", f"{twin} is in the cloud")
        if as_json:
            typer.echo(json.dumps({"gateway": gateway, "twin": twin, "seconds": timings.parts}))
        if guest is not None and site.stays:
            timings.told("          runs until Ctrl-C")
            await guest.ended()
            message = f"qemu ended by itself: {guest.last_words()}"
            raise BootFailed(message, remedy=f"All that the machine said: {guest.console}")
    return ExitCode.DONE


async def _in_time(report: Awaitable[str], guest: Guest | None, wait_s: float) -> str:
    """The report, unless the guest ends before it or it takes too long. Raises BootFailed."""
    waits = [asyncio.ensure_future(report)]
    ended = asyncio.ensure_future(guest.ended()) if guest is not None else None
    try:
        done, _ = await asyncio.wait(
            [*waits, *([ended] if ended else [])], timeout=wait_s, return_when=asyncio.FIRST_COMPLETED
        )
        if waits[0] in done:
            return waits[0].result()
        why = "qemu ended by itself" if done else f"no report came in {wait_s:.0f} s"
        said = f"; the last that the machine said: {guest.last_words()}" if guest is not None else ""
        message = f"{why}{said}"
        raise BootFailed(message, remedy=f"All of it: {guest.console}" if guest else "Look at the board's own screen.")
    finally:
        for one in (*waits, ended):
            if one is not None:
                one.cancel()
