"""The alarm of a table that somebody else changed: it begins at once, and is over when they leave it alone."""

import pytest

from mesh.mended import ABOUT, CALM_S, RULE, Mended

pytestmark = pytest.mark.fast


def told(mended, now_s):
    return [(one.firing, one.since_s, one.text) for one in mended.look(now_s)]


def test_it_begins_goes_on_and_is_over_after_a_while():
    mended = Mended()
    assert told(mended, 1.0) == []
    mended.took("the table is gone")
    assert told(mended, 2.0) == [(True, 2.0, "the table is gone")]
    assert told(mended, 3.0) == []
    mended.took("services4 does not hold what it should")
    assert told(mended, 40.0) == [(True, 2.0, "services4 does not hold what it should")]
    assert told(mended, 2.0 + CALM_S) == []
    assert told(mended, 40.0 + CALM_S) == [(False, 40.0 + CALM_S, "nobody has touched it since")]
    assert told(mended, 300.0) == []


def test_it_can_be_told_as_any_other_alert():
    mended = Mended()
    mended.took("x")
    (alert,) = mended.look(1.0)
    assert (alert.rule, alert.about) == (RULE, ABOUT)
