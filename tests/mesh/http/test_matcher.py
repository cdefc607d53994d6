"""Which rule is for a request."""

from __future__ import annotations

import re
from urllib.parse import unquote_plus

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mesh.model.routes import HttpMatch, MatchType, ValueMatch
from mesh.planes.http.head import read_request
from mesh.planes.http.matcher import Matcher

pytestmark = pytest.mark.fast


def request(path: str = "/", host: str = "shop", *headers: str, method: str = "GET"):
    return read_request("\r\n".join([f"{method} {path} HTTP/1.1", f"Host: {host}", *headers, "", ""]).encode("latin-1"))


def naive(rules, head) -> int | None:
    """The same, from the words of Gateway API: one rule after the other."""
    path = head.path.decode()
    for number, hosts, matches in rules:
        if hosts and not any(_host(pattern, head.host) for pattern in hosts):
            continue
        for match in matches or (HttpMatch(),):
            elements = list(path.split("/"))
            wanted = match.path.rstrip("/").split("/")
            if match.path_type is MatchType.EXACT and path != match.path:
                continue
            if match.path_type is MatchType.PREFIX and elements[: len(wanted)] != wanted:
                continue
            if match.path_type is MatchType.REGEX and not re.fullmatch(match.path, path):
                continue
            if match.method and match.method != head.method.decode():
                continue
            if not all(_value(one, _header(head, one.name)) for one in match.headers):
                continue
            if not all(_value(one, _parameter(head, one.name)) for one in match.query):
                continue
            return number
    return None


def _host(pattern: str, host: str) -> bool:
    if pattern.startswith("*."):
        return host.endswith(pattern[1:]) and len(host) > len(pattern) - 1
    return pattern == host


def _header(head, name: str) -> str | None:
    found = [field.value.decode() for field in head.fields if field.name.decode() == name.lower()]
    return ", ".join(found) if found else None


def _parameter(head, name: str) -> str | None:
    pairs = [[*part.split("=", 1), ""] for part in head.query.decode()[1:].split("&")]
    return next((unquote_plus(pair[1]) for pair in pairs if unquote_plus(pair[0]) == name), None)


def _value(match: ValueMatch, value: str | None) -> bool:
    if value is None:
        return False
    return bool(re.fullmatch(match.value, value)) if match.type is MatchType.REGEX else match.value == value


_elements = st.sampled_from(["a", "b", "ab", ""])
_paths = st.lists(_elements, max_size=3).map(lambda elements: "/" + "/".join(elements))
_values = st.builds(
    ValueMatch,
    st.sampled_from(["x", "X", "y"]),
    st.sampled_from(["1", "2", "1|2"]),
    st.sampled_from([MatchType.EXACT, MatchType.REGEX]),
)
_matches = st.one_of(
    st.builds(
        HttpMatch, _paths, st.sampled_from([MatchType.EXACT, MatchType.PREFIX]), st.sampled_from(["", "GET", "PUT"])
    ),
    st.builds(HttpMatch, st.sampled_from(["/a.*", "/(a|b)", ".*"]), st.just(MatchType.REGEX)),
    st.builds(
        HttpMatch, headers=st.lists(_values, max_size=2).map(tuple), query=st.lists(_values, max_size=2).map(tuple)
    ),
)
_hosts = st.lists(st.sampled_from(["a.b.c", "b.c", "*.b.c", "*.c", "x.c"]), max_size=2)
_rules = st.lists(st.tuples(_hosts, st.lists(_matches, max_size=3)), max_size=6)
_requests = st.builds(
    lambda path, query, host, headers, method: request(path + query, host, *headers, method=method),
    _paths,
    st.sampled_from(["", "?", "?x=1", "?y=2&x=1", "?x=%31", "?x", "?x=2&x=1"]),
    st.sampled_from(["a.b.c", "b.c", "z.b.c", "z.a.b.c", "c", "x.c", "q", ".c"]),
    st.lists(st.sampled_from(["X: 1", "x: 2", "Y: 1", "Y:"]), max_size=3),
    st.sampled_from(["GET", "PUT"]),
)


@given(_rules, _requests)
@example([(["x.c"], []), (["*.c"], [])], request("/", "z.b.c"))
@example([(["*.c"], [])], request("/", ".c"))
@example([([], [HttpMatch(query=(ValueMatch("x", "2"),))])], request("/?x=2&x=1"))
@example([([], [HttpMatch("/a")]), ([], [HttpMatch("/a", MatchType.EXACT)])], request("/a"))
def test_the_same_rule_is_found_as_by_looking_at_one_after_the_other(rules, head):
    listed = [(number, hosts, matches) for number, (hosts, matches) in enumerate(rules)]
    found = Matcher(listed).find(head)
    assert (None if found is None else found.rule) == naive(listed, head)


@pytest.mark.parametrize(
    ("prefix", "path", "holds"),
    [
        ("/foo", "/foo", True),
        ("/foo", "/foo/", True),
        ("/foo", "/foo/bar", True),
        ("/foo", "/foobar", False),
        ("/foo/", "/foo", True),
        ("/foo/", "/foo/bar", True),
        ("/", "/anything", True),
        ("/foo", "/Foo", False),
    ],
)
def test_prefixes_count_by_elements(prefix: str, path: str, holds: bool):
    assert (Matcher([(1, (), (HttpMatch(prefix),))]).find(request(path)) is not None) == holds


def test_which_match_held_is_said():
    matches = (HttpMatch("/a"), HttpMatch("/b"))
    found = Matcher([(1, (), matches)]).find(request("/b/c"))
    assert found is not None
    assert found.match is matches[1]


def test_the_host_can_be_matched_as_a_header():
    match = HttpMatch(headers=(ValueMatch("Host", "shop:80"),))
    assert Matcher([(1, (), (match,))]).find(request("/", "shop:80"))
    assert not Matcher([(1, (), (match,))]).find(request("/", "shop"))


def test_a_bad_pattern_is_refused():
    with pytest.raises(ValueError, match="no regular expression"):
        Matcher([(1, (), (HttpMatch("(", MatchType.REGEX),))])
