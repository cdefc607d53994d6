"""The state of the slots: what RAUC sets is what GRUB reads, and no write leaves half of it."""

from __future__ import annotations

import itertools
import shutil
import subprocess
from pathlib import Path

import pytest

from hardware.grubenv import BLOCK_BYTES, NEW, TOOL, parsed, rendered

pytestmark = pytest.mark.fast


class Environment:
    """A file, and the image's program that changes it."""

    def __init__(self, folder: Path, variables: dict[str, str] | None = None) -> None:
        self.path = folder / "grubenv"
        if variables is not None:
            self.path.write_bytes(rendered(variables))
        self._tool = folder / "grub-editenv"
        self._tool.write_text(TOOL)

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        command = ["sh", self._tool, self.path, *words]
        return subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)

    def set(self, *pairs: str) -> dict[str, str]:
        done = self.run("set", *pairs)
        assert done.returncode == 0, done.stderr
        return parsed(self.path.read_bytes())


@pytest.fixture
def environment(tmp_path: Path) -> Environment:
    return Environment(tmp_path, NEW)


def test_what_was_written_is_read_again_and_lies_in_the_first_sector(environment: Environment) -> None:
    assert environment.set("ORDER=B A", "B_OK=1", "B_TRY=0") == {**NEW, "ORDER": "B A", "B_OK": "1"}
    block = environment.path.read_bytes()
    assert len(block) == BLOCK_BYTES
    assert set(block[512:]) == {ord("#")}
    assert environment.run("list").stdout.splitlines() == block.decode().rstrip("#").splitlines()[1:]


@pytest.mark.parametrize(("slot", "sure"), list(itertools.product("AB", ("", "A", "B"))))
def test_only_a_slot_that_is_marked_good_becomes_sure(tmp_path: Path, slot: str, sure: str) -> None:
    other = "B" if slot == "A" else "A"
    before = {**NEW, "SURE": sure, "A_OK": "0", "A_TRY": "2", "B_TRY": "3"}
    made_next = Environment(tmp_path, before).set(f"{slot}_OK=1", f"{slot}_TRY=0", f"ORDER={slot} {other}")
    assert made_next["SURE"] == sure
    marked_good = Environment(tmp_path, before).set(f"{slot}_OK=1", f"{slot}_TRY=0")
    assert marked_good == {**before, "SURE": slot, f"{slot}_OK": "1", f"{slot}_TRY": "0"}


@pytest.mark.parametrize(("slot", "sure"), list(itertools.product("AB", ("", "A", "B"))))
def test_a_slot_that_is_written_to_is_not_sure_and_the_other_stays_what_it_was(
    tmp_path: Path, slot: str, sure: str
) -> None:
    before = {**NEW, "SURE": sure, "B_OK": "1"}
    after = Environment(tmp_path, before).set(f"{slot}_OK=0", f"{slot}_TRY=0")
    assert after == {**before, "SURE": "" if sure == slot else sure, f"{slot}_OK": "0"}


def test_what_is_so_already_is_not_written_again(environment: Environment) -> None:
    environment.set("A_OK=1", "A_TRY=0")
    before = environment.path.stat().st_mtime_ns
    environment.set("A_OK=1", "A_TRY=0")
    assert environment.path.stat().st_mtime_ns == before


def test_too_much_is_refused_before_the_file_is_touched(environment: Environment) -> None:
    before = environment.path.read_bytes()
    assert environment.run("set", f"LONG={'x' * 500}").returncode == 1
    assert environment.path.read_bytes() == before


@pytest.mark.parametrize("content", [b"", b"#" * 1024, b"\xff" * 1024, b"ORDER=B A\n"])
def test_a_block_that_cannot_be_read_is_that_of_a_new_image_and_is_mended_by_the_next_write(
    tmp_path: Path, content: bytes
) -> None:
    environment = Environment(tmp_path)
    environment.path.write_bytes(content)
    listed = environment.run("list").stdout.splitlines()
    assert dict(line.split("=", 1) for line in listed) == NEW
    assert environment.set("B_OK=1", "B_TRY=0") == {**NEW, "B_OK": "1", "SURE": "B"}


def test_without_the_file_nothing_is_guessed(tmp_path: Path) -> None:
    environment = Environment(tmp_path)
    assert environment.run("list").returncode == 1
    assert environment.run("set", "A_OK=1").returncode == 1
    assert not environment.path.exists()


def test_it_does_nothing_else(environment: Environment) -> None:
    assert environment.run("unset", "ORDER").returncode == 2
    assert parsed(environment.path.read_bytes()) == NEW


@pytest.mark.skipif(shutil.which("grub-editenv") is None, reason="needs grub-common")
def test_grubs_own_program_reads_it_the_same(environment: Environment) -> None:
    environment.set("B_OK=1", "B_TRY=0")
    words = ["grub-editenv", environment.path, "list"]
    said = subprocess.run(words, capture_output=True, text=True, check=True, timeout=10)
    assert dict(line.split("=", 1) for line in said.stdout.splitlines()) == {**NEW, "B_OK": "1", "SURE": "B"}
