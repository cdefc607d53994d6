"""Which rule is for a request: the first of a frontend's rules whose host names and one of whose matches hold. Pure.

The rules are laid out by host name, then by path, so that a request is compared with few of them, however many there
are. What is left is compared in their order.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final, Generic, TypeVar
from urllib.parse import unquote_plus

from mesh.model.routes import HttpMatch, MatchType, ValueMatch
from mesh.planes.http.head import RequestHead

R = TypeVar("R")

_ALL: Final = (HttpMatch(),)


@dataclass(frozen=True, slots=True)
class Found(Generic[R]):
    """A rule, and which of its matches held."""

    rule: R
    match: HttpMatch


@dataclass(frozen=True, slots=True)
class _Candidate(Generic[R]):
    order: int
    found: Found[R]
    method: bytes
    tests: tuple[Callable[[RequestHead], bool], ...]


@dataclass(slots=True)
class _Host(Generic[R]):
    """All that may be for one host name, by path."""

    exact: dict[str, list[_Candidate[R]]] = field(default_factory=dict)
    prefixes: dict[str, list[_Candidate[R]]] = field(default_factory=dict)
    patterns: list[tuple[re.Pattern[str], _Candidate[R]]] = field(default_factory=list)

    def find(self, head: RequestHead) -> Found[R] | None:
        path = head.path.decode("ascii")
        candidates = self.exact.get(path)
        prefixes = self.prefixes
        if prefixes:
            candidates = _with(candidates, prefixes.get(""))
            end = path.find("/", 1)
            while end > 0:
                candidates = _with(candidates, prefixes.get(path[:end]))
                end = path.find("/", end + 1)
            candidates = _with(candidates, prefixes.get(path))
        for pattern, candidate in self.patterns:
            if pattern.fullmatch(path):
                candidates = _with(candidates, [candidate])
        method = head.method
        for candidate in candidates or ():
            if (not candidate.method or candidate.method == method) and all(test(head) for test in candidate.tests):
                return candidate.found
        return None


class Matcher(Generic[R]):
    """Finds rules; built once for all (rule, its host names, its matches). Raises ValueError for a bad pattern."""

    def __init__(self, rules: Iterable[tuple[R, Sequence[str], Sequence[HttpMatch]]]) -> None:
        listed = [
            (frozenset(host.lower() for host in hosts), _candidate(position, number, rule, match), match)
            for position, (rule, hosts, matches) in enumerate(rules)
            for number, match in enumerate(matches or _ALL)
        ]
        names = {name for hosts, _, _ in listed for name in hosts}
        self._exact = {name: _host(listed, name) for name in names if not name.startswith("*.")}
        # No host has such a label: it stands for all those below a wildcard that have no rule of their own.
        self._wildcards = {name[1:]: _host(listed, "\0" + name[1:]) for name in names if name.startswith("*.")}
        self._any: _Host[R] = _host(listed, "")

    def find(self, head: RequestHead) -> Found[R] | None:
        """The first rule that is for a request."""
        name = head.host
        host = self._exact.get(name)
        if host is None:
            host = self._any
            dot = name.find(".") if self._wildcards else -1
            while dot >= 0:
                if dot and (wild := self._wildcards.get(name[dot:])):
                    host = wild
                    break
                dot = name.find(".", dot + 1)
        return host.find(head)


def host_holds(patterns: Iterable[str], host: str) -> bool:
    """Whether a host name is among those of a rule; ``*.`` stands for one or more labels."""
    return any(pattern == host or (pattern.startswith("*.") and host.endswith(pattern[1:])) for pattern in patterns)


def _with(some: list[_Candidate[R]] | None, more: list[_Candidate[R]] | None) -> list[_Candidate[R]] | None:
    """Both lists as one, in their order."""
    if more is None or some is None:
        return some if more is None else more
    return sorted(some + more, key=_order)


def _order(candidate: _Candidate[R]) -> int:
    return candidate.order


def _candidate(position: int, number: int, rule: R, match: HttpMatch) -> _Candidate[R]:
    tests = [_header_test(one) for one in match.headers] + [_query_test(one) for one in match.query]
    return _Candidate(position * 1000 + number, Found(rule, match), match.method.encode("ascii"), tuple(tests))


def _host(listed: Iterable[tuple[frozenset[str], _Candidate[R], HttpMatch]], name: str) -> _Host[R]:
    host: _Host[R] = _Host()
    for hosts, candidate, match in listed:
        if hosts and not (name and host_holds(hosts, name)):
            continue
        if match.path_type is MatchType.REGEX:
            host.patterns.append((_pattern(match.path), candidate))
        elif match.path_type is MatchType.EXACT:
            host.exact.setdefault(match.path, []).append(candidate)
        else:
            host.prefixes.setdefault(match.path.rstrip("/"), []).append(candidate)
    return host


def _pattern(text: str) -> re.Pattern[str]:
    try:
        return re.compile(text)
    except re.error as bad:
        msg = f"{text!r} is no regular expression: {bad}"
        raise ValueError(msg) from bad


def _header_test(match: ValueMatch) -> Callable[[RequestHead], bool]:
    name = match.name.lower().encode("ascii")
    wanted = _wanted(match)

    def test(head: RequestHead) -> bool:
        if name == b"host":
            return wanted(head.authority.decode("latin-1"))
        value = head.value(name)
        return value is not None and wanted(value.decode("latin-1"))

    return test


def _query_test(match: ValueMatch) -> Callable[[RequestHead], bool]:
    name = match.name
    wanted = _wanted(match)

    def test(head: RequestHead) -> bool:
        value = query_value(head.query, name)
        return value is not None and wanted(value)

    return test


def query_value(query: bytes, name: str) -> str | None:
    """The first value of a parameter; ``query`` may have its question mark."""
    for part in query.lstrip(b"?").split(b"&"):
        key, _, value = part.partition(b"=")
        if unquote_plus(key.decode("latin-1")) == name:
            return unquote_plus(value.decode("latin-1"))
    return None


def _wanted(match: ValueMatch) -> Callable[[str], bool]:
    if match.type is MatchType.REGEX:
        pattern = _pattern(match.value)
        return lambda value: pattern.fullmatch(value) is not None
    return lambda value: value == match.value
