"""Label and field selectors: which objects a client wants. Pure.

app=web,tier!=back,zone in (a, b),zone notin (c),critical,!old,weight>5
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from edgehub.kubeapi.status import bad_request

MAX_CHARS: Final = 4096
_KEY: Final = r"[A-Za-z0-9](?:[A-Za-z0-9._/-]{0,315}[A-Za-z0-9])?"
_VALUE: Final = r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?"
_EQUAL: Final = re.compile(rf"\s*({_KEY})\s*(==|=|!=)\s*({_VALUE}|)\s*")
_AMONG: Final = re.compile(rf"\s*({_KEY})\s+(in|notin)\s*\(\s*((?:{_VALUE})?(?:\s*,\s*(?:{_VALUE})?)*)\s*\)\s*")
_THERE: Final = re.compile(rf"\s*(!?)\s*({_KEY})\s*")
_MORE: Final = re.compile(rf"\s*({_KEY})\s*([<>])\s*([+-]?[0-9]{{1,18}})\s*")
_WHOLE: Final = re.compile(r"[+-]?[0-9]{1,18}")
_FIELD: Final = re.compile(r"\s*([A-Za-z][A-Za-z0-9.]*)\s*(==|=|!=)\s*([^,=!\s]*)\s*")


class Op(StrEnum):
    """What is asked of a label."""

    IN = "in"
    NOT_IN = "notin"
    THERE = "there"
    NOT_THERE = "not there"
    ABOVE = "above"
    BELOW = "below"


@dataclass(frozen=True, slots=True)
class Requirement:
    """One part of a selector."""

    key: str
    op: Op
    values: tuple[str, ...] = ()

    def holds(self, labels: Mapping[str, str]) -> bool:
        """Whether labels fulfil it."""
        value = labels.get(self.key)
        if self.op in (Op.THERE, Op.NOT_THERE):
            return (value is not None) == (self.op is Op.THERE)
        if self.op is Op.IN:
            return value in self.values
        if self.op is Op.NOT_IN:
            return value not in self.values
        if value is None or _WHOLE.fullmatch(value) is None:
            return False
        return int(value) > int(self.values[0]) if self.op is Op.ABOVE else int(value) < int(self.values[0])


@dataclass(frozen=True, slots=True)
class Selector:
    """All requirements must hold."""

    labels: tuple[Requirement, ...] = ()
    fields: tuple[Requirement, ...] = ()

    def wants(self, labels: Mapping[str, str], fields: Mapping[str, str]) -> bool:
        """Whether an object is selected."""
        return all(one.holds(labels) for one in self.labels) and all(one.holds(fields) for one in self.fields)


def parse_labels(text: str) -> tuple[Requirement, ...]:
    """Read a label selector. Raises ApiError (400)."""
    found: list[Requirement] = []
    rest = _checked(text)
    while rest:
        requirement, length = _requirement(rest)
        if requirement is None or rest[length : length + 1] not in ("", ","):
            message = f"unable to parse requirement: {rest[:80]!r} in the label selector {text[:200]!r}"
            raise bad_request(message)
        found.append(requirement)
        rest = _after(rest, length, text)
    return tuple(found)


def parse_fields(text: str, known: frozenset[str]) -> tuple[Requirement, ...]:
    """Read a field selector that may name ``known`` fields. Raises ApiError (400)."""
    found: list[Requirement] = []
    for term in filter(str.strip, _checked(text).split(",")):  # as in Kubernetes, empty ones do not count
        match = _FIELD.fullmatch(term)
        if match is None:
            message = f"invalid field selector {text[:200]!r}; can't understand {term[:80]!r}"
            raise bad_request(message)
        if match[1] not in known:
            message = f"field label not supported: {match[1]}; known here: {', '.join(sorted(known))}"
            raise bad_request(message)
        found.append(Requirement(match[1], Op.NOT_IN if match[2] == "!=" else Op.IN, (match[3],)))
    return tuple(found)


def _requirement(text: str) -> tuple[Requirement | None, int]:
    if match := _AMONG.match(text):
        values = tuple(value.strip() for value in match[3].split(","))
        return Requirement(match[1], Op(match[2]), values), match.end()
    if match := _EQUAL.match(text):
        return Requirement(match[1], Op.NOT_IN if match[2] == "!=" else Op.IN, (match[3],)), match.end()
    if match := _MORE.match(text):
        return Requirement(match[1], Op.ABOVE if match[2] == ">" else Op.BELOW, (match[3],)), match.end()
    if match := _THERE.match(text):
        return Requirement(match[2], Op.NOT_THERE if match[1] else Op.THERE), match.end()
    return None, 0


def _checked(text: str) -> str:
    if len(text) > MAX_CHARS:
        message = f"a selector of {len(text)} characters is over the {MAX_CHARS} that are read"
        raise bad_request(message)
    return text.strip()


def _after(rest: str, length: int, text: str) -> str:
    """What follows a requirement and its comma; a comma with nothing behind it is a mistake."""
    if length < len(rest) and not rest[length + 1 :].strip():
        message = f"the selector {text[:200]!r} ends with a comma"
        raise bad_request(message)
    return rest[length + 1 :]
