"""Bytes of the registry that the disk has changed: either file is whole, and what is read is what was written."""

import json
import os
import random

import pytest

from edgehub.storage import FileStorage
from twin.clock import SystemClock
from twin.errors import StoreCorrupt, StoreError

pytestmark = pytest.mark.fast

TABLES = {"devices": {str(n): {"kind": "Device", "name": f"tank-{n}", "limit": n * 1.5, "ä": [None]} for n in range(9)}}


def storage(folder):
    # Whatever a person could have meant is refused here, so that nothing but what was written can be read.
    return FileStorage(folder / "registry.json", clock=SystemClock(), check=lambda _: "")


@pytest.fixture
def written(tmp_path):
    made = storage(tmp_path)
    made.open()
    made.write(TABLES)
    made.close()
    return {one: (one.read_bytes(), one.stat()) for one in tmp_path.glob("registry.json*")}


def restore(written, harmed=None, content=b""):

    for one in harmed.parent.iterdir():
        one.unlink()
    for one, (whole, status) in written.items():
        one.write_bytes(content if one == harmed else whole)
        os.utime(one, ns=(status.st_atime_ns, status.st_mtime_ns))  # a disk that flips bits leaves the times alone


def harm(content, rng):
    if rng.random() < 0.3:
        return content[: rng.randrange(len(content))]
    changed = bytearray(content)
    for _ in range(rng.choice([1, 1, 1, 5])):
        changed[rng.randrange(len(changed))] = rng.randrange(256)
    return bytes(changed)


@pytest.mark.parametrize("name", ["registry.json", "registry.json.bak"])
@pytest.mark.parametrize("rounds", [60, pytest.param(2000, marks=pytest.mark.torture)])
def test_a_harmed_file_is_read_from_the_other(tmp_path, written, name, rounds):
    for seed in range(rounds):
        restore(written, tmp_path / name, harm(written[tmp_path / name][0], random.Random(seed)))
        again = storage(tmp_path)
        again.open()
        read = again.read()
        again.close()
        assert read == TABLES, f"seed {seed}"
        assert json.loads((tmp_path / "registry.json").read_bytes())["tables"] == TABLES, f"seed {seed}"


def test_two_harmed_files_are_refused_with_a_remedy(tmp_path, written):
    restore(written, tmp_path / "registry.json", b"x")
    (tmp_path / "registry.json.bak").write_bytes(b"y")
    with pytest.raises(StoreCorrupt, match="neither") as caught:
        storage(tmp_path).open()
    assert "restore one from a backup" in caught.value.remedy
    assert isinstance(caught.value, StoreError)
