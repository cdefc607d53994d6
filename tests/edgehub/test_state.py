"""What commands find in a state folder that no hub has written."""

import pytest

from edgehub.state import CliAccess, NotRunning, StateFolder

pytestmark = pytest.mark.fast


def test_a_state_folder_that_is_none_is_said(tmp_path):
    with pytest.raises(NotRunning, match="no hub runs on"):
        CliAccess.read(StateFolder(tmp_path / "nowhere"))
    (tmp_path / "file").touch()
    with pytest.raises(NotRunning, match=r"cli\.json cannot be read: Not a directory"):
        CliAccess.read(StateFolder(tmp_path / "file"))


def test_an_account_file_that_is_garbage_is_said(tmp_path):
    folder = StateFolder(tmp_path)
    folder.cli.write_bytes(b"\xff{")
    with pytest.raises(NotRunning, match="is not readable as an account"):
        CliAccess.read(folder)
