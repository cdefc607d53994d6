"""Heads: what is refused, and what h11 makes of those that are not."""

from __future__ import annotations

import time

import h11
import httptools
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mesh.planes.http.bad_message import BadMessage
from mesh.planes.http.fields import Lines
from mesh.planes.http.head import (
    MAX_HEAD_BYTES,
    Blocks,
    Framing,
    check_unfinished,
    read_request,
    read_response,
)
from tests.mesh.http.smuggling import REFUSED, UNFINISHED

pytestmark = pytest.mark.fast


@pytest.mark.parametrize(("name", "status", "head"), REFUSED, ids=[name for name, _, _ in REFUSED])
def test_what_two_readers_could_read_differently_is_refused(name: str, status: int, head: bytes):
    with pytest.raises(BadMessage) as refused:
        read_request(head, Blocks())
    assert refused.value.status == status


@pytest.mark.parametrize(("name", "status", "head"), UNFINISHED, ids=[name for name, _, _ in UNFINISHED])
def test_what_cannot_become_a_head_is_refused_before_its_end(name: str, status: int, head: bytes):
    with pytest.raises(BadMessage) as refused:
        check_unfinished(head)
    assert refused.value.status == status


@given(st.integers(1, 60))
def test_the_beginning_of_a_good_head_is_waited_for(length: int):
    check_unfinished(b"GET /some/path HTTP/1.1\r\nHost: shop\r\nAccept: text/html, */*\r\n\r\n"[:length])


def test_a_head_is_read_alike_when_its_headers_are_known():
    blocks = Blocks()
    for path in (b"/one", b"/two?x"):
        head = b"GET %b HTTP/1.1\r\nHost: Shop.Default:80\r\nX-A: 1\r\nX-A: 2\r\n\r\n" % path
        for known in (None, blocks):
            request = read_request(head, known)
            assert request.path + request.query == path
            assert (request.host, request.authority) == ("shop.default", b"Shop.Default:80")
            assert request.value(b"x-a") == b"1, 2"


@pytest.mark.parametrize(
    "rest", [b"", b"Host: shop\r\n", b"Host: shop", b"Host: shop\r\nX-A: 1234", b"\r\nX-A: 1\r\n\r\n"]
)
def test_a_head_without_its_empty_line_is_none(rest: bytes):
    for blocks in (None, Blocks()):
        with pytest.raises(BadMessage):
            read_request(b"GET / HTTP/1.1\r\n" + rest, blocks)
    with pytest.raises(BadMessage):
        read_response(b"HTTP/1.1 200 OK\r\n" + rest)


def test_a_line_is_proven_in_one_pass():
    head = b"GET / HTTP/1.1\r\nHost: shop\r\nX-A:" + b" " * 16_000 + b"\0\r\n\r\n"
    before_s = time.thread_time()
    with pytest.raises(BadMessage):
        read_request(head, Blocks())
    assert time.thread_time() - before_s < 0.03  # tried from each of its spaces again, it takes many times that


def test_an_address_as_target_gives_path_and_host():
    request = read_request(b"GET http://shop:80/a?b HTTP/1.1\r\nHost: SHOP:80\r\n\r\n")
    assert (request.path, request.query, request.host) == (b"/a", b"?b", "shop")
    assert read_request(b"GET http://shop HTTP/1.1\r\nHost: shop\r\n\r\n").path == b"/"


@pytest.mark.parametrize(
    ("host", "name"), [("[::1]:80", "[::1]"), ("10.0.0.1", "10.0.0.1"), ("A.B.", "a.b"), ("", ""), ("x:", "x")]
)
def test_host_names(host: str, name: str):
    assert read_request(f"GET / HTTP/1.1\r\nHost: {host}\r\n\r\n".encode()).host == name


def test_the_framing_of_an_answer():
    def framing(status: int, *headers: str) -> tuple[Framing, int]:
        lines = "".join(f"{header}\r\n" for header in headers)
        head = read_response(f"HTTP/1.1 {status} X\r\n{lines}\r\n".encode())
        return head.framing, head.length

    assert framing(200, "Content-Length: 7") == (Framing.LENGTH, 7)
    assert framing(200, "Transfer-Encoding: Chunked") == (Framing.CHUNKED, 0)
    assert framing(200) == (Framing.UNTIL_CLOSE, 0)
    assert framing(204, "Content-Length: 7") == (Framing.NONE, 0)
    assert framing(304, "Content-Length: 7") == (Framing.NONE, 0)


@pytest.mark.parametrize(
    "head",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
        b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: a\r\n b\r\n\r\n",
        b"HTTP/1.1 200 OK\nX: a\r\n\r\n",
        b"HTTP/1.1 2000 OK\r\n\r\n",
        b"HTTP/2 200 OK\r\n\r\n",
        b"ICY 200 OK\r\n\r\n",
        b"HTTP/1.1 600 Odd\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX\0: a\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX : a\r\n\r\n",
    ],
)
def test_answers_that_could_be_read_differently_are_refused(head: bytes):
    with pytest.raises(BadMessage) as refused:
        read_response(head)
    assert refused.value.status == 502


# -- h11 as the judge --------------------------------------------------------------------------------------------------

_names = st.sampled_from(
    [
        "Host",
        "Content-Length",
        "Transfer-Encoding",
        "Connection",
        "X-A",
        "X A",
        "X-A ",
        " X",
        "",
        "X\t",
        "Expect",
        "Upgrade",
    ]
)
_values = st.sampled_from(
    [
        "shop",
        "5",
        "5,5",
        "05",
        "+5",
        "0x5",
        "chunked",
        "Chunked",
        "gzip",
        "chunked, gzip",
        "xchunked",
        "\x0bchunked",
        "close",
        "host",
        "100-continue",
        "a\tb",
        "a\x00b",
        "",
        "ä",
        " 7 ",
        "h2c",
    ]
)
_ends = st.sampled_from(["\r\n", "\r\n", "\r\n", "\r\n", "\n", "\r", "\r\n ", "\r\r\n"])
_lines = st.lists(st.tuples(_names, st.sampled_from([": ", ":", " : "]), _values, _ends), max_size=4)
_first = st.sampled_from(
    [
        "GET / HTTP/1.1",
        "POST /a HTTP/1.1",
        "GET / HTTP/1.0",
        "GET  / HTTP/1.1",
        "GET /ä HTTP/1.1",
        "get / HTTP/1.1",
        "GET / HTTP/1.1 ",
        "GET /\tx HTTP/1.1",
        "GET a HTTP/1.1",
        "GET * HTTP/1.1",
        "GET http://shop/ HTTP/1.1",
    ]
)


@given(_first, _lines)
@example("GET / HTTP/1.1", [("Host", ": ", "shop", "\r\n"), ("X-A", ":", "", "\r\n")])
def test_what_is_taken_means_the_same_to_h11(first: str, lines):
    text = f"{first}\r\n" + "".join(f"{name}{colon}{value}{end}" for name, colon, value, end in lines) + "\r\n"
    head = text.encode("latin-1")
    if b"\r\n\r\n" in head:
        head = head[: head.index(b"\r\n\r\n") + 4]
    try:
        ours = read_request(head, Blocks())
    except BadMessage:
        return
    judge = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_HEAD_BYTES)
    judge.receive_data(head)
    event = judge.next_event()
    assert isinstance(event, h11.Request)
    assert event.method == ours.method
    assert event.http_version == (b"1.1" if ours.minor else b"1.0")
    theirs = dict(event.headers)
    if ours.framing is Framing.CHUNKED:
        assert theirs[b"transfer-encoding"] == b"chunked"
    if ours.framing is Framing.LENGTH:
        assert int(theirs[b"content-length"]) == ours.length
    if ours.framing is Framing.NONE:
        assert isinstance(judge.next_event(), h11.EndOfMessage)
    for field in ours.fields:
        assert (field.name, field.value) in [(name, value) for name, value in event.headers]
    llhttp = Llhttp(head)
    assert llhttp.headers == [(name, value) for name, value in event.headers]
    assert llhttp.ended == (ours.framing is Framing.NONE or (ours.framing is Framing.LENGTH and not ours.length))


_KNOWN = Lines()


@given(_first, _lines)
def test_what_was_read_before_changes_nothing(first: str, lines):
    text = f"{first}\r\n" + "".join(f"{name}{colon}{value}{end}" for name, colon, value, end in lines) + "\r\n"
    assert _read(text.encode("latin-1"), Blocks(_KNOWN)) == _read(text.encode("latin-1"), Blocks())


def _read(head: bytes, blocks: Blocks):
    try:
        request = read_request(head, blocks)
    except BadMessage as bad:
        return bad.status, bad.message
    return request.host, request.framing, request.length, request.close, [field.line for field in request.fields]


class Llhttp:
    """What llhttp reads out of a head: a third opinion."""

    def __init__(self, head: bytes) -> None:
        self.headers: list[tuple[bytes, bytes]] = []
        self.ended = False
        httptools.HttpRequestParser(self).feed_data(head)

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name.lower(), value.rstrip(b" \t")))

    def on_message_complete(self) -> None:
        self.ended = True
