"""The page of figures: what it says of each is so, and it says nothing where nothing is asked."""

import pytest

from tests.bench.figure import Figure
from tests.bench.page import Page

pytestmark = pytest.mark.fast


@pytest.mark.parametrize(
    ("figure", "said"),
    [
        (Figure("a", 2, "x", "", reach=1.5), "a value=2 unit=x reach=1.50 ok"),
        (Figure("a", 1, "x", "", reach=1.5), "a value=1 unit=x reach=1.50 short"),
        (Figure("a", 0, "lost", "", at_most=True), "a value=0 unit=lost reach=0 ok"),
        (Figure("a", 1, "lost", "", at_most=True), "a value=1 unit=lost reach=0 short"),
        (Figure("a", 1, "MB", ""), "a value=1 unit=MB reach=0 -"),
    ],
)
def test_a_figure_says_whether_it_reaches_what_is_asked_of_it(figure, said):
    assert figure.line == said


def test_every_row_of_the_page_has_a_verdict_if_something_is_asked(root):
    rows = {name: row.split(" | ") for name, row in Page.read(root / "docs/benchmarks.md").rows.items()}
    assert len(rows) > 100
    wrong = [name for name, row in rows.items() if (row[3] == "-") != (row[4] == "-") or row[3] == "0"]
    assert wrong == []
