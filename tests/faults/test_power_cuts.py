"""The power is cut under a writer on ext4 and XFS: what was acknowledged is there, and every file is whole.

Needs root, for mounting. Two cuts for each in `make test`, forty in `make torture`. The careless writers show that the
cut is one: without fsync it loses what was acknowledged.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ROUNDS = [2, pytest.param(40, marks=[pytest.mark.torture, pytest.mark.timeout(900)])]
pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="cutting the power of a file system needs root")


@pytest.fixture(params=["ext4", "xfs"])
def cut(request, tmp_path):
    """Cut so many times: acknowledged, lost, broken."""
    kind = request.param
    if shutil.which(f"mkfs.{kind}", path=os.environ["PATH"] + ":/usr/sbin") is None:
        pytest.skip(f"mkfs.{kind} is not installed: apt-get install xfsprogs e2fsprogs")

    def make(what, rounds, seed, *careless):
        program = [sys.executable, "-m", "tests.faults.power_cut", str(tmp_path), kind, what, str(rounds), str(seed)]
        done = subprocess.run(
            ["unshare", "-m", "--propagation", "private", *program, *careless],
            cwd=ROOT,
            env={**os.environ, "PATH": os.environ["PATH"] + ":/usr/sbin:/sbin"},
            capture_output=True,
            text=True,
            timeout=800,
            check=False,
        )
        if "failed to setup loop device" in done.stderr or "unshare failed" in done.stderr:
            pytest.skip(f"no file system can be mounted here: {done.stderr.strip()}")
        assert done.returncode == 0, f"seed {seed}\n{done.stdout}{done.stderr}"
        return json.loads(done.stdout)

    yield make
    (tmp_path / "image").unlink(missing_ok=True)


@pytest.mark.parametrize("what", ["twins", "registry"])
@pytest.mark.parametrize("rounds", ROUNDS)
def test_a_power_cut_loses_nothing_that_was_acknowledged(cut, what, rounds):
    seed = rounds
    outcome = cut(what, rounds, seed)
    assert outcome["acknowledged"] >= rounds
    assert (outcome["lost"], outcome["broken"]) == (0, []), f"seed {seed}"


@pytest.mark.parametrize(("what", "rounds"), [("twins", 2), pytest.param("registry", 4, marks=pytest.mark.torture)])
def test_a_writer_that_does_not_wait_for_the_disk_is_found_out(cut, what, rounds):
    outcome = cut(what, rounds, 1, "careless")
    assert outcome["lost"] > 0 or outcome["broken"]
