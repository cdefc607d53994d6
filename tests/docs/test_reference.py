"""The reference is what the code says, and nothing that a user meets is without words."""

from __future__ import annotations

from typing import Annotated

import pytest
from pydantic import BaseModel, Field

from tools.reference import Undocumented, pages, settings_lines

pytestmark = pytest.mark.fast


def test_the_pages_of_the_reference_are_what_the_code_gives(root):
    found = {path.name: path.read_text(encoding="utf-8") for path in (root / "docs/reference").glob("*.md")}
    wanted = pages()
    stale = sorted(name for name in found.keys() | wanted.keys() if found.get(name) != wanted.get(name))
    assert stale == [], "run .venv/bin/python -m tools.reference"


def test_a_setting_without_a_description_is_refused_by_its_key():
    class Part(BaseModel):
        spoken: Annotated[int, Field(ge=1, description="said")] = 3
        silent: str = ""

    class Whole(BaseModel):
        part: Part = Part()

    lines = settings_lines(Whole, "_".join)
    assert [next(lines) for _ in range(3)][
        2
    ] == "| `part.spoken` | whole number, at least 1 | `3` | said | `part_spoken` |"
    with pytest.raises(Undocumented, match=r"the setting part\.silent has no words"):
        next(lines)


def test_no_page_of_the_reference_knows_where_the_tree_is(root):
    assert [name for name, text in pages().items() if str(root) in text] == []
