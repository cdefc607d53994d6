"""Limits of children: control groups of both versions as folders, resource limits in a real process."""

import subprocess
import sys
from pathlib import Path

import pytest

from edgehub.limits import Cell, Limits, confine
from mappers.sdk.confine import Confinement

LIMITS = Limits(memory_bytes=96 * 2**20, cpu=0.25)
MIB = 2**20


@pytest.fixture
def second(tmp_path: Path) -> Path:
    """A folder that looks like cgroup v2 does. No kernel is behind it: these tests are of names and texts."""
    (tmp_path / "cgroup.controllers").write_text("cpuset cpu io memory pids\n")
    return tmp_path


@pytest.fixture
def first(tmp_path: Path) -> Path:
    """The same for cgroup v1."""
    for name in ("memory", "cpu"):
        (tmp_path / name / "inside").mkdir(parents=True)
        (tmp_path / name / "cgroup.procs").write_text("")
    return tmp_path


def written(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in folder.iterdir() if path.is_file()}


@pytest.mark.fast
def test_the_second_version_of_control_groups(second):
    cell = confine("mapper.x", LIMITS, second, "0::/\n")
    assert cell.text == "cgroup v2: memory 96 MiB, cpu 0.25"
    (folder,) = cell.folders
    assert written(folder) == {
        "memory.max": str(96 * MIB), "memory.swap.max": "0", "cpu.max": "25000 100000",
    }  # fmt: skip
    assert (second / "cgroup.subtree_control").read_text() == "+memory +cpu"
    assert cell.confinement == Confinement(enter=(str(folder / "cgroup.procs"),))
    (folder / "memory.events").write_text("low 0\nmax 12\noom 2\noom_kill 2\n")
    assert cell.oom_kills() == 2


@pytest.mark.fast
@pytest.mark.parametrize(
    ("own", "below"), [("4:memory:/inside\n1:cpu:/\n", "inside"), ("4:memory:/gone\n1:cpu:/\n", "")]
)
def test_the_first_version_of_control_groups(first, own, below):
    cell = confine("mapper.x", LIMITS, first, own)
    assert cell.text == "cgroup v1: memory 96 MiB, cpu 0.25"
    memory, cpu = cell.folders
    assert memory.parent.parent == first / "memory" / below
    assert cpu.parent.parent == first / "cpu"
    assert written(memory)["memory.limit_in_bytes"] == str(96 * MIB)
    assert written(cpu) == {"cpu.cfs_period_us": "100000", "cpu.cfs_quota_us": "25000"}
    (memory / "memory.oom_control").write_text("oom_kill_disable 0\nunder_oom 0\noom_kill 1\n")
    assert cell.oom_kills() == 1


@pytest.mark.fast
def test_without_control_groups_resource_limits_hold(tmp_path):
    cell = confine("mapper.x", LIMITS, tmp_path, "")
    assert cell == Cell(
        "resource limits: data 96 MiB, nice 10 in place of cpu 0.25", Confinement(memory_bytes=96 * MIB, nice=10)
    )
    assert cell.oom_kills() == 0
    cell.close()


@pytest.mark.fast
def test_groups_that_cannot_be_written_are_none(second):
    (second / "cgroup.subtree_control").mkdir()
    assert confine("mapper.x", LIMITS, second, "").text.startswith("resource limits")


def test_a_process_that_took_on_resource_limits_gets_no_more_memory():
    program = """
import os
from mappers.sdk.confine import Confinement, take_on
take_on(Confinement(memory_bytes=128 * 2**20, nice=10))
small = bytearray(16 * 2**20)
print(os.nice(0))
large = bytearray(256 * 2**20)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=False)
    assert done.stdout == "10\n"
    assert "MemoryError" in done.stderr
