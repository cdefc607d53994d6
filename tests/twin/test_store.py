"""What every store promises, and what SQLite's own must do besides. A further store joins by a fixture parameter."""

import sqlite3
import stat
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from twin.document import DELETED, Slot
from twin.errors import StoreCorrupt, StoreError, StoreTooNew
from twin.model import Kind, Quality, Reason, Section, Site, TwinKey, TwinSpec
from twin.sqlite_store import SqliteStore
from twin.store import Batch, LeafKey, NoteKey, TwinRow

pytestmark = pytest.mark.fast

GOLDEN = Path(__file__).parents[1] / "golden" / "store" / "v1.db"

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**30), 10**30)
    | st.sampled_from([1.0, -0.0, 1e308, 5e-324])
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)


BIG = [2**63 - 1, 2**63, -(2**63) + 1, -(2**63), 2**64, 10**400]


def make_sqlite(folder):
    def open_again():
        store = SqliteStore(folder / "state.db")
        store.open()
        return store

    return open_again


@pytest.fixture(params=[pytest.param(make_sqlite, id="sqlite")])
def open_store(request, tmp_path):
    """Call it for a store over the same place, opened anew; the one before is closed."""
    opened = []
    make = request.param(tmp_path)

    def open_again():
        if opened:
            opened.pop().close()
        opened.append(make())
        return opened[-1]

    yield open_again
    if opened:
        opened.pop().close()


def row(number, name="tank", uid="u1", version=1, **more):
    return TwinRow(number, TwinSpec(TwinKey(Kind.DEVICE, "plant", name), uid, **more), version)


def everything(store):
    twins, tick = store.load()
    return twins, tick, sorted(((at, version), slot) for at, slot, version in store.leaves())


# -- the contract ------------------------------------------------------------------------------------------------------


def test_a_new_store_is_empty(open_store):
    assert everything(open_store()) == ([], 0, [])


def test_notes_are_replaced_and_deleted_each_by_its_owner_and_name(open_store):
    store = open_store()
    store.write(Batch(notes={NoteKey("a", "x"): "1", NoteKey("a", "y"): "2", NoteKey("b", "x"): "3"}))
    store.write(Batch(notes={NoteKey("a", "x"): "4", NoteKey("a", "y"): None}))

    again = open_store()
    assert again.notes("a") == {"x": "4"}
    assert again.notes("b") == {"x": "3"}
    assert again.notes("c") == {}


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60)
@given(values=st.lists(JSON | st.just(DELETED), min_size=1, max_size=4))
def test_every_value_comes_back_exactly_and_with_its_type(open_store, values):
    store = open_store()
    desired = {(1, f"p{index}", Site.CLOUD): Slot(value, index + 1) for index, value in enumerate(values)}
    store.write(Batch(twins={1: row(1)}, desired=desired, versions={1: 1}, tick=9))
    store = open_store()
    found = {at.property: slot.value for at, slot, _ in store.leaves([1])}
    assert repr([found[f"p{index}"] for index in range(len(values))]) == repr(values)
    store.write(Batch(dropped={1}, tick=9))


@pytest.mark.parametrize("value", [None, True, 1, 1.0, "x", "", "1", [], {}, [1, 1.0, True], "\0", "🌱", *BIG])
def test_reported_values_come_back_with_their_type(open_store, value):
    open_store().write(Batch(twins={1: row(1)}, reported={(1, "p"): Slot(value, 7)}, versions={1: 3}, tick=7))
    ((at, slot, version),) = open_store().leaves()
    assert at == LeafKey(1, Section.REPORTED, "p", Site.EDGE)
    assert (repr(slot.value), version) == (repr(value), 3)


@pytest.mark.parametrize("quality", Quality)
@pytest.mark.parametrize("reason", Reason)
def test_a_slot_comes_back_whole(open_store, quality, reason):
    slot = Slot(4.5, 2**53 + 1, 2**53, "modbus", 1_700_000_000_000, quality, reason)
    batch = Batch(twins={1: row(1)}, versions={1: 2}, tick=2**53 + 1)
    batch.reported[1, "p"] = slot
    batch.desired[1, "p", Site.EDGE] = slot._replace(value=DELETED)
    batch.desired[1, "p", Site.CLOUD] = slot._replace(tick=3)
    open_store().write(batch)
    assert everything(open_store())[2] == [
        ((LeafKey(1, Section.DESIRED, "p", Site.CLOUD), 2), slot._replace(tick=3)),
        ((LeafKey(1, Section.DESIRED, "p", Site.EDGE), 2), slot._replace(value=DELETED)),
        ((LeafKey(1, Section.REPORTED, "p", Site.EDGE), 2), slot),
    ]


def test_a_spec_comes_back_whole(open_store, tank_spec):
    spec = tank_spec(labels=(("site", "north"),), desired={"valve": 40, "note": {"a": [1, 1.0, True, None]}})
    open_store().write(Batch(twins={4: TwinRow(4, spec, 12)}, tick=5))
    twins, tick, leaves = everything(open_store())
    assert (twins, tick, leaves) == ([TwinRow(4, spec, 12)], 5, [])
    assert repr(twins[0].spec.desired) == repr(spec.desired)


def test_a_later_write_replaces_an_earlier_one(open_store):
    store = open_store()
    store.write(Batch(twins={1: row(1)}, reported={(1, "p"): Slot("old", 1)}, versions={1: 1}, tick=1))
    store.write(Batch(twins={1: row(1, version=8, model="m2")}, versions={1: 8}, tick=2))
    store.write(Batch(reported={(1, "p"): Slot("new", 3)}, versions={1: 9}, tick=3))
    twins, tick, leaves = everything(open_store())
    assert twins == [row(1, version=8, model="m2")]
    assert tick == 3
    assert leaves == [((LeafKey(1, Section.REPORTED, "p", Site.EDGE), 9), Slot("new", 3))]


def test_a_dropped_twin_is_gone_with_all_its_leaves_and_no_other(open_store):
    store = open_store()
    batch = Batch(twins={1: row(1), 2: row(2, "pump")}, versions={1: 1, 2: 1}, tick=4)
    for twin in (1, 2):
        batch.reported[twin, "p"] = Slot(twin, twin)
        batch.desired[twin, "p", Site.EDGE] = Slot(twin, twin + 2)
    store.write(batch)
    store.write(Batch(dropped={1}, tick=5))
    twins, tick, leaves = everything(open_store())
    assert [one.id for one in twins] == [2]
    assert {at.twin for (at, _), _ in leaves} == {2}
    assert tick == 5


def test_a_twin_made_and_dropped_in_one_batch_was_never_there(open_store):
    batch = Batch(twins={1: row(1)}, reported={(1, "p"): Slot(1, 1)}, versions={1: 1}, dropped={1}, tick=1)
    open_store().write(batch)
    assert everything(open_store()) == ([], 1, [])


def test_a_twin_of_the_same_name_and_a_new_uid_stands_beside_the_old_one_until_that_is_dropped(open_store):
    store = open_store()
    store.write(Batch(twins={1: row(1)}, reported={(1, "p"): Slot("old", 1)}, versions={1: 1}, tick=1))
    store.write(Batch(twins={2: row(2, uid="u2")}, tick=2))
    store.write(Batch(dropped={1}, tick=3))
    assert everything(open_store()) == ([row(2, uid="u2")], 3, [])


def test_a_twin_dropped_and_made_again_with_the_same_uid_in_one_batch_is_a_new_empty_one(open_store):
    store = open_store()
    store.write(Batch(twins={1: row(1)}, reported={(1, "p"): Slot("old", 1)}, versions={1: 1}, tick=1))
    store.write(Batch(twins={2: row(2)}, dropped={1}, tick=2))
    assert everything(open_store()) == ([row(2)], 2, [])


@pytest.mark.parametrize(
    "bad",
    [Slot("\ud800", 2), Slot(["\ud800"], 2), Slot(10**5000, 2), Slot(1, 2**63)],
    ids=["text", "json", "int", "tick"],
)
def test_a_batch_that_cannot_be_written_leaves_nothing_and_the_next_one_goes_well(open_store, bad):
    store = open_store()
    store.write(Batch(twins={1: row(1)}, tick=1))
    before = everything(store)
    with pytest.raises(StoreError):
        store.write(Batch(reported={(1, "a"): Slot(1, 2), (1, "b"): bad}, versions={1: 2}, tick=2))
    assert everything(store) == before
    store.write(Batch(reported={(1, "a"): Slot(1, 3)}, versions={1: 2}, tick=3))
    assert len(everything(open_store())[2]) == 1


# -- SQLite's own ------------------------------------------------------------------------------------------------------


@pytest.fixture
def path(tmp_path):
    return tmp_path / "state.db"


@pytest.fixture
def open_sqlite(path):
    opened = []

    def make(at=path):
        store = SqliteStore(at)
        store.open()
        opened.append(store)
        return store

    yield make
    for store in opened:
        store.close()


def test_commits_are_durable_against_power_loss(open_sqlite):
    db = open_sqlite()._db
    assert db.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert db.execute("PRAGMA synchronous").fetchone() == (2,)  # FULL


def test_only_the_owner_can_read_the_files(open_sqlite, path):
    open_sqlite().write(Batch(twins={1: row(1)}, tick=1))
    files = list(path.parent.iterdir())
    assert {file.name for file in files} == {"state.db", "state.db-wal", "state.db-shm"}
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}


def test_a_store_of_a_later_release_is_refused_and_not_touched(open_sqlite, path):
    open_sqlite().close()
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA journal_mode=DELETE")
        db.execute("PRAGMA user_version=99")
        db.execute("UPDATE meta SET value = 99, sum = NULL WHERE key = 'schema'")
    db.close()
    path.chmod(0o640)
    before = path.read_bytes()
    with pytest.raises(StoreTooNew, match="schema version 99") as caught:
        open_sqlite()
    assert "release" in caught.value.remedy
    assert path.read_bytes() == before
    assert [file.name for file in path.parent.iterdir()] == ["state.db"]
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


def filled(open_sqlite):
    store = open_sqlite()
    batch = Batch(twins={1: row(1)}, versions={1: 1}, tick=500)
    batch.reported.update({(1, f"property-{n}"): Slot("x" * 100, n) for n in range(500)})
    store.write(batch)
    store.close()


def test_a_file_that_is_no_store_is_refused_with_a_remedy(open_sqlite, path):
    path.write_bytes(b"\x07garbage" * 1000)
    with pytest.raises(StoreCorrupt, match=r"state\.db") as caught:
        open_sqlite()
    assert "Move the file aside" in caught.value.remedy
    assert path.read_bytes() == b"\x07garbage" * 1000


@pytest.mark.parametrize("kept", [0.3, 0.5, 0.9])
def test_a_truncated_file_is_refused_with_a_remedy(open_sqlite, path, kept):
    filled(open_sqlite)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * kept)])
    with pytest.raises(StoreCorrupt, match=r"state\.db") as caught:
        open_sqlite()
    assert "Move the file aside" in caught.value.remedy


def test_a_damaged_page_is_refused_at_the_start(open_sqlite, path):
    filled(open_sqlite)
    whole = bytearray(path.read_bytes())
    for page in range(4096 * 6, len(whole) - 4096, 4096):
        whole[page : page + 64] = b"\xff" * 64
    path.write_bytes(whole)
    with pytest.raises(StoreCorrupt):
        open_sqlite()


def test_rows_that_are_not_ours_are_corrupt_and_not_a_surprise(open_sqlite):
    store = open_sqlite()
    store.write(Batch(twins={1: row(1)}, reported={(1, "p"): Slot([1], 1)}, versions={1: 1}, tick=1))
    store._db.execute("UPDATE twin SET spec = '{}'")
    store._db.execute("UPDATE leaf SET value = X'7B', sum = NULL")
    with pytest.raises(StoreCorrupt):
        store.load()
    assert list(store.leaves()) == []
    assert store.lost == ["reported p of device/plant/tank"]


def test_a_folder_that_cannot_be_made_is_a_store_error(tmp_path, open_sqlite):
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match="file"):
        open_sqlite(tmp_path / "file" / "state.db")
    with pytest.raises(StoreError):
        open_sqlite(tmp_path)


def test_a_closed_store_says_so(open_sqlite):
    store = open_sqlite()
    store.close()
    store.close()
    with pytest.raises(StoreError, match="not open"):
        store.load()
    with pytest.raises(StoreError, match="not open"):
        store.write(Batch())


def test_a_migration_that_fails_leaves_the_old_schema(open_sqlite, path):
    with sqlite3.connect(path) as db:
        db.execute("CREATE TABLE leaf (mine)")
    db.close()
    with pytest.raises(StoreError, match="leaf"):
        open_sqlite()
    with sqlite3.connect(path) as db:
        assert db.execute("PRAGMA user_version").fetchone() == (0,)
        assert db.execute("SELECT name FROM sqlite_master").fetchall() == [("leaf",)]
    db.close()


GOLDEN_SPEC = TwinSpec(
    TwinKey(Kind.DEVICE, "plant", "tank"), "u1", "tank", "gw1", (("site", "north"),), {}, {"valve": 40}
)
GOLDEN_LEAVES = {
    (Section.REPORTED, "level", Site.EDGE): (Slot(41.5, 10, 0, "modbus", 1000), 3),
    (Section.REPORTED, "count", Site.EDGE): (Slot(7, 11, 0, "modbus", 1000), 3),
    (Section.REPORTED, "on", Site.EDGE): (Slot(True, 12, 0, "m", 1, Quality.BAD, Reason.TIMEOUT), 4),
    (Section.REPORTED, "text", Site.EDGE): (Slot("ü", 13, 0, "m", 1, Quality.UNCERTAIN, Reason.STALE), 4),
    (Section.REPORTED, "null", Site.EDGE): (Slot(None, 14), 4),
    (Section.REPORTED, "big", Site.EDGE): (Slot(10**30, 15), 4),
    (Section.DESIRED, "valve", Site.EDGE): (Slot(40, 16, 9, "document", 5), 5),
    (Section.DESIRED, "valve", Site.CLOUD): (Slot(DELETED, 9, 8, "cli", 4), 5),
    (Section.DESIRED, "note", Site.CLOUD): (Slot({"a": [1, 1.0, True, None]}, 8), 5),
}


def test_a_store_of_schema_1_still_opens_with_its_values(open_sqlite, path):
    """The file was made once: a batch of GOLDEN_SPEC (id 3, version 2) and of the slots for each version of
    GOLDEN_LEAVES, tick 16, written by the SqliteStore of schema 1, closed, and its journal mode set to DELETE.
    """
    path.write_bytes(GOLDEN.read_bytes())
    store = open_sqlite()
    twins, tick = store.load()
    assert (twins, tick) == ([TwinRow(3, GOLDEN_SPEC, 2)], 16)
    found = {(at.section, at.property, at.site): (slot, version) for at, slot, version in store.leaves([3])}
    assert repr(sorted(found.items())) == repr(sorted(GOLDEN_LEAVES.items()))


def test_a_store_of_schema_7_still_opens_with_its_notes(open_sqlite, path):
    """The file was made once: twin 1 with one reading, one long note and one short, by the store of schema 7."""
    path.write_bytes(GOLDEN.with_name("v7.db").read_bytes())
    store = open_sqlite()
    assert store.lost == []
    assert store.notes("kubeedge") == {"plant/tank/0": "ü" * 1500}
    assert store.notes("engine") == {"next id": "2"}
    assert everything(store) == ([row(1)], 5, [((LeafKey(1, Section.REPORTED, "p", Site.EDGE), 1), Slot("x", 4))])


def test_a_note_of_some_kilobytes_is_one_page_of_a_commit(open_sqlite, path):
    store = open_sqlite()
    note = NoteKey("kubeedge", "plant/tank/0")
    store.write(Batch(notes={note: "a" * 3000}, tick=1))
    log = path.with_name(f"{path.name}-wal")
    before = log.stat().st_size
    store.write(Batch(notes={note: "b" * 3000}, tick=2))
    assert log.stat().st_size - before == 2 * (24 + 4096)  # the note, and the tick


def test_a_damaged_store_does_not_replace_its_last_good_copy(open_sqlite, path, tmp_path):
    store = open_sqlite()
    store.write(Batch(twins={1: row(1)}, reported={(1, "p"): Slot("good", 1)}, versions={1: 1}, tick=1))
    copy = tmp_path / "copy.db"
    store.copy_to(copy)
    whole = copy.read_bytes()
    store._db.execute("UPDATE leaf SET value = 'bad'")
    with pytest.raises(StoreCorrupt, match="table leaf"):
        store.copy_to(copy)
    assert copy.read_bytes() == whole
    assert not copy.with_name("copy.db.new").exists()


def test_a_harmed_schema_version_is_mended_from_the_tables(open_sqlite, path):
    open_sqlite().write(Batch(twins={1: row(1)}, tick=4))
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA user_version=1")
    db.close()
    assert open_sqlite().load() == ([row(1)], 4)


def test_after_a_failed_write_the_log_begins_anew(open_sqlite, path):
    store = open_sqlite()
    store.write(Batch(twins={1: row(1)}, tick=1))
    log = path.with_name(f"{path.name}-wal")
    assert log.stat().st_size > 0
    store._db.execute("PRAGMA max_page_count=1")  # as a full disk: SQLITE_FULL
    batch = Batch(twins={1: row(1)}, versions={1: 2}, tick=2)
    batch.reported.update({(1, f"p{n}"): Slot("x" * 3000, n + 1) for n in range(50)})
    with pytest.raises(StoreError, match="full"):
        store.write(batch)
    assert log.stat().st_size == 0  # what was refused cannot come back from there
    assert open_sqlite().load() == ([row(1)], 1)
