"""Tier 2, opt-in (make test-vm): one command from a board's name to its first report in the cloud."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from hardware.boards import board
from hardware.errors import BootFailed
from hardware.image.cli import TREE
from hardware.run.qemu import GUEST_SEES_HOST, machine_of
from tests.cloudsync.process import CloudProcess
from tests.e2e.sync_site import devices

BOARD = "qemu-x86-64"


def missing() -> str:
    try:
        machine_of(board(BOARD))
    except BootFailed as error:
        return error.message
    return ""


pytestmark = [
    pytest.mark.vm,
    pytest.mark.timeout(1800),
    pytest.mark.skipif(os.geteuid() != 0, reason="an image is built by root"),
    pytest.mark.skipif(bool(missing()), reason=missing()),
]


def test_one_command_makes_a_gateway_that_is_in_the_cloud(tmp_path: Path) -> None:
    cloud = CloudProcess(tmp_path / "cloud", EDGETWIN_CLOUD_PUBLIC_HOST=GUEST_SEES_HOST)
    cloud.run("cloud", "init")
    cloud.start()
    try:
        token = cloud.json("cloud", "token", "create", "--gateway", "gw-1")["token"]
        file, admin = tmp_path / "gw-1.yaml", tmp_path / "admin.json"
        said = {
            "version": 1,
            "gateway": {"name": "gw-1"},
            "settings": {"cloud": {"first_delay": "0s"}},
            "cloud": {"token": token},
            "devices": devices("tank-1"),
        }
        file.write_text(json.dumps(said))
        admin.write_text((cloud.folder / "admin.json").read_text().replace(GUEST_SEES_HOST, "127.0.0.1"))
        admin.chmod(0o600)
        words = ("hardware", "run", BOARD, "--provision", file, "--credentials", admin, "--out", tmp_path / "out")
        line = [sys.executable, "-c", "from edgehub.cli import main; main()", *map(str, words)]
        environment = {**os.environ, "SOURCE_DATE_EPOCH": "1700000000"}
        done = subprocess.run(
            [*line, "--cache", str(TREE / ".cache/images"), "--once", "--json", "--wait", "15m"],
            capture_output=True,
            text=True,
            timeout=1700,
            check=False,
            env=environment,
        )
        assert done.returncode == 0, done.stderr
        told = json.loads(done.stdout.splitlines()[-1])
        assert (told["gateway"], told["twin"]) == ("gw-1", "device/plant/tank-1")
        print(f"run, seconds: {told['seconds']}")  # noqa: T201 - for who runs it

        # A second time nothing is built; Ctrl-C while it waits ends the virtual machine with it.
        file.write_text(json.dumps({**said, "cloud": {"token": cloud.json("cloud", "token", "create")["token"]}}))
        again = subprocess.Popen(
            [*line, "--cache", str(TREE / ".cache/images")], stderr=subprocess.PIPE, text=True, env=environment
        )
        assert again.stderr is not None
        lines = []
        for told_line in again.stderr:
            lines.append(told_line)
            if "qemu runs" in told_line:
                break
        assert not any("partitions" in one for one in lines), lines
        again.send_signal(signal.SIGINT)
        again.wait(30)
        again.stderr.close()
        disk = tmp_path / "out" / f"{BOARD}.disk.img"
        assert str(disk) not in subprocess.run(["ps", "-ww", "ax"], capture_output=True, text=True, check=True).stdout
    finally:
        cloud.stop()
