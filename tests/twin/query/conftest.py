"""A fleet of twins on a real file, and plans asked of it."""

import pytest

from tests.twin.query.fleet import five_twins
from twin.query.parse import parse
from twin.query.reader import SqliteReader
from twin.sqlite_store import SqliteStore


@pytest.fixture
def path(tmp_path):
    return tmp_path / "state.db"


@pytest.fixture
def store(path):
    made = SqliteStore(path)
    made.open()
    yield made
    made.close()


@pytest.fixture
def ask(store, path):
    """Call it with a query for its rows."""
    reader = SqliteReader(path)
    return lambda text, rows=1000: reader.run(parse(text), rows=rows).rows


@pytest.fixture
def fleet(store):
    """Five twins: what is said of queries in these tests is said of them."""
    made = five_twins()
    store.write(made.batch)
    return made
