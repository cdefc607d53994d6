"""A text for one reader: that one opens it, under the words it was bound to, and nobody else."""

import stat

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twin.envelope import EnvelopeError, Reader, sealed_for

pytestmark = pytest.mark.fast

BOUND = [b"plant", b"word", b"key"]


@pytest.fixture
def reader(tmp_path):
    return Reader(tmp_path / "keys" / "reader.key")


@pytest.fixture(scope="module")
def known(tmp_path_factory):
    return Reader(tmp_path_factory.mktemp("reader") / "reader.key")


@given(st.binary(max_size=300))
def test_the_reader_reads_what_was_sealed_for_it(known, plain):
    assert known.opened(sealed_for(known.public(), plain, BOUND), BOUND) == plain


def test_the_same_text_is_another_each_time_and_nothing_of_it_shows(reader):
    first, second = (sealed_for(reader.public(), b"open sesame", BOUND) for _ in range(2))
    assert first != second
    assert "sesame" not in first
    assert first.startswith("sealed:2:")


def test_keys_are_private_stay_the_same_and_the_public_one_is_found_again(reader, tmp_path):
    public = reader.public()
    key, shown = tmp_path / "keys" / "reader.key", tmp_path / "keys" / "reader.pub"
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert stat.S_IMODE(key.parent.stat().st_mode) == 0o700
    shown.unlink()
    assert Reader(key).public() == public


@pytest.mark.parametrize("break_", [lambda text: text[:-8], lambda text: text + "AAAA", lambda _: "sealed:2:AAAA"])
def test_a_text_that_was_changed_is_refused(reader, break_):
    with pytest.raises(EnvelopeError):
        reader.opened(break_(sealed_for(reader.public(), b"x", BOUND)), BOUND)


def test_another_reader_or_another_name_opens_nothing(reader, tmp_path):
    text = sealed_for(reader.public(), b"x", BOUND)
    other = Reader(tmp_path / "other.key")
    other.public()
    with pytest.raises(EnvelopeError):
        other.opened(text, BOUND)
    with pytest.raises(EnvelopeError):
        reader.opened(text, [b"plant", b"word", b"other"])
    with pytest.raises(EnvelopeError):
        Reader(tmp_path / "none.key").opened(text, BOUND)


@pytest.mark.parametrize("public", ["", "zz", "00", "00" * 32])
def test_what_is_no_public_key_is_refused(public):
    with pytest.raises(EnvelopeError, match="not a public key"):
        sealed_for(public, b"x", BOUND)
