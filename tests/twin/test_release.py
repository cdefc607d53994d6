"""The leaves of a release: what is written is what is read, and what is wrong is said."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twin.errors import InvalidMessage
from twin.release import Release, ReleaseReport, ReleaseState, read_release, read_report, written

pytestmark = pytest.mark.fast

WANTED = Release(version="1.4.0", url="https://cloud.example:8443/bundles/" + "ab" * 32, sha256="ab" * 32, size=1234)

versions = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9.+_~-]{0,63}", fullmatch=True)
reports = st.builds(
    ReleaseReport,
    version=versions,
    slot=st.sampled_from(["", "A", "B"]),
    state=st.sampled_from(ReleaseState),
    wanted=versions,
    order=st.from_regex(r"[a-z0-9-]{0,20}", fullmatch=True),
    reason=st.text(max_size=50),
    tries=st.integers(0, 9),
    at=st.integers(0, 2**50),
)


@given(version=versions, size=st.integers(1, 2**33), order=st.from_regex(r"[A-Za-z0-9._-]{0,64}", fullmatch=True))
def test_a_wanted_release_is_read_as_it_was_written(version, size, order):
    release = Release(version=version, url=WANTED.url, sha256=WANTED.sha256, size=size, order=order)
    assert read_release(written(release)) == release


@given(reports)
def test_a_report_is_read_as_it_was_written(report):
    assert read_report(written(report)) == report


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("version", ""),
        ("version", ".."),
        ("version", "../1"),
        ("version", "1 0"),
        ("version", "1" * 65),
        ("version", "1.0\n"),
        ("url", "http://cloud.example/x"),
        ("url", "file:///etc/passwd"),
        ("url", "https:///x"),
        ("sha256", "AB" * 32),
        ("sha256", "ab" * 31),
        ("size", 0),
        ("size", 2**40),
        ("order", "a/b"),
        ("nosuch", 1),
    ],
)
def test_what_is_no_release_is_refused_with_the_key(key, value):
    with pytest.raises(InvalidMessage, match=f"desired release: {key}"):
        read_release({**WANTED.model_dump(), key: value})


@pytest.mark.parametrize("value", [None, 7, "1.4.0", [], {}, {"version": "1"}])
def test_a_value_of_another_shape_is_refused(value):
    with pytest.raises(InvalidMessage):
        read_release(value)


@pytest.mark.parametrize(("key", "value"), [("state", "broken"), ("tries", -1), ("version", None), ("at", "now")])
def test_what_is_no_report_is_refused_with_the_key(key, value):
    with pytest.raises(InvalidMessage, match=f"reported update: {key}"):
        read_report({"version": "1.3.0", key: value})


def test_a_state_is_open_or_settled_and_only_a_settled_one_is_lost():
    assert [one for one in ReleaseState if not one.settled] == ["downloading", "installing", "trying"]
    assert [one for one in ReleaseState if one.lost] == ["rolled_back", "refused", "failed"]
