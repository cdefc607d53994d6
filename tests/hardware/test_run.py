"""`edgetwin hardware run` without a booted machine: what is stale, what is awaited, what is refused."""

from __future__ import annotations

import asyncio
import os
from dataclasses import replace
from pathlib import Path

import pytest

from hardware.boards import board
from hardware.errors import BootFailed, InvalidProvisioning
from hardware.flash.blockmap import scan
from hardware.image.keep import Made, keep, kept
from hardware.image.manifest import TakesProvisioning
from hardware.image.spec import ImageSpec
from hardware.provision.file import Provisioning
from hardware.run.cli import _in_time, check_reachable
from hardware.run.qemu import MACHINES, Guest, booted, machine_of
from hardware.run.report import first_of
from tests.hardware.test_flash_command import command
from twin.wire.api import TwinBody, WatchEvent
from twin.wire.enrolment import JoinToken

SPEC = ImageSpec(board("qemu-x86-64"), "1.0.0", 1_700_000_000, "0" * 64)
TAKES = TakesProvisioning(versions=(1,), partition=1, file="edgetwin-provision.yaml")


def made(folder: Path, spec: ImageSpec = SPEC, base: str = "") -> None:
    image = folder / "making.img"
    image.write_bytes(b"x" * 4096)
    keep(spec, Made(image, scan(image), TAKES, (), base), folder)


def test_an_image_of_the_same_is_not_made_again(tmp_path: Path) -> None:
    assert kept(SPEC, tmp_path) is None
    made(tmp_path)
    built = kept(SPEC, tmp_path)
    assert built is not None
    assert built.image.read_bytes() == b"x" * 4096


@pytest.mark.parametrize(
    "other",
    [
        replace(SPEC, release="1.0.1"),
        replace(SPEC, wheels="1" * 64),
        replace(SPEC, epoch_s=1_700_000_001),
        replace(SPEC, keyring="-----BEGIN"),
        replace(SPEC, board=SPEC.board.model_copy(update={"kernel_arguments": ("quiet",)})),
        replace(SPEC, board=SPEC.board.model_copy(update={"packages": ("linux-image-amd64",)})),
    ],
)
def test_an_image_of_anything_else_is_stale(tmp_path: Path, other: ImageSpec) -> None:
    made(tmp_path)
    assert kept(other, tmp_path) is None


def test_an_image_of_another_vendors_image_is_stale(tmp_path: Path) -> None:
    made(tmp_path, base="a" * 64)
    assert kept(SPEC, tmp_path, "a" * 64) is not None
    assert kept(SPEC, tmp_path, "b" * 64) is None


def test_an_image_that_is_not_whole_any_more_is_stale(tmp_path: Path) -> None:
    made(tmp_path)
    built = kept(SPEC, tmp_path)
    assert built is not None
    os.truncate(built.image, 100)
    assert kept(SPEC, tmp_path) is None
    made(tmp_path)
    built.map.unlink()
    assert kept(SPEC, tmp_path) is None
    made(tmp_path)
    built.manifest.write_text("{")
    assert kept(SPEC, tmp_path) is None


# -- the report --------------------------------------------------------------------------------------------------------


def event(twin: str, gateway: str, *, initial: bool = False, gone: bool = False) -> WatchEvent:
    body = None if gone else TwinBody(twin=twin, version=1, gateway=gateway)
    return WatchEvent(twin=twin, body=body, initial=initial)


async def told(*events: WatchEvent):
    for one in events:
        yield one


async def test_news_of_this_gateway_is_the_report_and_what_was_there_before_is_not() -> None:
    events = told(
        event("device/a/old", "gw-1", initial=True),
        event("device/a/other", "gw-2"),
        event("device/a/gone", "gw-1", gone=True),
        event("device/a/new", "gw-1"),
    )
    assert await first_of(events, "gw-1") == "device/a/new"
    assert await first_of(told(event("gateway/edgetwin/gw-1", "")), "gw-1") == "gateway/edgetwin/gw-1"


async def test_a_cloud_that_goes_away_is_told() -> None:
    with pytest.raises(BootFailed, match="ended the watch"):
        await first_of(told(), "gw-1")


async def test_a_report_that_does_not_come_is_told_and_nobody_waits_on() -> None:
    never = asyncio.Event()

    async def report() -> str:
        await never.wait()
        return ""

    with pytest.raises(BootFailed, match="no report came in 0 s"):
        await _in_time(report(), None, 0.01)


# -- before anything is built ------------------------------------------------------------------------------------------


def said(host: str) -> Provisioning:
    token = JoinToken(url=f"https://{host}:8443", host=host, port=8883, ca="a" * 64, secret="s" * 30)
    return Provisioning.model_validate({"version": 1, "gateway": {"name": "a"}, "cloud": {"token": token.text()}})


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "127.9.9.9"])
def test_a_cloud_that_a_guest_cannot_reach_is_refused(host: str) -> None:
    with pytest.raises(InvalidProvisioning, match="the guest itself"):
        check_reachable(said(host))


@pytest.mark.parametrize("host", ["10.0.2.2", "cloud.example", "192.0.2.7"])
def test_a_cloud_that_a_guest_can_reach_is_taken(host: str) -> None:
    check_reachable(said(host))


def test_a_board_that_qemu_cannot_be_needs_a_disk() -> None:
    with pytest.raises(BootFailed, match="no board that qemu can be"):
        machine_of(board("raspberry-pi-4"))


def test_what_is_missing_is_told_before_anything_is_built(tmp_path: Path) -> None:
    file = tmp_path / "gw.yaml"
    file.write_text("version: 1\ngateway: {name: gw-1}\n")
    out = tmp_path / "out"
    for words, why in (
        (("qemu-x86-64", "--provision", file, "--credentials", tmp_path / "none"), "none"),
        (("raspberry-pi-4", "--provision", tmp_path / "none"), "cannot be read"),
    ):
        done = command("hardware", "run", *words, "--out", out)
        assert done.returncode in (4, 5)
        assert why in done.stderr
        assert "Traceback" not in done.stderr
    assert not out.exists()


# -- qemu itself -------------------------------------------------------------------------------------------------------

AMD64 = MACHINES["amd64"]


@pytest.mark.skipif(
    not AMD64.code.exists() or not any((Path(one) / AMD64.program).exists() for one in os.get_exec_path()),
    reason=f"needs {AMD64.package}",
)
async def test_a_machine_is_stopped_whatever_ends_the_wait(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.write_bytes(bytes(2**20))
    guests: list[Guest] = []

    async def waits() -> None:
        async with booted(SPEC.board, disk, tmp_path, lambda _: None, kvm=tmp_path / "no-kvm") as guest:
            guests.append(guest)
            assert guest.process.returncode is None
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await waits()
    assert guests[0].process.returncode is not None
