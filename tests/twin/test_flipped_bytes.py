"""Bytes that the disk has changed: whatever is harmed is noticed, and no value is ever served that nobody wrote.

Every round flips, zeroes or cuts a copy of one store at a place drawn from the seed that the failure names.
"""

import random
import shutil
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pytest

from twin.document import DELETED, Slot
from twin.errors import StoreCorrupt
from twin.model import Kind, PropertySpec, Quality, Reason, Site, TwinKey, TwinSpec
from twin.sqlite_store import SqliteStore
from twin.store import Batch, NoteKey, TwinRow

pytestmark = pytest.mark.fast

VALUES = [0, 1, -7, 2**40, 0.0, 23.456, -1e300, "off", "ä long text " * 9, True, None, [1, {"a": 2.5}], DELETED]
COMMITS = 8
TORTURE = [pytest.mark.torture, pytest.mark.timeout(1200)]


def batch_of(commit):
    """Everything that a store keeps, with other values in each commit."""
    tick = 1_700_000_000_000_000 + commit * 1_000_000
    batch = Batch()
    for twin in range(1, 9):
        properties = {f"p{n}": PropertySpec(f"p{n}", unit="bar") for n in range(6)}
        key = TwinKey(Kind.DEVICE, "plant", f"tank-{twin}")
        spec = TwinSpec(key, f"uid-{twin}", "tank", labels=(("area", f"hall-{commit}"),), properties=properties)
        batch.twins[twin] = TwinRow(twin, spec, commit)
        batch.versions[twin] = commit + 1
        for number in range(6):
            tick += 1000
            value = VALUES[(commit + twin * 5 + number) % (len(VALUES) - 1)]
            mark = (Quality.BAD, Reason.TIMEOUT)
            batch.reported[twin, f"p{number}"] = Slot(value, tick, 0, "modbus", tick // 1000, *mark)
            value = VALUES[(commit * 3 + number) % len(VALUES)]
            site = Site.EDGE if number % 2 else Site.CLOUD
            batch.desired[twin, f"p{number}", site] = Slot(value, tick + 1, tick, "cli", tick // 1000)
    batch.tick = tick + 1
    batch.cursors[Site.CLOUD] = tick
    batch.runs[Site.EDGE, f"run-{commit}"] = tick
    batch.runs[Site.CLOUD, f"peer-{commit}"] = tick
    batch.notes = {NoteKey("aws", f"note-{number}"): f"version {commit}" for number in range(20)}
    return batch


def filled(path, in_log):
    """Fill a store; its contents after each commit, of which the last so many are in the log only, as after a kill."""
    store = SqliteStore(path)
    store.open()
    history = []
    for commit in range(COMMITS):
        store.write(batch_of(commit))
        history.append(contents(store))
        if commit == COMMITS - 1 - in_log:
            store._renew_log(store._db)
    files = [path, path.with_name(f"{path.name}-wal")]
    as_killed = {one: one.read_bytes() for one in files}
    store.close()
    for one, content in as_killed.items():
        one.write_bytes(content)
    return history


@dataclass
class Held:
    """All that a store holds, place by place."""

    tick: int
    twins: dict
    leaves: dict
    rows: dict
    notes: dict
    labels: list
    runs: dict
    cursors: dict


def contents(store):
    twins, tick = store.load()
    keys = {row.id: row.spec for row in twins}
    leaves = {
        (keys[at.twin].key, keys[at.twin].uid, at.section, at.property, at.site): repr(slot)
        for at, slot, _ in store.leaves()
    }
    rows = {row[:5]: repr(row.slot) for site in Site for row in store.rows_after(site, 0, 10_000)}
    feed = store.feed()
    runs = {(site, run.id): run.first for site in Site for run in feed.runs[site]}
    labels = store._db.execute("SELECT twin, name, value FROM label ORDER BY twin, name").fetchall()
    return Held(
        tick, {row.id: row for row in twins}, leaves, rows, store.notes("aws"), labels, runs, dict(feed.cursors)
    )


@dataclass
class Original:
    """A store that is whole, and what it held after each commit."""

    folder: Path
    history: list

    def opened_with(self, folder, name, content):
        """Put the store into a folder with one file harmed, and open it: what it holds, and what it says is lost."""
        for one in ("state.db", "state.db-wal", "state.db-shm"):
            (folder / one).unlink(missing_ok=True)
            if (self.folder / one).exists():
                shutil.copy(self.folder / one, folder)
        (folder / name).write_bytes(content)
        store = SqliteStore(folder / "state.db")
        store.open()
        try:
            return contents(store), store.lost
        finally:
            store.close()


@pytest.fixture(scope="module")
def closed(tmp_path_factory):
    """All in the database file."""
    folder = tmp_path_factory.mktemp("closed")
    return Original(folder, filled(folder / "state.db", in_log=0))


@pytest.fixture(scope="module")
def killed(tmp_path_factory):
    """Six of eight commits in the log."""
    folder = tmp_path_factory.mktemp("killed")
    return Original(folder, filled(folder / "state.db", in_log=6))


def harm(content, rng):
    """Change one place: a bit, a byte, a run of bytes; seldom a sector."""
    at = rng.randrange(len(content))
    kind = rng.random()
    if kind < 0.5:
        content[at] ^= 1 << rng.randrange(8)
    elif kind < 0.8:
        content[at] = rng.randrange(256)
    elif kind < 0.95:
        end = min(len(content), at + rng.randrange(1, 9))
        content[at:end] = rng.randbytes(end - at)
    else:
        content[at & ~511 : (at & ~511) + 512] = bytes(512)
    return at


def tried(original, folder, name, rounds, verdict):
    """Harm a file in many ways; how often each verdict came out."""
    whole = (original.folder / name).read_bytes()
    seen = Counter()
    for seed in range(rounds):
        rng = random.Random(seed)
        content = bytearray(whole)
        at = harm(content, rng)
        try:
            try:
                held, lost = original.opened_with(folder, name, content)
            except StoreCorrupt:
                seen["set aside"] += 1
            else:
                seen[verdict(original.history, held, lost)] += 1
        except Exception as error:
            error.add_note(f"seed {seed}, byte {at} of {name}")
            raise
    return seen


def of_the_file(history, held, lost):
    """What of a harmed database file is served is the newest, and what is missing is named."""
    last = history[-1]
    if not lost:
        assert held == last
        return "harmless"
    missing = last.rows.items() - held.rows.items()
    assert len(missing) <= len(lost)
    assert held.rows.items() <= last.rows.items()
    assert held.leaves == held.rows
    assert held.notes.items() <= last.notes.items()
    assert (held.twins, held.labels) == (last.twins, last.labels)
    assert all(first in (0, last.runs[run]) for run, first in held.runs.items() if run in last.runs)
    assert all(cursor in (0, last.cursors[site]) for site, cursor in held.cursors.items())
    assert held.tick in (0, last.tick)
    return "mended"


def of_the_log(history, held, lost):
    """A harmed log leaves the state after some commit, whole; if that is not the last, it is said."""
    assert held in history
    if held == history[-1]:
        return "harmless"
    assert "commits of the log" in lost[0]
    return "mended"


@pytest.mark.parametrize("rounds", [200, pytest.param(8000, marks=TORTURE)])
def test_of_a_harmed_database_file_only_what_was_written_is_served(closed, tmp_path, rounds):
    seen = tried(closed, tmp_path, "state.db", rounds, of_the_file)
    assert min(seen["mended"], seen["set aside"], seen["harmless"]) > 0, seen


@pytest.mark.parametrize("rounds", [200, pytest.param(8000, marks=TORTURE)])
def test_of_a_harmed_log_whole_commits_are_served_and_lost_ones_are_said(killed, tmp_path, rounds):
    seen = tried(killed, tmp_path, "state.db-wal", rounds, of_the_log)
    assert min(seen["mended"], seen["harmless"]) > 0, seen


@pytest.mark.parametrize("cut", [0, 1, 100, 4095, 4096, 4097, 0.3, 0.5, 0.9])
def test_a_database_file_cut_short_is_set_aside(closed, tmp_path, cut):
    whole = (closed.folder / "state.db").read_bytes()
    kept = int(len(whole) * cut) if isinstance(cut, float) else cut
    if kept == 0:  # an empty file is a new store to SQLite; there is nothing in it that could be wrong
        held, _ = closed.opened_with(tmp_path, "state.db", b"")
        assert held.twins == {}
        return
    with pytest.raises(StoreCorrupt):
        closed.opened_with(tmp_path, "state.db", whole[:kept])


def test_a_log_cut_short_leaves_the_state_after_a_commit(killed, tmp_path):
    whole = (killed.folder / "state.db-wal").read_bytes()
    for kept in range(0, len(whole), 1111):
        held, _ = killed.opened_with(tmp_path, "state.db-wal", whole[:kept])
        assert held in killed.history


def test_the_rounds_notice_a_store_that_does_not_look_at_checksums(closed, tmp_path, monkeypatch):
    monkeypatch.setattr("twin.sqlite_store.leaf_fits", lambda row: True)
    with pytest.raises(AssertionError, match="Differing attributes"):
        tried(closed, tmp_path, "state.db", 200, of_the_file)
