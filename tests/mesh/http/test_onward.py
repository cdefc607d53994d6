"""Heads as filters leave them."""

from __future__ import annotations

import pytest

from mesh.model.routes import HeaderModifier, HttpMatch, MatchType, PathModifier, Redirect, Rewrite
from mesh.planes.http.head import read_request
from mesh.planes.http.onward import Onward, location, replaced

pytestmark = pytest.mark.fast


def request(target: str = "/a/b?c", *headers: str, host: str = "shop:8080"):
    return read_request("\r\n".join([f"GET {target} HTTP/1.1", f"Host: {host}", *headers, "", ""]).encode())


def sent(head, *filters, match: HttpMatch = HttpMatch()) -> list[str]:  # noqa: B008
    return Onward(head, filters, match).start.decode().split("\r\n")


@pytest.mark.parametrize(
    ("path", "prefix", "replace", "new"),
    [
        ("/foo/bar", "/foo", "/xyz", "/xyz/bar"),
        ("/foo/bar", "/foo", "/xyz/", "/xyz/bar"),
        ("/foo/bar", "/foo/", "/xyz", "/xyz/bar"),
        ("/foo/bar", "/foo/", "/xyz/", "/xyz/bar"),
        ("/foo", "/foo", "/xyz", "/xyz"),
        ("/foo/", "/foo", "/xyz", "/xyz/"),
        ("/foo/bar", "/foo", "", "/bar"),
        ("/foo/", "/foo", "", "/"),
        ("/foo", "/foo", "", "/"),
        ("/foo/", "/foo", "/", "/"),
        ("/foo", "/foo", "/", "/"),
        ("/foo", "/", "/xyz", "/xyz/foo"),
    ],
)
def test_a_prefix_is_replaced_as_gateway_api_says(path: str, prefix: str, replace: str, new: str):
    assert replaced(path.encode(), PathModifier(replace, prefix_only=True), HttpMatch(prefix)) == new.encode()


def test_a_whole_path_is_replaced_and_the_query_stays():
    assert sent(request(), Rewrite(path=PathModifier("/new")))[0] == "GET /new?c HTTP/1.1"


def test_another_host_is_asked_and_the_first_is_told():
    lines = sent(request(), Rewrite(hostname="inner"))
    assert "Host: inner" in lines
    assert "X-Forwarded-Host: shop:8080" in lines


def test_headers_are_set_added_and_removed():
    modifier = HeaderModifier(set=(("X-A", "1"), ("Host", "other")), add=(("X-B", "3"),), remove=("x-c",))
    lines = sent(request("/", "X-A: 0", "x-a: 00", "X-B: 2", "X-C: gone"), modifier)
    assert [line for line in lines if line.lower().startswith("x-a")] == ["X-A: 1"]
    assert [line for line in lines if line.startswith("X-B")] == ["X-B: 2", "X-B: 3"]
    assert not any("gone" in line for line in lines)
    assert [line for line in lines if line.startswith("Host")] == ["Host: other"]


def test_no_filter_can_change_where_a_message_ends():
    head = read_request(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n")
    modifier = HeaderModifier(
        set=(("Content-Length", "9"),), add=(("Transfer-Encoding", "chunked"),), remove=("Content-Length",)
    )
    lines = [line.lower() for line in sent(head, modifier)]
    assert "content-length: 5" in lines
    assert not any(line.startswith("transfer-encoding") for line in lines)


def test_a_value_cannot_begin_a_line_of_its_own():
    lines = sent(request(), HeaderModifier(set=(("X-A", "1\r\nX-Evil: 2"),)))
    assert "X-A: 1X-Evil: 2" in lines


@pytest.mark.parametrize(
    ("redirect", "where"),
    [
        (Redirect(), "http://shop:8080/a/b?c"),
        (Redirect(scheme="https"), "https://shop/a/b?c"),
        (Redirect(scheme="https", port=8443), "https://shop:8443/a/b?c"),
        (Redirect(scheme="https", port=443), "https://shop/a/b?c"),
        (Redirect(hostname="other"), "http://other:8080/a/b?c"),
        (Redirect(hostname="other", port=80), "http://other/a/b?c"),
        (Redirect(path=PathModifier("/x")), "http://shop:8080/x?c"),
        (Redirect(path=PathModifier("/x", prefix_only=True)), "http://shop:8080/x/b?c"),
    ],
)
def test_redirects_change_only_what_they_say(redirect: Redirect, where: str):
    assert location(request(), redirect, HttpMatch("/a")) == where


def test_a_redirect_of_an_address_of_version_6():
    assert location(request("/", host="[::1]"), Redirect(), HttpMatch()) == "http://[::1]/"
    assert location(request("/", host="[::1]:81"), Redirect(), HttpMatch()) == "http://[::1]:81/"


def test_known_headers_are_written_once_and_alike():
    head = request()
    first, second = Onward(head, (), HttpMatch()), Onward(head, (), HttpMatch())
    assert first.start == second.start
    assert first.start.endswith(b"X-Forwarded-For: ")


def test_a_path_that_a_pattern_matched_is_replaced_whole():
    match = HttpMatch("/a.*", MatchType.REGEX)
    assert sent(request(), Rewrite(path=PathModifier("/new", prefix_only=True)), match=match)[0].startswith(
        "GET /new/a/b?c"
    )
