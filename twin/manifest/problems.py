"""What is wrong with a document, where, and what to do: the one shape in which people are told."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, TypeAlias

from twin.errors import InvalidDocuments, shown

KeyPath: TypeAlias = tuple[str | int, ...]

_MAX_PATH_CHARS: Final = 200
_PLAIN_KEY: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong: file, line (0 if there is none), key path, what is wrong, what to do."""

    source: str
    line: int
    path: str
    text: str
    remedy: str = ""

    def __str__(self) -> str:
        where = f"{self.source}:{self.line}" if self.line else self.source
        head = ": ".join(part for part in (where, self.path, self.text) if part)
        return f"{head}\n  {self.remedy}" if self.remedy else head


class InvalidManifest(InvalidDocuments):
    """Documents refused as a whole; ``problems`` has each, the text lists all."""

    problems: tuple[Problem, ...] = ()  # stays empty when rebuilt from the wire

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(dict.fromkeys(problems))  # a model's fault is found with each of its devices
        super().__init__("\n".join(str(problem) for problem in self.problems))


def path_text(path: KeyPath) -> str:
    """Write a key path as people do: ``spec.properties[2].name``."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        elif _PLAIN_KEY.fullmatch(part):
            text += f".{part}" if text else part
        else:
            text += f'["{shown(part, 60)[1:-1]}"]'
    return text if len(text) <= _MAX_PATH_CHARS else f"{text[:_MAX_PATH_CHARS]}..."


def suggestion(word: str, known: Iterable[str], *, what: str) -> str:
    """Say which of the known words was meant, or list them."""
    import difflib  # memory that only who mistypes should pay

    choices = list(known)
    folded = {choice.lower(): choice for choice in choices}
    near = difflib.get_close_matches(word.lower(), folded, n=1, cutoff=0.6)
    if near:
        return f"Did you mean {folded[near[0]]}?"
    return f"{what}: {', '.join(choices)}."
