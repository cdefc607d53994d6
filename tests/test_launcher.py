"""The launcher in the root: finds the environment beside itself and the running demo."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from edgehub.state import CliAccess, StateFolder

ROOT = Path(__file__).resolve().parents[1]


def test_the_launcher_says_what_to_do_without_an_environment(tmp_path):
    launcher = tmp_path / "tree" / "edgetwin"
    launcher.parent.mkdir()
    launcher.write_bytes((ROOT / "edgetwin").read_bytes())
    ended = run_launcher(launcher, tmp_path)
    assert ended.returncode == 1
    assert "make demo" in ended.stderr


@pytest.mark.parametrize(
    ("command", "demo", "expected"),
    [
        ("get", "runs", "demo"),
        ("get", "killed", "none"),
        ("get", "never", "none"),
        ("demo", "never", "demo"),
        ("run", "runs", "none"),
    ],
)
def test_the_launcher_finds_the_demo_through_a_link_from_anywhere(tmp_path, command, demo, expected):
    tree = tmp_path / "a tree"
    stub = tree / ".venv/bin/edgetwin"
    stub.parent.mkdir(parents=True)
    stub.write_text('#!/bin/sh\necho "${EDGETWIN_STATE:-none} $*"\n', encoding="utf-8")
    stub.chmod(0o755)
    (tree / "edgetwin").write_bytes((ROOT / "edgetwin").read_bytes())
    if demo != "never":
        folder = StateFolder(tree / ".state/demo")
        folder.make()
        pid = os.getpid() if demo == "runs" else ended_pid()
        CliAccess(host="127.0.0.1", port=1883, account="cli", password="", pid=pid).write(folder)
    link = tmp_path / "link"
    link.symlink_to(tree / "edgetwin")
    state = {"demo": f"{tree}/.state/demo", "none": "none"}[expected]
    assert run_launcher(link, tmp_path, command, "x y").stdout == f"{state} {command} x y\n"


def test_the_launcher_keeps_the_state_that_the_user_names(tmp_path):
    stub = tmp_path / ".venv/bin/edgetwin"
    stub.parent.mkdir(parents=True)
    stub.write_text('#!/bin/sh\necho "$EDGETWIN_STATE"\n', encoding="utf-8")
    stub.chmod(0o755)
    (tmp_path / "edgetwin").write_bytes((ROOT / "edgetwin").read_bytes())
    ended = run_launcher(tmp_path / "edgetwin", tmp_path, "demo", EDGETWIN_STATE="/mine")
    assert ended.stdout == "/mine\n"


def ended_pid() -> int:
    with subprocess.Popen(["true"]) as process:
        process.wait()
    return process.pid


def run_launcher(launcher: Path, cwd: Path, *args: str, **environment: str) -> subprocess.CompletedProcess[str]:
    env = {"PATH": os.environ["PATH"]} | environment
    command = ["/bin/sh", str(launcher), *args]
    return subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, timeout=30, check=False)
