"""A hook of MkDocs: pages are written to be read in the tree, and the site shows them as they are.

Links to code and to files that are no pages stand in the site as plain words: it knows no place where the tree is.
"""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath
from typing import Any

LINK = re.compile(r"\[([^\]]*)\]\(([^)\s]+)\)")
FENCE = re.compile(r"^(\s*```\w+)[^\n`]+$", re.MULTILINE)


def on_page_markdown(markdown: str, page: Any, config: Any, **_: Any) -> str:
    """Take links out of the site and marks of the tests out of one page."""
    docs = Path(config["docs_dir"])
    folder = (docs / page.file.src_path).parent

    def mend(link: re.Match[str]) -> str:
        words, target = link.groups()
        path = target.partition("#")[0]
        if not path or "://" in target or _is_shown(docs, folder / path):
            return link[0]
        if PurePosixPath(path).name == "README.md" and (folder / path).resolve().parent == docs.parent:
            return words if page.file.src_path == "index.md" else f"[{words}](index.md)"
        return words

    return FENCE.sub(r"\1", LINK.sub(mend, markdown))


def _is_shown(docs: Path, path: Path) -> bool:
    return path.resolve().is_relative_to(docs.resolve()) and path.is_file()
