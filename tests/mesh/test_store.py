"""Both stores keep a table; what a hand breaks in the file does no harm, and no crash leaves half of one."""

import os

import pytest

from mesh.errors import InvalidTable
from mesh.store import FileStore, MemoryStore
from mesh.wire import write_table
from tests.mesh.tables import service, table

pytestmark = pytest.mark.fast

ONE, TWO = table(service("one", "10.0.0.1:80")), table(service("two", "10.0.0.2:80"))


class Memory:
    def __init__(self, folder):
        self.store = MemoryStore()

    def put(self, found):
        self.store.put(found)


class File:
    def __init__(self, folder):
        self.path = folder / "mesh.json"
        self.store = FileStore(self.path)

    def put(self, found):
        self.path.write_bytes(write_table(found))


@pytest.fixture(params=[Memory, File])
def kept(request, tmp_path):
    return request.param(tmp_path)


@pytest.fixture
def file(tmp_path):
    return File(tmp_path)


def test_without_a_table_that_is_said(kept):
    with pytest.raises(InvalidTable):
        kept.store.load()
    assert kept.store.last_good() is None
    assert not kept.store.changed()


def test_a_table_is_kept(kept):
    kept.store.save(ONE)
    assert kept.store.load() == kept.store.last_good() == ONE
    kept.store.save(TWO)
    assert kept.store.load() == kept.store.last_good() == TWO


def test_only_what_somebody_else_did_is_a_change(kept):
    kept.store.save(ONE)
    assert not kept.store.changed()
    kept.put(TWO)
    assert kept.store.changed()
    assert kept.store.load() == TWO
    assert not kept.store.changed()


def test_a_file_that_is_broken_by_hand_is_refused_and_the_last_good_one_is_known(file):
    file.put(ONE)
    assert file.store.load() == ONE
    file.path.write_bytes(b'{"services": [')
    assert file.store.changed()
    with pytest.raises(InvalidTable, match=r"mesh\.json"):
        file.store.load()
    assert not file.store.changed()
    assert file.store.last_good() == FileStore(file.path).last_good() == ONE


def test_a_file_that_is_away_is_a_change_and_so_is_one_that_is_back(file):
    file.store.save(ONE)
    file.path.unlink()
    assert file.store.changed()
    with pytest.raises(InvalidTable, match="cannot be read"):
        file.store.load()
    file.put(TWO)
    assert file.store.changed()


def test_a_write_that_fails_leaves_the_old_table_and_nothing_else(file, monkeypatch):
    file.store.save(ONE)
    before = sorted(file.path.parent.iterdir())

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        file.store.save(TWO)
    assert sorted(file.path.parent.iterdir()) == before
    assert file.store.load() == ONE


def test_without_room_for_a_copy_the_table_is_used_all_the_same(file, monkeypatch):
    file.put(ONE)

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    assert file.store.load() == ONE
    assert file.store.last_good() is None
