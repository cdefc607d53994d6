"""The keeper of the gateway's history, its settings, and what the command shows."""

import asyncio
import io
from concurrent.futures import ThreadPoolExecutor

import pytest

from edgehub.history import HistoryKeeper
from edgehub.settings import InvalidSettings, Settings, load_settings
from twin.clock import SystemClock
from twin.document import Slot
from twin.errors import InvalidMessage
from twin.history import HistoryQuery, Limits, Why
from twin.model import HistoryPolicy, Keep, Kind, PropertySpec, Quality, Reason, TwinKey, TwinSpec
from twin.show.readings import Span, _lines, _moment_ms, _write_csv
from twin.show.sparkline import BARS, sparkline
from twin.sqlite_history import SqliteHistory
from twin.sqlite_store import SqliteStore
from twin.store import Batch, KeptReading, TwinRow
from twin.wire.api import GapBody, HistoryReply, ReadingBody

pytestmark = pytest.mark.fast

KEY = TwinKey(Kind.DEVICE, "plant", "tank")
NOW_MS = 1_795_470_660_000


async def test_a_round_keeps_the_limits_and_lets_commits_in_between(tmp_path):
    store = SqliteStore(tmp_path / "state.db")
    store.open()
    spec = TwinSpec(KEY, "u", properties={"p": PropertySpec("p", history=HistoryPolicy(Keep.CHANGES))})
    readings = [KeptReading(1, "p", Slot(n * 1.5, n + 1, 0, "m", n)) for n in range(10_000)]
    store.write(Batch(twins={1: TwinRow(1, spec, 1)}, readings=readings))
    clock = SystemClock()
    history = SqliteHistory(tmp_path / "state.db", clock)
    history.open()
    with ThreadPoolExecutor(1) as executor:
        keeper = HistoryKeeper(history, Limits(20_000, 2**50, 0), clock, executor, tmp_path)
        async with asyncio.timeout(10):
            await keeper.round(age=True, flush=True)
    page = history.read(HistoryQuery(KEY, "u", "p", 0, 2**53, 10**9))
    assert 0 < len(page.readings) < 10_000
    assert len(page.readings) + sum(gap.readings for gap in page.gaps) == 10_000
    history.close()
    store.close()


def test_the_limits_come_from_the_settings():
    assert Settings().history.limits == Limits(134_217_728, 2_592_000_000, 67_108_864)
    said = {"EDGETWIN_HISTORY_MAX_BYTES": "1000", "EDGETWIN_HISTORY_MAX_AGE": "12h"}
    assert load_settings(None, said).settings.history.limits == Limits(1000, 43_200_000, 67_108_864)


@pytest.mark.parametrize("age", ["0s", "month", "367d", "-1d"])
def test_an_age_that_is_none_is_refused(age):
    with pytest.raises(InvalidSettings, match="EDGETWIN_HISTORY_MAX_AGE"):
        load_settings(None, {"EDGETWIN_HISTORY_MAX_AGE": age})


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("1h", NOW_MS - 3_600_000),
        ("7d", NOW_MS - 604_800_000),
        ("366d", NOW_MS - 31_622_400_000),
        ("2026-11-24T08:00:00Z", 1_795_507_200_000),
        ("2026-11-24T09:00:00.250+01:00", 1_795_507_200_250),
        ("2026-11-24T08:00", 1_795_507_200_000),
    ],
)
def test_a_moment_is_how_long_ago_or_a_time(text, moment):
    assert _moment_ms(text, NOW_MS, "--since") == moment


@pytest.mark.parametrize("text", ["yesterday", "1 h", "", "400d"])
def test_what_is_no_moment_is_refused_with_a_remedy(text):
    with pytest.raises(InvalidMessage, match="--since") as caught:
        _moment_ms(text, NOW_MS, "--since")
    assert "1h" in caught.value.remedy


def test_bars_rise_with_the_numbers_and_a_time_without_any_stays_empty():
    assert sparkline([(n * 10, n) for n in range(8)], 0, 80, 8) == BARS
    assert sparkline([(0, 1.0), (99, 2.0)], 0, 100, 4) == "▁  █"
    assert sparkline([(0, 1.0), (1, 3.0), (60, 2.0)], 0, 100, 2) == "▁▁"
    assert sparkline([(5, 7.0)], 0, 10, 2) == " ▁"
    assert sparkline([], 0, 10, 3) == "   "
    assert sparkline([(50, 1.0)], 0, 10, 3) == "   "


REPLY = HistoryReply(
    twin="device/plant/tank",
    property="level",
    unit="%",
    keep=Keep.CHANGES,
    readings=[
        ReadingBody(at=NOW_MS - 3000, value=1),
        ReadingBody(at=NOW_MS - 2000, value=2.123456789),
        ReadingBody(at=NOW_MS - 1000, value=2.123456789, quality=Quality.BAD, reason=Reason.TIMEOUT),
    ],
    gaps=[GapBody(since=NOW_MS - 9000, until=NOW_MS - 4000, count=7, why=Why.SPACE)],
)


def test_people_see_figures_rounded_with_the_unit_and_what_was_dropped():
    heading, bars, *lines = _lines(REPLY, Span(NOW_MS - 4000, NOW_MS))
    assert heading == (
        "plant/tank level, 2026-11-23T21:50:56.000Z to 2026-11-23T21:51:00.000Z (keeps changes, drops oldest)"
    )
    assert sorted(set(bars.strip())) == [" ", "▁", "█"]
    assert lines == [
        "  min 1 %, mean 1.74897 %, max 2.12346 %",
        "  last 2.12346 %, 2026-11-23T21:50:59.000Z  [bad: timeout]",
        "  3 readings, 1 of them not good",
        "  gap 2026-11-23T21:50:51.000Z to 2026-11-23T21:50:56.000Z: 7 readings dropped to make room",
    ]


def test_values_that_are_no_numbers_and_no_values_at_all_are_shown_too():
    text = [ReadingBody(at=NOW_MS, value="auto"), ReadingBody(at=NOW_MS, value=True)]
    lines = list(_lines(REPLY.model_copy(update={"readings": text, "gaps": []}), Span(0, NOW_MS)))
    assert lines[1:] == ["  last true %, 2026-11-23T21:51:00.000Z", "  2 readings"]
    assert list(_lines(HistoryReply(twin="device/a/b", property="p"), Span(0, NOW_MS)))[1:] == ["  0 readings"]


def test_csv_has_exact_values_and_gaps_in_their_place():
    out = io.StringIO()
    text = ReadingBody(at=NOW_MS, value='say "a,b"')
    _write_csv(REPLY.model_copy(update={"readings": [*REPLY.readings[1:], text]}), out)
    assert out.getvalue().splitlines() == [
        "time,value,unit,quality,reason,gap_until,gap_count",
        "2026-11-23T21:50:51.000Z,,,gap,space,2026-11-23T21:50:56.000Z,7",
        "2026-11-23T21:50:58.000Z,2.123456789,%,good,,,",
        "2026-11-23T21:50:59.000Z,2.123456789,%,bad,timeout,,",
        '2026-11-23T21:51:00.000Z,"say ""a,b""",%,good,,,',
    ]
