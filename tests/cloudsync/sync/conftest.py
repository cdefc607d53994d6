"""A cloud without sockets and threads, on virtual time."""

import pytest

from tests.cloudsync.sync.rig import open_cloud


@pytest.fixture
def cloud(tmp_path):
    with open_cloud(tmp_path) as made:
        yield made
