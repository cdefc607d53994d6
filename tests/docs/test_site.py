"""All pages become a site, in which nothing is broken and nothing is fetched from elsewhere."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.fixture(scope="module")
def site(root, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)],
        cwd=root,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return folder


def test_every_page_has_its_place_in_the_site(site, pages, root):
    shown = {path.relative_to(site).with_suffix("") for path in site.rglob("*.html")}
    written = {path.relative_to(root / "docs").with_suffix("") for path in (root / "docs").rglob("*.md")}
    written = {path.with_name("index") if path.name == "README" else path for path in written}
    assert written <= shown


def test_the_site_asks_nothing_of_other_hosts(site):
    loads = re.compile(
        r'<(?:script|img|iframe|source)[^>]+src="(https?:)?//|<link[^>]+rel="(?:stylesheet|preconnect)"[^>]+href="https?:'
    )
    assert [path.name for path in site.rglob("*.html") if loads.search(path.read_text(encoding="utf-8"))] == []


def test_code_of_the_pages_is_shown_as_code(site, pages):
    for page in pages:
        if not page.name.startswith("docs/"):
            continue
        path = site / Path(page.name).relative_to("docs").with_suffix(".html")
        path = path.with_name("index.html") if path.name == "README.html" else path
        text = path.read_text(encoding="utf-8")
        assert len(re.findall(r'<div class="(?:language-\w+ )?highlight">', text)) == len(page.blocks), page.name
