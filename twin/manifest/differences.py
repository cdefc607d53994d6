"""What a change makes of a document, as people read it: a unified diff of its YAML. Pure."""

from __future__ import annotations

from twin.manifest.document import Document
from twin.manifest.yaml import dump


def difference(old: Document | None, new: Document) -> str:
    """A unified diff, empty if nothing changes."""
    import difflib  # memory that only who asks for a diff should pay

    before = dump(old.raw).splitlines(keepends=True) if old else []
    after = dump(new.raw).splitlines(keepends=True)
    return "".join(difflib.unified_diff(before, after, f"{new.ref} (now)", f"{new.ref} ({new.place})"))
