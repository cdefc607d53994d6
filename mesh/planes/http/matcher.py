"""Which rule is for a request: the first of a frontend's rules whose host names and one of whose matches hold. Pure.

The rules are laid out by host name, then by path, so that a request is compared with few of them, however many there
are. What is left is compared in their order.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
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
    test: Callable[[RequestHead], bool] | None


class _Host(Generic[R]):
    """All that may be for one host name, by path: each known path has what its shorter prefixes have, in order."""

    __slots__ = ("_exact", "_longest", "_patterns", "_prefixes")

    def __init__(self, candidates: Iterable[tuple[_Candidate[R], HttpMatch]]) -> None:
        exact: dict[bytes, list[_Candidate[R]]] = {}
        prefixes: dict[bytes, list[_Candidate[R]]] = {b"": []}
        self._patterns: list[tuple[re.Pattern[str], _Candidate[R]]] = []
        for candidate, match in candidates:
            if match.path_type is MatchType.REGEX:
                self._patterns.append((_pattern(match.path), candidate))
            elif match.path_type is MatchType.EXACT:
                exact.setdefault(match.path.encode(), []).append(candidate)
            else:
                prefixes.setdefault(match.path.rstrip("/").encode(), []).append(candidate)
        self._prefixes: dict[bytes, list[_Candidate[R]]] = {}
        self._longest = 0
        for prefix in sorted(prefixes, key=len):
            shorter = self._under(prefix) if prefix else []
            self._prefixes[prefix] = _in_order(shorter, prefixes[prefix])
            self._longest = len(prefix)
        self._exact = {path: _in_order(self._under(path), some) for path, some in exact.items()}

    def find(self, head: RequestHead) -> Found[R] | None:
        path = head.path
        candidates = self._exact.get(path) or self._under(path)
        if self._patterns:
            text = path.decode("ascii")
            holding = [candidate for pattern, candidate in self._patterns if pattern.fullmatch(text)]
            candidates = _in_order(candidates, holding)
        method = head.method
        for candidate in candidates:
            if (not candidate.method or candidate.method == method) and (not candidate.test or candidate.test(head)):
                return candidate.found
        return None

    def _under(self, path: bytes) -> list[_Candidate[R]]:
        """Those of the longest prefix of whole path elements, which has those of the shorter ones."""
        prefixes = self._prefixes
        if (found := prefixes.get(path)) is not None:
            return found
        end = path.rfind(b"/", 0, self._longest + 1)
        while end > 0:
            if (found := prefixes.get(path[:end])) is not None:
                return found
            end = path.rfind(b"/", 0, end)
        return prefixes[b""]


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


def _in_order(some: list[_Candidate[R]], more: list[_Candidate[R]]) -> list[_Candidate[R]]:
    return sorted(some + more, key=_order)


def _order(candidate: _Candidate[R]) -> int:
    return candidate.order


def _candidate(position: int, number: int, rule: R, match: HttpMatch) -> _Candidate[R]:
    tests = [_header_test(one) for one in match.headers] + [_query_test(one) for one in match.query]
    test = (tests[0] if len(tests) == 1 else lambda head: all(one(head) for one in tests)) if tests else None
    return _Candidate(position * 1000 + number, Found(rule, match), match.method.encode("ascii"), test)


def _host(listed: Iterable[tuple[frozenset[str], _Candidate[R], HttpMatch]], name: str) -> _Host[R]:
    return _Host(
        (candidate, match) for hosts, candidate, match in listed if not hosts or (name and host_holds(hosts, name))
    )


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
