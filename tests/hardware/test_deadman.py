"""A release on trial whose updater does not work is left; nothing else is."""

from __future__ import annotations

import itertools
import subprocess
from pathlib import Path

import pytest

from hardware.grubenv import NEW, TOOL, rendered
from hardware.image.deadman import SILENT_S, script

pytestmark = pytest.mark.fast
NOW_S = 5000


def starts_anew(folder: Path, *, slot: str = "B", alive: str | None = None, **state: str) -> bool:
    """Whether the script would start the machine anew."""
    (folder / "grubenv").write_bytes(rendered({**NEW, "A_OK": "1", "B_OK": "1", "SURE": "A", **state}))
    (folder / "tool").write_text(TOOL)
    (folder / "cmdline").write_text(f"root=PARTUUID=x ro quiet rauc.slot={slot}\n" if slot else "ro quiet\n")
    (folder / "uptime").write_text(f"{NOW_S}.33 9.1\n")
    (folder / "alive").unlink(missing_ok=True)
    if alive is not None:
        (folder / "alive").write_text(alive)
    at = {name: str(folder / name) for name in ("alive", "cmdline", "uptime")}
    text = script(str(folder / "grubenv"), str(folder / "tool"), **at, restart="echo started anew")
    done = subprocess.run(["sh", "-c", text], capture_output=True, text=True, timeout=10, check=False)
    assert done.returncode == 0, done.stderr
    return "started anew" in done.stdout


def test_a_release_on_trial_is_left_when_its_updater_is_silent_for_too_long(tmp_path: Path) -> None:
    assert starts_anew(tmp_path)
    assert starts_anew(tmp_path, alive=f"{NOW_S - SILENT_S}\n")
    assert not starts_anew(tmp_path, alive=f"{NOW_S - SILENT_S + 1}\n")
    assert starts_anew(tmp_path, alive="")  # it was cut off in the midst of writing
    assert starts_anew(tmp_path, alive="garbage\n")


def test_a_slot_that_is_sure_or_has_no_other_beside_it_is_never_left(tmp_path: Path) -> None:
    for slot, sure in itertools.product("AB", ("A", "B", "")):
        other = "A" if slot == "B" else "B"
        assert starts_anew(tmp_path, slot=slot, SURE=sure) is (slot != sure)
        assert not starts_anew(tmp_path, slot=slot, SURE=sure, **{f"{other}_OK": "0"})


def test_without_slots_or_their_state_nothing_is_done(tmp_path: Path) -> None:
    assert not starts_anew(tmp_path, slot="")
    text = script(str(tmp_path / "none"), str(tmp_path / "tool"), cmdline=str(tmp_path / "cmdline"), restart="echo x")
    (tmp_path / "cmdline").write_text("rauc.slot=A")
    done = subprocess.run(["sh", "-c", text], capture_output=True, text=True, timeout=10, check=False)
    assert (done.returncode, done.stdout) == (0, "")
