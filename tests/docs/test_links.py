"""Links of the pages lead somewhere, and every page can be found."""

from __future__ import annotations

import re
import struct

import pytest

pytestmark = pytest.mark.fast

LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")


def test_every_relative_link_resolves(pages, root):
    broken = []
    for page in pages:
        for target in LINK.findall(page.prose):
            if "://" in target:
                continue
            name, _, anchor = target.partition("#")
            path = (page.path.parent / name).resolve() if name else page.path
            if not path.exists():
                broken.append(f"{page.name}: {target} does not exist")
            elif anchor and anchor not in anchors(path.read_text(encoding="utf-8")):
                broken.append(f"{page.name}: {target} has no such heading")
            elif not path.is_relative_to(root):
                broken.append(f"{page.name}: {target} leads out of the tree")
    assert broken == []


def test_every_page_and_example_is_linked_from_some_page(pages, root):
    linked = {
        (page.path.parent / target.partition("#")[0]).resolve() for page in pages for target in LINK.findall(page.prose)
    }
    known = [page.path for page in pages] + sorted((root / "docs/examples").glob("*.*"))
    lost = [str(path.relative_to(root)) for path in known if path not in linked and path.name != "README.md"]
    assert lost == []


def test_every_picture_of_the_pages_is_there_and_small_and_every_picture_is_shown(pages, root):
    shown = {
        (page.path.parent / place).resolve()
        for page in pages
        for place in re.findall(r"!\[[^\]]+\]\(([^)]+)\)", page.prose)
    }
    assert shown == set((root / "docs/images").iterdir()), "make docs-images makes them"
    for path in shown:
        picture = path.read_bytes()
        assert picture.startswith(b"\x89PNG\r\n\x1a\n"), path.name
        width, height = struct.unpack(">II", picture[16:24])
        assert 700 <= width <= 1400, (path.name, width)
        assert 400 <= height <= 4000, (path.name, height)
        assert len(picture) < 150_000, (path.name, len(picture))


def test_the_readme_begins_with_what_a_bare_system_lacks_and_is_short(pages):
    lines = pages["README.md"].text.splitlines()
    assert "apt install git make python3-venv" in lines[0]
    assert len(lines) <= 120
    assert [one.line for one in pages.command_lines() if one.place.startswith("README")][:2] == [
        "make demo",
        "make test",
    ]


def test_the_readme_shows_the_commands_that_the_demo_prints(pages):
    from edgehub.commands.demo import TRY_NEXT

    shown = [one.line for one in pages.command_lines() if one.place.startswith("README")]
    assert [command for command, _ in TRY_NEXT] == shown[2 : 2 + len(TRY_NEXT)]


def test_each_decision_has_every_part_and_fits_a_page(pages):
    decisions = [page for page in pages if re.match(r"docs/adr/\d{4}-", page.name)]
    assert len(decisions) >= 8
    for page in decisions:
        headings = re.findall(r"^## (.+)", page.text, re.MULTILINE)
        assert headings == ["Context", "Decision", "Consequences"], page.name
        assert re.search(r"^Date: \d{4}-\d\d-\d\d\. Status: \w+\.$", page.text, re.MULTILINE), page.name
        assert len(page.text.splitlines()) <= 60, page.name
        assert page.path.name in pages["docs/adr/README.md"].text


def anchors(text: str) -> set[str]:
    headings = re.findall(r"^#+ (.+)", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
