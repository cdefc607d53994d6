"""The registry's file survives crashes, rot and people."""

from __future__ import annotations

import json
import logging
import os
import stat
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgehub.storage import FileStorage, Tables
from twin.errors import StoreCorrupt, StoreError, StoreTooNew

pytestmark = pytest.mark.fast

_TABLES: Tables = {"documents": {"1": {"name": "boiler", "unit": 1}, "2": {"name": "pump", "unit": 17}}}


class _Clock:
    def now_us(self) -> int:
        return 1_700_000_000_123_456

    def monotonic_s(self) -> float:
        return 0.0


def _storage(path: Path, fault: str = "") -> FileStorage:
    return FileStorage(path, clock=_Clock(), check=lambda _: fault)


def _written(folder: Path) -> tuple[Path, bytes, int]:
    path = folder / "registry.json"
    storage = _storage(path)
    storage.open()
    storage.write(_TABLES)
    storage.close()
    return path, path.read_bytes(), path.stat().st_mtime_ns


def _spoil(path: Path, content: bytes, mtime_ns: int) -> None:
    path.write_bytes(content)
    os.utime(path, ns=(mtime_ns, mtime_ns))


def _read(path: Path, fault: str = "") -> Tables | None:
    storage = _storage(path, fault)
    storage.open()
    try:
        return storage.read()
    finally:
        storage.close()


def _remove_set_aside(folder: Path) -> None:
    for aside in folder.glob("*.corrupt-*"):
        aside.unlink()


def test_what_is_written_is_read_back_and_private(tmp_path: Path) -> None:
    path, content, _ = _written(tmp_path)
    assert _read(path) == _TABLES
    assert {stat.S_IMODE(one.stat().st_mode) for one in tmp_path.iterdir()} == {0o600}
    assert content == (tmp_path / "registry.json.bak").read_bytes()
    assert b'\n      "name": "boiler"' in content.replace(b"  " * 4, b"      ")


def test_truncation_at_each_length_gives_the_right_tables_from_the_copy(tmp_path: Path, caplog) -> None:
    path, content, mtime_ns = _written(tmp_path)
    for length in range(len(content) - 1):
        _spoil(path, content[:length], mtime_ns)
        caplog.clear()
        assert _read(path) == _TABLES
        assert "registry.json.corrupt-1" in caplog.text
        assert "registry.json.bak" in caplog.text
        _remove_set_aside(tmp_path)


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(where=st.floats(0, 1, exclude_max=True), mask=st.integers(1, 255))
def test_a_flipped_byte_never_gives_wrong_tables(tmp_path: Path, where: float, mask: int) -> None:
    path, content, mtime_ns = _written(tmp_path)
    flipped = bytearray(content)
    flipped[int(where * len(content))] ^= mask
    _spoil(path, bytes(flipped), mtime_ns)
    assert _read(path) == _TABLES
    _remove_set_aside(tmp_path)


def test_a_spoilt_copy_does_no_harm(tmp_path: Path) -> None:
    path, _, _ = _written(tmp_path)
    path.with_name("registry.json.bak").write_bytes(b"rot")
    assert _read(path) == _TABLES


def test_when_both_files_are_bad_nothing_is_moved_and_the_remedy_is_said(tmp_path: Path) -> None:
    path, content, mtime_ns = _written(tmp_path)
    rotten = content.replace(b"boiler", b"boilex")
    for one in (path, path.with_name("registry.json.bak")):
        _spoil(one, rotten, mtime_ns)
    with pytest.raises(StoreCorrupt, match="nobody edited it") as caught:
        _read(path)
    assert "restore one from a backup" in caught.value.remedy
    assert path.read_bytes() == rotten


def test_a_missing_file_is_restored_from_its_copy(tmp_path: Path, caplog) -> None:
    path, content, _ = _written(tmp_path)
    path.unlink()
    assert _read(path) == _TABLES
    assert "is missing" in caplog.text
    assert path.read_bytes() == content


def test_an_edit_by_hand_is_accepted_and_known_as_such(tmp_path: Path, caplog) -> None:
    path, content, mtime_ns = _written(tmp_path)
    _spoil(path, content.replace(b"boiler", b"kettle"), mtime_ns + 5_000_000_000)
    storage = _storage(path)
    storage.open()
    assert storage.read()["documents"]["1"]["name"] == "kettle"
    assert storage.edited
    assert storage.before_edit == _TABLES
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    storage.close()


def test_an_edit_by_hand_that_is_not_valid_is_set_aside_with_the_reason(tmp_path: Path, caplog) -> None:
    path, content, mtime_ns = _written(tmp_path)
    _spoil(path, content.replace(b"boiler", b"kettle"), mtime_ns + 5_000_000_000)
    assert _read(path, "kettle is no boiler") == _TABLES
    assert "kettle is no boiler" in caplog.text
    assert b"kettle" in (tmp_path / "registry.json.corrupt-1").read_bytes()


def test_reformatting_alone_is_no_edit(tmp_path: Path) -> None:
    path, content, _ = _written(tmp_path)
    path.write_text(json.dumps(json.loads(content), sort_keys=True))
    storage = _storage(path, "must not be asked")
    storage.open()
    assert storage.read() == _TABLES
    assert not storage.edited
    storage.close()


def test_a_second_opener_is_told_who_has_it(tmp_path: Path) -> None:
    path = tmp_path / "registry.json"
    first = _storage(path)
    first.open()
    with pytest.raises(StoreError, match=f"pid {os.getpid()}") as caught:
        _storage(path).open()
    assert "running hub" in caught.value.remedy
    first.close()
    assert _read(path) is None


def test_a_batch_is_one_write_and_none_if_it_raises(tmp_path: Path) -> None:
    storage = _storage(tmp_path / "registry.json")
    storage.open()
    storage.write(_TABLES)
    with pytest.raises(RuntimeError), storage.batch():  # noqa: PT012  the write before the error is the point
        storage.write({})
        raise RuntimeError
    assert storage.read() == _TABLES
    before = (tmp_path / "registry.json").stat().st_ino
    with storage.batch():
        storage.write({})
        assert (tmp_path / "registry.json").stat().st_ino == before
    storage.close()
    assert _read(tmp_path / "registry.json") == {}


def test_a_write_that_the_disk_refuses_changes_nothing(tmp_path: Path) -> None:
    storage = _storage(tmp_path / "registry.json")
    storage.open()
    storage.write(_TABLES)
    (tmp_path / "registry.json.tmp").mkdir()
    with pytest.raises(StoreError, match=r"cannot write .*registry\.json"):
        storage.write({})
    assert storage.read() == _TABLES
    storage.close()
    assert _read_copy(tmp_path / "registry.json.bak") == _TABLES


def _read_copy(copy: Path) -> Tables:
    tables: Tables = json.loads(copy.read_bytes())["tables"]
    return tables


def test_a_file_of_a_later_release_is_left_alone(tmp_path: Path, monkeypatch) -> None:
    with monkeypatch.context() as later:
        later.setattr("edgehub.storage.FORMAT", 2)
        path, content, _ = _written(tmp_path)
    with pytest.raises(StoreTooNew, match="format 2"):
        _read(path)
    assert path.read_bytes() == content
