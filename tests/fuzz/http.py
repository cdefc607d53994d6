"""HTTP messages as a fuzzer sees them, with h11 as the judge: what we take means the same to it."""

from __future__ import annotations

from contextlib import suppress

import h11

from mesh.planes.http.bad_message import BadMessage
from mesh.planes.http.body import ChunkReader
from mesh.planes.http.head import Blocks, Framing, check_unfinished, read_request, read_response
from tests.mesh.http.smuggling import REFUSED

_BLOCKS = Blocks()
_CHUNKED = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"


def requests():
    """Seeds: what is taken, and what is refused."""
    yield b"GET /a?b HTTP/1.1\r\nHost: shop:80\r\nX-A: 1\r\nConnection: keep-alive, x-a\r\n\r\n"
    yield b"POST / HTTP/1.1\r\nHost: [::1]\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\nhello"
    yield _CHUNKED + b"5;x=y\r\nhello\r\n0\r\nX-T: 1\r\n\r\n"
    for _, _, head in REFUSED:
        yield head


def request(given: bytes) -> None:
    """A head is refused, or h11 reads the same out of it, its body's end included."""
    end = given.find(b"\r\n\r\n") + 4
    if end < 4:
        with suppress(BadMessage):
            check_unfinished(given)
        return
    head, body = given[:end], given[end:]
    try:
        ours = read_request(head, _BLOCKS)
    except BadMessage:
        return
    judge = h11.Connection(h11.SERVER, max_incomplete_event_size=1_000_000)
    judge.receive_data(head)
    theirs = judge.next_event()
    assert isinstance(theirs, h11.Request)
    assert (theirs.method, theirs.http_version == b"1.1") == (ours.method, ours.minor)
    headers = list(theirs.headers)
    assert all((field.name, field.value) in headers for field in ours.fields)
    if ours.framing is Framing.NONE:
        assert isinstance(judge.next_event(), h11.EndOfMessage)
    elif ours.framing is Framing.LENGTH:
        assert int(dict(headers)[b"content-length"]) == ours.length
    else:
        chunks(body)


def chunks(given: bytes) -> None:
    """A body is refused, or is the same for h11, and the same in any pieces."""
    try:
        whole = ChunkReader()
        content = whole.take(given)
        pieces = ChunkReader()
        assert b"".join([pieces.take(given[at : at + 1]) for at in range(len(given)) if not pieces.ended]) == content
    except BadMessage:
        return
    assert (pieces.ended, pieces.trailers) == (whole.ended, whole.trailers)
    if not whole.ended:
        return
    judge = h11.Connection(h11.SERVER, max_incomplete_event_size=1_000_000)
    judge.receive_data(_CHUNKED + given[: len(given) - len(whole.rest)])
    judge.next_event()
    theirs = b""
    while isinstance(event := judge.next_event(), h11.Data):
        theirs += bytes(event.data)
    assert isinstance(event, h11.EndOfMessage)
    assert theirs == content


def bodies():
    """Seeds: chunked bodies."""
    yield b"5;x=y\r\nhello\r\n0\r\nX-T: 1\r\n\r\nGET"
    yield b"A\r\n0123456789\r\n1\r\n!\r\n0\r\n\r\n"
    yield b"5\nhello\n0\n\n"


def responses():
    """Seeds: answers of endpoints."""
    yield b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: x-a\r\nX-A: 1\r\n\r\n"
    yield b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n"
    yield b"HTTP/1.0 204\r\n\r\n"


def response(given: bytes) -> None:
    """An answer's head is refused, or h11 finds the same end of its body."""
    head = given[: given.find(b"\r\n\r\n") + 4]
    try:
        ours = read_response(head)
    except BadMessage:
        return
    if ours.status == 101:
        return  # h11 has not asked for it
    judge = h11.Connection(h11.CLIENT, max_incomplete_event_size=1_000_000)
    judge.send(h11.Request(method="GET", target="/", headers=[("host", "x")]))
    judge.send(h11.EndOfMessage())
    judge.receive_data(head)
    event = judge.next_event()
    assert isinstance(event, h11.Response | h11.InformationalResponse)
    assert event.status_code == ours.status
    if isinstance(event, h11.Response) and ours.framing is Framing.NONE:
        assert isinstance(judge.next_event(), h11.EndOfMessage)
    if ours.framing is Framing.LENGTH:
        assert int(dict(event.headers)[b"content-length"]) == ours.length
