"""Bodies: where they end, however their bytes come."""

from __future__ import annotations

import h11
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.planes.http.bad_message import BadMessage
from mesh.planes.http.body import ChunkReader, LengthReader, chunk, last_chunk

pytestmark = pytest.mark.fast

_BODY = (
    b"4\r\nWiki\r\n6;name=value\r\npedia \r\nE\r\nin \r\n\r\nchunks.\r\n0\r\nX-Sum: 1\r\nHost: evil\r\n\r\nGET /next"
)
_CONTENT = b"Wikipedia in \r\n\r\nchunks."


def read(pieces: list[bytes]) -> tuple[bytes, ChunkReader]:
    reader = ChunkReader()
    content = b""
    for at, piece in enumerate(pieces):
        content += reader.take(piece)
        if reader.ended:
            reader.rest += b"".join(pieces[at + 1 :])
            break
    return content, reader


@pytest.mark.parametrize("at", range(1, len(_BODY)))
def test_chunks_may_be_cut_anywhere(at: int):
    content, reader = read([_BODY[:at], _BODY[at:]])
    assert (content, reader.ended, reader.trailers, reader.rest) == (_CONTENT, True, b"X-Sum: 1\r\n", b"GET /next")


def test_chunks_may_come_byte_by_byte():
    content, reader = read([bytes((byte,)) for byte in _BODY])
    assert (content, reader.trailers, reader.rest) == (_CONTENT, b"X-Sum: 1\r\n", b"GET /next")


@pytest.mark.parametrize(
    "body",
    [
        b"5\nhello\r\n0\r\n\r\n",
        b"5\r\nhello0\r\n\r\n",
        b"5\r\nhello\n0\r\n\r\n",
        b"5\r\nhelloX\r\n",
        b"4\r\nhello\r\n0\r\n\r\n",
        b"0x5\r\nhello\r\n0\r\n\r\n",
        b"+5\r\nhello\r\n0\r\n\r\n",
        b"-5\r\nhello\r\n0\r\n\r\n",
        b" 5\r\nhello\r\n0\r\n\r\n",
        b"5 \r\nhello\r\n0\r\n\r\n",
        b"\r\nhello\r\n0\r\n\r\n",
        b"G\r\nhello\r\n0\r\n\r\n",
        b"5;\0\r\nhello\r\n0\r\n\r\n",
        b"5;a\rb\r\nhello\r\n0\r\n\r\n",
        b"1" * 16 + b"\r\n",
        b"5;" + b"x" * 300,
        b"0\r\n folded\r\n\r\n",
        b"0\r\nX : 1\r\n\r\n",
        b"0\r\nX: \0\r\n\r\n",
        b"0\r\nno colon\r\n\r\n",
        b"0\r\nX: 1\n\r\n",
        b"0\r\n" + b"X: 1\r\n" * 5000,
        b"0\r\nX: " + b"x" * 20_000,
    ],
)
def test_what_is_no_chunk_is_refused(body: bytes):
    for pieces in ([body], [bytes((byte,)) for byte in body]):
        with pytest.raises(BadMessage):
            read(pieces)


@given(st.lists(st.binary(min_size=1, max_size=300)), st.lists(st.integers(1, 50), min_size=1))
def test_what_was_put_in_chunks_comes_out_again_and_h11_agrees(contents: list[bytes], sizes: list[int]):
    wire = b"".join(chunk(content) for content in contents) + last_chunk(b"X-T: 1\r\n")
    pieces, at = [], 0
    while at < len(wire):
        size = sizes[len(pieces) % len(sizes)]
        pieces.append(wire[at : at + size])
        at += size
    content, reader = read(pieces)
    assert (content, reader.ended, reader.rest, reader.trailers) == (b"".join(contents), True, b"", b"X-T: 1\r\n")
    assert judged(wire) == content


def judged(wire: bytes) -> bytes:
    judge = h11.Connection(h11.SERVER)
    judge.receive_data(b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n" + wire)
    judge.next_event()
    content = b""
    while isinstance(event := judge.next_event(), h11.Data):
        content += bytes(event.data)
    assert isinstance(event, h11.EndOfMessage)
    return content


@given(st.lists(st.binary(max_size=20), max_size=8), st.integers(0, 60))
def test_a_body_of_known_length_ends_there(pieces: list[bytes], length: int):
    reader = LengthReader(length)
    content = b""
    sent = b""
    for piece in pieces:
        if reader.ended:
            break
        sent += piece
        content += reader.take(piece)
    assert content == sent[:length]
    assert reader.rest == sent[length:]
    assert reader.ended == (len(sent) >= length)
