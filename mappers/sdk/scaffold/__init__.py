"""A new mapper as a project of five files whose tests pass at once. Pure: a name in, the texts of the files out."""

from __future__ import annotations

import re
from dataclasses import dataclass
from importlib.resources import files
from typing import Final

from mappers.sdk.errors import InvalidSettings

__all__ = ["MAX_NAME_CHARS", "Project", "new_project"]

MAX_NAME_CHARS: Final = 30

_NAME: Final = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
_FILES: Final = {
    "pyproject.toml": "pyproject.toml.tmpl",
    "{module}.py": "module.py.tmpl",
    "test_{module}.py": "test.py.tmpl",
    "sample.yaml": "sample.yaml.tmpl",
    "README.md": "readme.md.tmpl",
}


@dataclass(frozen=True, slots=True)
class Project:
    """The files of a new mapper by name, in the order to read them."""

    name: str
    module: str
    files: dict[str, str]


def new_project(name: str) -> Project:
    """Fill the templates for a mapper of this name. Raises InvalidSettings if it cannot be called so."""
    if not _NAME.fullmatch(name) or len(name) > MAX_NAME_CHARS:
        message = f"{name!r} cannot be the name of a mapper"
        remedy = f"Use small letters, digits and single hyphens, first a letter, at most {MAX_NAME_CHARS}: soil-probe."
        raise InvalidSettings(message, remedy=remedy)
    module = f"{name.replace('-', '_')}_mapper"
    texts = {}
    for target, template in _FILES.items():
        text = files(__package__).joinpath(template).read_text(encoding="utf-8")
        texts[target.format(module=module)] = text.replace("@NAME@", name).replace("@MODULE@", module)
    return Project(name, module, texts)
