"""What is done between the copies of the twins: no disk that refuses it may end the copies."""

import pytest

from edgehub.state import StateFolder
from edgehub.state_store import drop_before, keep_reserve

pytestmark = pytest.mark.fast


def test_what_an_earlier_release_had_and_cannot_be_dropped_stays(tmp_path):
    folder = StateFolder(tmp_path)
    (folder.database_before / "file").mkdir(parents=True)  # no file, so it cannot be unlinked
    drop_before(folder)
    assert folder.database_before.exists()


def test_a_disk_that_does_not_answer_has_no_reserve(tmp_path):
    folder = StateFolder(tmp_path / "gone")
    keep_reserve(folder)
    assert not folder.reserve.exists()
