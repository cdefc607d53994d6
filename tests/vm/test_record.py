"""The table of what was proved."""

import pytest

from tests.vm.record import BEGIN, END, PAGE, with_row

pytestmark = pytest.mark.fast
PAGE_OF_NONE = f"# Boards\n\n{BEGIN}\n{END}\n\nMore.\n"


def test_a_later_result_takes_the_place_of_an_earlier_one_and_leaves_the_others() -> None:
    text = with_row(PAGE_OF_NONE, "`b`: boots", "9 s", "2026-01-01")
    text = with_row(text, "`a`: boots", "8 s", "2026-01-01")
    text = with_row(text, "`b`: boots", "7 s", "2026-01-02")
    assert text == (
        f"# Boards\n\n{BEGIN}\n| what | figure | on |\n|---|---|---|\n"
        f"| `a`: boots | 8 s | 2026-01-01 |\n| `b`: boots | 7 s | 2026-01-02 |\n{END}\n\nMore.\n"
    )


def test_the_page_has_the_place() -> None:
    assert PAGE.read_text().count(BEGIN) == PAGE.read_text().count(END) == 1
