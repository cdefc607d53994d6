"""The state of the slots: what RAUC sets is what GRUB reads, and no write leaves half of it."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hardware.grubenv import BLOCK_BYTES, NEW, changed, main, parsed, read, rendered, write

pytestmark = pytest.mark.fast
VARIABLES = st.fixed_dictionaries(
    {
        **{name: st.sampled_from("01") for name in ("A_OK", "B_OK")},
        **{name: st.sampled_from("0123") for name in ("A_TRY", "B_TRY")},
        "ORDER": st.sampled_from(["A B", "B A"]),
        "SURE": st.sampled_from(["", "A", "B"]),
    }
)


@given(VARIABLES)
def test_what_was_written_is_read_again_and_lies_in_the_first_sector(variables: dict[str, str]) -> None:
    block = rendered(variables)
    assert parsed(block) == variables
    assert len(block) == BLOCK_BYTES
    assert set(block[512:]) == {ord("#")}


@given(VARIABLES, st.sampled_from("AB"))
def test_only_a_slot_that_is_marked_good_becomes_sure(variables: dict[str, str], slot: str) -> None:
    order = {"A": "A B", "B": "B A"}[slot]
    assert changed(variables, {f"{slot}_OK": "1", f"{slot}_TRY": "0"})["SURE"] == slot
    assert changed(variables, {f"{slot}_OK": "1", f"{slot}_TRY": "0", "ORDER": order})["SURE"] == variables["SURE"]


@given(VARIABLES, st.sampled_from("AB"))
def test_a_slot_that_is_written_to_is_not_sure_and_the_other_stays_what_it_was(
    variables: dict[str, str], slot: str
) -> None:
    after = changed(variables, {f"{slot}_OK": "0", f"{slot}_TRY": "0"})
    assert after["SURE"] == ("" if variables["SURE"] == slot else variables["SURE"])
    assert (after[f"{slot}_OK"], after[f"{slot}_TRY"]) == ("0", "0")
    other = "B" if slot == "A" else "A"
    assert after[f"{other}_OK"] == variables[f"{other}_OK"]


def test_too_much_is_refused_before_the_file_is_touched(tmp_path: Path) -> None:
    path = tmp_path / "grubenv"
    write(path, NEW)
    before = path.read_bytes()
    with pytest.raises(ValueError, match="one sector"):
        write(path, {**NEW, "LONG": "x" * 500})
    assert path.read_bytes() == before


@pytest.mark.parametrize("content", [b"", b"#" * 1024, b"\xff" * 1024, rendered(NEW)[:512]])
def test_a_block_that_cannot_be_read_is_that_of_a_new_image_and_is_mended_by_the_next_write(
    tmp_path: Path, content: bytes
) -> None:
    path = tmp_path / "grubenv"
    path.write_bytes(content)
    assert read(path) == NEW
    assert main([str(path), "set", "B_OK=1", "B_TRY=0"]) == 0
    assert parsed(path.read_bytes()) == {**NEW, "B_OK": "1", "SURE": "B"}


def test_it_answers_what_rauc_asks_and_nothing_else(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "grubenv"
    assert main([str(path), "set", "ORDER=B A", "B_OK=1", "B_TRY=0"]) == 0
    assert main([str(path), "list"]) == 0
    assert "ORDER=B A\n" in capsys.readouterr().out
    assert main([str(path), "unset", "ORDER"]) == 2
    assert main([str(tmp_path), "list"]) == 1


@pytest.mark.skipif(shutil.which("grub-editenv") is None, reason="needs grub-common")
def test_grubs_own_program_reads_it_the_same(tmp_path: Path) -> None:
    path = tmp_path / "grubenv"
    write(path, NEW)
    said = subprocess.run(["grub-editenv", path, "list"], capture_output=True, text=True, check=True, timeout=10)
    assert dict(line.split("=", 1) for line in said.stdout.splitlines()) == NEW
