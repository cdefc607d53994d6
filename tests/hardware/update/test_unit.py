"""What systemd says of a hub that has ended, and of one that has not."""

from __future__ import annotations

import pytest

from hardware.update.unit import Life, read_life

pytestmark = pytest.mark.fast


def shown(**changed: str) -> str:
    said = {"LoadState": "loaded", "SubState": "running", "Result": "success", "ExecMainStatus": "0", "NRestarts": "0"}
    return "".join(f"{key}={value}\n" for key, value in {**said, **changed}.items())


def test_one_that_runs_or_starts_has_not_ended() -> None:
    assert read_life(shown()) == Life()
    assert read_life(shown(SubState="start", NRestarts="2")) == Life(restarts=2)


@pytest.mark.parametrize("sub", ["auto-restart", "failed"])
def test_one_that_waits_for_its_next_start_has_ended_with_its_exit_code(sub: str) -> None:
    life = read_life(shown(SubState=sub, Result="exit-code", ExecMainStatus="3", NRestarts="1"))
    assert life == Life("its hub ended: exit-code, exit code 3", 1)


@pytest.mark.parametrize("text", ["", "garbage", shown(LoadState="not-found"), shown(NRestarts="[not set]")])
def test_of_a_hub_that_systemd_does_not_run_nothing_is_said(text: str) -> None:
    assert read_life(text) == Life()
