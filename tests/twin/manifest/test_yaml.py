"""Plain values, their places, and the round trip through YAML and JSON."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twin.manifest.yaml import Parsed, Source, dump, parse

pytestmark = pytest.mark.fast

_TEXT = st.text(
    st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="\ufeff\ufffe\uffff\u2028\u2029"), max_size=30
)
_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | _TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_TEXT, inner, max_size=4),
    max_leaves=20,
)


def _only(text: str | bytes) -> Parsed:
    file = parse(Source("f.yaml", text if isinstance(text, bytes) else text.encode()))
    assert file.problems == ()
    (document,) = file.documents
    return document


@given(st.dictionaries(_TEXT, _VALUES, max_size=4))
def test_what_is_dumped_is_read_back(value: dict[str, Any]) -> None:
    read = _only(dump(value)).value
    assert json.dumps(read, sort_keys=True) == json.dumps(value, sort_keys=True)


@given(st.dictionaries(_TEXT, _VALUES, max_size=4), st.booleans())
def test_json_is_read_as_json_is_meant(value: dict[str, Any], ascii_only: bool) -> None:
    read = _only(json.dumps(value, ensure_ascii=ascii_only)).value
    assert json.dumps(read, sort_keys=True) == json.dumps(value, sort_keys=True)


@given(st.binary(max_size=200))
def test_no_bytes_make_the_parser_raise(content: bytes) -> None:
    parse(Source("f", content))


@given(st.text(st.sampled_from("a:-{}[],&*!|>'\"#%@`\t\n 1.?<~"), max_size=40))
def test_no_yaml_like_text_makes_the_parser_raise(text: str) -> None:
    parse(Source("f", text.encode()))


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("no", "no"),
        ("on", "on"),
        ("Yes", "Yes"),
        ("true", True),
        ("012", 12),
        ("0o14", 12),
        ("0x1F", 31),
        ("1_000", "1_000"),
        ("12:30:45", "12:30:45"),
        ("2026-11-23", "2026-11-23"),
        ("1e3", 1000.0),
        (".5", 0.5),
        ("~", None),
        ("=", "="),
        ("!!str 12", "12"),
        ("'12'", "12"),
    ],
)
def test_a_scalar_means_what_yaml_1_2_says(text: str, value: object) -> None:
    read = _only(f"k: {text}").value
    assert read == {"k": value}
    assert type(read["k"]) is type(value)


def test_each_key_and_item_knows_its_line_and_column() -> None:
    document = _only("a: 1\nb:\n  - x: 2\n    y: 3\n")
    place = document.place(("b", 0, "y"))
    assert place is not None
    assert (place.line, place.column) == (4, 5)


def test_a_path_that_is_not_there_has_the_place_of_what_is_above_it() -> None:
    place = _only("a: 1\nb:\n  c: 2\n").place(("b", "d", 3))
    assert place is not None
    assert place.line == 2


def test_an_alias_is_a_copy() -> None:
    assert _only("a: &a [1, 2]\nb: *a\n").value == {"a": [1, 2], "b": [1, 2]}


def test_documents_before_a_syntax_error_are_kept() -> None:
    file = parse(Source("f", b"a: 1\n---\nb: [\n"))
    assert [one.value for one in file.documents] == [{"a": 1}]
    assert len(file.problems) == 1


def test_empty_documents_and_a_byte_order_mark_are_passed_over() -> None:
    assert _only(b"\xef\xbb\xbf---\n---\na: 1\n---\n").value == {"a": 1}


def test_json_indented_by_tabs_is_read() -> None:
    assert _only('{\n\t"a": [\n\t\t1\n\t]\n}').value == {"a": [1]}
