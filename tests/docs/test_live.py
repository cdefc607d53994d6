"""What the pages say to type is typed: beside a running demo, and without a hub."""

from __future__ import annotations

import importlib
import json
import os
import pty
import re
import select
import shlex
import shutil
import subprocess
import sys
import termios
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from edgehub.cli import application
from mappers.sdk import NotConnected, Point, Reason, ValueType, WriteRefused
from tests.docs.reader import Reader

BESIDE_THE_DEMO = (
    *("get", "set", "explain", "history", "status", "watch", "diff", "account", "check-config", "query", "mesh", "top"),
)


TYPED_WHOLE = ("docs/kubeedge-cluster", "docs/mapper-tutorial", "docs/cookbook")
"""Pages that tests of their own type from top to bottom."""
CLIENTS = ("mosquitto_pub", "mosquitto_sub", "mosquitto_rr", "curl")
needs_clients = pytest.mark.skipif(
    not all(map(shutil.which, CLIENTS)), reason="mosquitto-clients are not here; tools/peers.sh installs them as root"
)


@pytest.mark.timeout(300)  # they are many
def test_every_command_of_the_pages_runs_beside_the_demo(pages, demo):
    tried, wrong = set(), []
    for one in pages.command_lines():
        environment, words = split_environment(shlex.split(one.line))
        if words[:1] not in (["edgetwin"], ["./edgetwin"]) or not is_safe(words):
            continue
        if one.place.startswith(TYPED_WHOLE):
            continue
        line = one.line.removeprefix("./")
        if line in tried and not one.output.startswith("error:"):
            continue
        tried.add(line)
        done = demo.run(*words[1:], timeout_s=2.0 if words[1] == "watch" else 30.0, **environment)
        wanted = {4} if one.output.startswith("error:") else {0, 1} if words[1] == "diff" else {0}
        if done.returncode not in wanted or "Traceback" in done.stderr:
            wrong.append(f"{one.place}: {one.line}: exit {done.returncode}\n{done.stdout}{done.stderr}")
        if 4 in wanted and words[1] != "set" and done.stderr != one.output:
            wrong.append(f"{one.place}: {one.line}: the error differs\n{done.stderr}")
    assert wrong == []
    assert len(tried) > 15


def test_the_columns_that_the_pages_show_are_those_of_the_table(pages, demo):
    (header, *rows) = demo.run("get", "plant/cooler").stdout.splitlines()
    shown = [
        block.text
        for page in pages
        for block in page.blocks
        if "TWIN  " in block.text and "LAST MINUTE" not in block.text
    ]
    assert len(shown) >= 2
    for text in shown:
        line = next(line for line in text.splitlines() if line.startswith("TWIN "))
        assert line.split() == header.split()
    listed = pages["docs/cli.md"].text
    assert all(f"plant/cooler  {row.split()[1]} " in listed for row in rows)


def test_the_mappers_that_the_page_lists_are_installed(pages, edgetwin):
    (shown,) = [one.output for one in pages.command_lines() if one.line == "./edgetwin mapper list"]
    listed = [line.split() for line in edgetwin("mapper", "list").stdout.splitlines()]
    assert len(shown.splitlines()) > 2
    assert [line for line in shown.splitlines() if line.split() not in listed] == []


def test_a_new_mapper_is_written_as_the_page_shows(pages, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shown = [one for one in pages.command_lines() if " mapper new " in one.line and one.place.startswith("docs/cli")]
    assert len(shown) == 2
    for one in shown:
        words = shlex.split(one.line)[1:]
        done = CliRunner().invoke(application(words), words)
        assert done.stdout + done.stderr == one.output


def test_documents_are_applied_and_deleted_without_a_hub(pages, edgetwin):
    tried = 0
    for one in pages.command_lines():
        words = shlex.split(one.line)
        if words[:1] == ["./edgetwin"] and words[1] in ("apply", "delete") and not one.place.startswith(TYPED_WHOLE):
            tried += 1
            done = edgetwin(*words[1:])
            assert done.returncode == 0, done.stderr
            for line in one.output.splitlines():
                assert line.replace("created", "") in done.stdout.replace("unchanged", ""), one.line
    assert tried >= 4


def test_one_reading_goes_up_and_one_desired_value_down(pages, root):
    done = run_example(root, "one_reading.py")
    assert done.returncode == 0, done.stderr
    assert done.stdout in [block.text for block in pages["docs/one-reading.md"].blocks]


def test_two_sites_agree_as_the_page_shows(pages, root):
    done = run_example(root, "two_sites.py")
    assert done.returncode == 0, done.stderr
    assert done.stdout in [block.text for block in pages["docs/sync.md"].blocks]


@pytest.mark.parametrize(
    ("device", "command", "shown", "follows"),
    [
        ("plant/panel", "lamp=true", "light", lambda light: light > 50),
        ("plant/press", "run=false", "actual-speed", lambda speed: speed < 15),
        ("plant/cooler", "fan=100", "fan-speed", lambda speed: speed > 2000),
    ],
)
def test_a_command_to_a_device_of_each_protocol_has_its_effect(demo, device, command, shown, follows):
    assert demo.run("set", device, command).returncode == 0
    deadline_s = time.monotonic() + 30
    while True:
        (twin,) = json.loads(demo.run("get", device, "--json").stdout)["twins"]
        if follows(twin["reported"][shown]["value"]):
            return
        assert time.monotonic() < deadline_s, twin["reported"][shown]
        time.sleep(0.2)


def test_the_room_is_measured_over_bluetooth(demo):
    (twin,) = json.loads(demo.run("get", "plant/room", "--json").stdout)["twins"]
    assert twin["reported"]["battery"]["value"] == 87
    assert 15 < twin["reported"]["temperature"]["value"] < 30


def test_a_program_with_an_account_of_its_own_follows_the_tank(root, demo):
    made = json.loads(demo.run("account", "create", "follower", "--json").stdout)
    host, port = json.loads(demo.run("status", "--json").stdout)["broker"].split()[0].split(":")
    done = run_example(root, "follow_tank.py", host, port, made["account"], made["password"])
    assert (done.returncode, done.stdout) == (0, "the valve is at 35.0\n"), done.stderr


@needs_clients
def test_the_cookbook_of_the_cloud_gives_what_it_shows(pages, demo, root, tmp_path):
    cloud = demo.state / "cloud"
    ports = json.loads((cloud / "demo-ports.json").read_text())
    known = {"EDGETWIN_CLOUD_STATE": str(cloud), "EDGETWIN_CLOUD_CONFIG": str(cloud / "edgetwin-cloud.yaml")}
    here = {"-p 8884": f"-p {ports['APPS']}", ":8443": f":{ports['WEB']}"}
    Reader(demo.state, tmp_path, known, here).read(pages["docs/cookbook.md"])
    done = run_example(root, "cookbook.py", str(tmp_path / "notebook.json"))
    assert (done.returncode, done.stdout) == (0, "warm: tank\nthe valve is at 35.0\n"), done.stderr


def test_top_fills_a_terminal_and_q_gives_it_back(demo):
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(ours, (30, 140))
    before = termios.tcgetattr(theirs)
    with subprocess.Popen(
        [sys.executable, "-c", "from edgehub.cli import main; main()", "top", "--namespace", "plant"],
        env={**os.environ, "EDGETWIN_STATE": str(demo.state), "TERM": "xterm"},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    ) as process:
        try:
            seen = read_until(ours, b"plant/tank")
            assert "values" in seen.decode()
            os.write(ours, b"q")
            read_until(ours, b"\x1b[?1049l")  # the screen of before
            assert process.wait(timeout=30) == 0
        finally:
            process.kill()
    assert termios.tcgetattr(theirs) == before
    os.close(ours)
    os.close(theirs)


async def test_the_file_mapper_reads_writes_and_says_what_is_wrong(root, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(root / "docs/examples")
    module = importlib.import_module("file_mapper")
    (tmp_path / "zone0").mkdir()
    (tmp_path / "zone0/temp").write_text("41500\n")
    (tmp_path / "zone0/name").write_text("acpitz\n")
    driver = module.MAPPER.driver(module.FileConnection(root=tmp_path))
    device = module.FileDevice(folder="zone0")
    points = [
        Point(name, ValueType.FLOAT, module.FilePoint(file=file))
        for name, file in (("temperature", "temp"), ("word", "name"), ("none", "absent"))
    ]
    await driver.connect()
    readings = await driver.read(driver.plan(device, points))
    assert readings.values == {"temperature": 41500.0}
    assert {name: fault.reason for name, fault in readings.faults.items()} == {
        "word": Reason.DECODE_ERROR,
        "none": Reason.ILLEGAL_ADDRESS,
    }
    await driver.write(device, points[0], 12)
    assert (tmp_path / "zone0/temp").read_text() == "12"
    await driver.close()
    with pytest.raises(WriteRefused):
        await driver.write(module.FileDevice(folder="gone"), points[0], 1)
    with pytest.raises(NotConnected):
        await module.MAPPER.driver(module.FileConnection(root=tmp_path / "gone")).connect()


def read_until(descriptor: int, words: bytes) -> bytes:
    said = b""
    deadline_s = time.monotonic() + 60
    while words not in said:
        ready, _, _ = select.select([descriptor], [], [], max(0.0, deadline_s - time.monotonic()))
        assert ready, f"{words!r} did not come: {said!r}"
        said += os.read(descriptor, 65536)
    return said


def is_safe(words: list[str]) -> bool:
    named = [word for word in words if word.startswith(("meter", "garden/"))]  # no demo has one
    if words[1] == "mapper":
        return words[2] in ("list", "schema", "check", "simulate")  # the others have tests of their own
    if words[1:3] == ["mesh", "flush"]:
        return "--dry-run" in words and os.geteuid() == 0
    return words[1] in BESIDE_THE_DEMO and not named


def split_environment(words: list[str]) -> tuple[dict[str, str], list[str]]:
    environment = {}
    while words and (match := re.fullmatch(r"(EDGETWIN_[A-Z_]+)=(.*)", words[0])):
        environment[match[1]] = match[2]
        words = words[1:]
    return environment, words


def run_example(root: Path, name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(root / "docs/examples" / name), *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
