from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from twin.manifest.document import Manifest
from twin.manifest.read import read_documents
from twin.manifest.yaml import Source

Reader = Callable[[str], Manifest]


@pytest.fixture
def read() -> Reader:
    """Read documents from text."""
    return lambda text: read_documents([Source("site.yaml", text.encode())])


@pytest.fixture
def good() -> Reader:
    """Read a file of the folder of good ones."""
    folder = Path(__file__).parent / "good"
    return lambda name: read_documents([Source(name, (folder / name).read_bytes())])
