"""What moved in the last minute is what was told in it."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from twin.model import Quality
from twin.show.pulse import SPAN_MS, Pulse
from twin.show.pulse_view import screen
from twin.wire.api import LeafBody, StatusReply, SyncBody, TwinBody

pytestmark = pytest.mark.fast

NOW_MS = 1_800_000_000_000


def status(updates: int = 0, *, started_at: int = NOW_MS, unsent: int = 0, **more: object) -> StatusReply:
    sync = SyncBody(state="offline" if unsent else "live", since=NOW_MS, unsent=unsent)
    parts = {
        "gateway": "gw-1",
        "version": "1",
        "pid": 1,
        "state_folder": "/x",
        "broker": "up",
        "twins": 2,
        "devices": 2,
    }
    return StatusReply.model_validate(
        {**parts, "started_at": started_at, "reports": updates // 2, "updates": updates, "sync": sync, **more}
    )


def twin(name: str, at: int = 1, *, delta: bool = False, **values: object) -> TwinBody:
    leaves = {key: LeafBody(value=value, at=at, quality=Quality.GOOD) for key, value in values.items()}
    return TwinBody(twin=f"device/plant/{name}", version=1, reported=leaves, delta={"level": 9} if delta else {})


def printed(pulse: Pulse, now_ms: int, rows: int = 30, trouble: str = "") -> str:
    out = Console(width=160, file=io.StringIO())
    out.print(screen(pulse, now_ms, rows, trouble))
    assert isinstance(out.file, io.StringIO)
    return out.file.getvalue()


def test_rates_are_differences_by_time():
    pulse = Pulse()
    for second, updates in enumerate((100, 110, 130)):
        pulse.status(status(updates), NOW_MS + second * 1000)
    assert [round(one.number, 3) for one in pulse.values_s()] == [10.0, 20.0]
    assert [round(one.number, 3) for one in pulse.reports_s()] == [5.0, 10.0]


def test_a_hub_that_started_anew_has_no_negative_rate():
    pulse = Pulse()
    pulse.status(status(1000), NOW_MS)
    pulse.status(status(3, started_at=NOW_MS + 500), NOW_MS + 1000)
    assert pulse.values_s() == []


def test_what_is_older_than_the_span_is_forgotten():
    pulse = Pulse()
    pulse.status(status(unsent=4), NOW_MS)
    pulse.status(status(unsent=2), NOW_MS + SPAN_MS + 1)
    assert [one.number for one in pulse.unsent()] == [2]


def test_what_moves_most_comes_first_and_what_was_there_at_the_start_has_not_moved():
    pulse = Pulse()
    pulse.twins([twin("a", level=1), twin("b", level=1)], (), NOW_MS, initial=True)
    pulse.twins([twin("b", 2, level=2)], (), NOW_MS + 1)
    pulse.twins([twin("b", 2, level=2)], (), NOW_MS + 2)  # told again, but no new reading
    assert [(one.twin, one.changes) for one in pulse.moving(NOW_MS + 3)] == [
        ("device/plant/b", 1),
        ("device/plant/a", 0),
    ]


def test_what_waits_for_its_device_comes_before_what_moves():
    pulse = Pulse()
    pulse.twins([twin("b", level=1)], (), NOW_MS, initial=True)
    for at in range(2, 9):
        pulse.twins([twin("b", at, level=at)], (), NOW_MS + at)
    pulse.twins([twin("a", level=1, delta=True)], (), NOW_MS, initial=True)
    first = pulse.moving(NOW_MS + 10)[0]
    assert (first.twin, first.waits, first.well) == ("device/plant/a", True, False)


def test_a_twin_that_is_gone_is_shown_no_longer():
    pulse = Pulse()
    pulse.twins([twin("a", level=1)], (), NOW_MS, initial=True)
    pulse.twins((), ["device/plant/a", "device/plant/never"], NOW_MS + 1)
    assert pulse.moving(NOW_MS + 2) == []


@pytest.mark.parametrize("rows", [1, 3, 10, 40])
def test_the_screen_is_never_higher_than_the_terminal_and_says_what_it_hides(rows):
    pulse = Pulse()
    pulse.status(status(5, unsent=7, alarms=["disk"]), NOW_MS)
    pulse.twins([twin(f"t{number}", level=number) for number in range(20)], (), NOW_MS, initial=True)
    text = printed(pulse, NOW_MS, rows=10 + rows)
    assert len(text.splitlines()) <= 10 + rows
    assert ("more" in text) == (rows < 20)
    assert "ALARM disk" in text
    assert "7 leaves" in text


def test_trouble_is_shown_beside_what_was_last_known():
    pulse = Pulse()
    pulse.status(status(5), NOW_MS)
    text = printed(pulse, NOW_MS, trouble="no answer: timed out")
    assert "no answer: timed out" in text
    assert "gw-1" in text
