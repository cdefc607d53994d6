"""Which regular expressions a data plane may be given: those that no text keeps busy for long. Pure.

Python's engine tries one way after the other. So repetitions have a clear end, or there is one alone; there are at most
MAX_WAYS ways besides; and nothing that may be matched in several ways is repeated.
"""

from __future__ import annotations

import re
from re import _constants as codes  # type: ignore[attr-defined]  # the standard library has no public parser
from re import _parser as parser  # type: ignore[attr-defined]
from typing import Any, Final

MAX_CHARS: Final = 256
MAX_WAYS: Final = 64
_REPEATS: Final = (codes.MAX_REPEAT, codes.MIN_REPEAT, codes.POSSESSIVE_REPEAT)
_LOOKS: Final = (codes.ASSERT, codes.ASSERT_NOT, codes.GROUPREF, codes.GROUPREF_EXISTS)
_CATEGORIES: Final = {
    codes.CATEGORY_DIGIT: r"\d",
    codes.CATEGORY_NOT_DIGIT: r"\D",
    codes.CATEGORY_SPACE: r"\s",
    codes.CATEGORY_NOT_SPACE: r"\S",
    codes.CATEGORY_WORD: r"\w",
    codes.CATEGORY_NOT_WORD: r"\W",
}


class _TooSlow(Exception):
    """Carries what is wrong."""


def fault(pattern: str) -> str:
    """What is wrong with a regular expression that must match a whole text; empty if nothing is."""
    if len(pattern) > MAX_CHARS:
        return f"has {len(pattern)} characters, more than {MAX_CHARS}"
    try:
        tree = parser.parse(pattern)
        re.compile(pattern)
        _Cost().add(tree, at_end=True)
    except (re.error, OverflowError, RecursionError) as error:
        return f"is no regular expression: {error}"
    except _TooSlow as error:
        return f"{error}, which some texts keep busy for ever"
    return ""


class _Cost:
    """In how many ways a text may be tried."""

    def __init__(self) -> None:
        self._ways = 1
        self._loose = False
        self._endless = 0

    def add(self, tree: Any, *, at_end: bool, repeated: bool = False) -> None:
        """Take a sequence. Raises _TooSlow."""
        nodes = [node for node in tree if node[0] is not codes.AT]
        for index, (code, given) in enumerate(nodes):
            last = at_end and index == len(nodes) - 1
            if code in _LOOKS:
                text = "looks ahead or back"
                raise _TooSlow(text)
            if code in _REPEATS:
                self._repeat(given, nodes[index + 1] if index + 1 < len(nodes) else None, last, repeated)
            elif code is codes.BRANCH:
                self._several(len(given[1]), repeated)
                for one in given[1]:
                    self.add(one, at_end=last, repeated=repeated)
            elif code is codes.SUBPATTERN:
                self.add(given[3], at_end=last, repeated=repeated)
            elif code is codes.ATOMIC_GROUP:
                self.add(given, at_end=last, repeated=repeated)

    def _repeat(self, given: Any, following: Any, last: bool, repeated: bool) -> None:
        least, most, body = given
        self.add(body, at_end=False, repeated=repeated or most > 1)
        if least == most:
            return
        if repeated:
            text = "repeats what may be repeated itself"
            raise _TooSlow(text)
        single = len(body) == 1
        if single and last and body[0][0] is codes.ANY:
            return  # it takes all that is left
        clear = single and (last or _ends_at(body[0], following))
        if most == codes.MAXREPEAT:
            self._endless += 1
            self._loose = self._loose or not clear
            if self._loose and self._endless > 1:
                text = "has two repetitions, one of them without a clear end"
                raise _TooSlow(text)
        elif not clear:
            self._several(most - least + 1, repeated)

    def _several(self, ways: int, repeated: bool) -> None:
        self._ways *= ways
        if repeated or self._ways > MAX_WAYS:
            text = "repeats a choice" if repeated else f"has more than {MAX_WAYS} ways to match"
            raise _TooSlow(text)


def _ends_at(body: Any, following: Any) -> bool:
    """Whether the character after a repetition of single characters cannot be one of these."""
    if following is None or following[0] is not codes.LITERAL:
        return False
    return not any(_fits(body, ord(one)) for one in {*chr(following[1]).lower(), *chr(following[1]).upper()})


def _fits(body: Any, character: int) -> bool:
    code, given = body
    if code is codes.LITERAL:
        return bool(given == character)
    if code is codes.NOT_LITERAL:
        return bool(given != character)
    if code is not codes.IN:
        return True
    negated, found = False, False
    for kind, member in given:
        if kind is codes.NEGATE:
            negated = True
        elif kind is codes.LITERAL:
            found = found or member == character
        elif kind is codes.RANGE:
            found = found or member[0] <= character <= member[1]
        else:
            found = found or kind is not codes.CATEGORY or re.match(_CATEGORIES[member], chr(character)) is not None
    return found is not negated
