"""How an endpoint's answer is put to a client that may speak another version and want the connection to end. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from mesh.model.routes import HeaderModifier
from mesh.planes.http.head import Framing, RequestHead, ResponseHead
from mesh.planes.http.onward import answer_onward


def reply_head(
    head: ResponseHead, framing: Framing, request: RequestHead, changes: Sequence[HeaderModifier], *, close: bool
) -> bytes:
    """The head of the answer, with its empty line. ``close``: the client's connection ends after it."""
    onward = answer_onward(head, changes) if changes else head.onward
    if chunks(framing, request) or (request.method == b"HEAD" and head.framing is Framing.CHUNKED and request.minor):
        onward += b"Transfer-Encoding: chunked\r\n"
    if close:
        return onward + b"Connection: close\r\n\r\n"
    return onward + (b"\r\n" if request.minor else b"Connection: keep-alive\r\n\r\n")


def chunks(framing: Framing, request: RequestHead) -> bool:
    """Whether the body goes to the client in chunks: its length is not known, and the client knows chunks."""
    return request.minor and (framing is Framing.CHUNKED or framing is Framing.UNTIL_CLOSE)


def ends_with_connection(framing: Framing, request: RequestHead) -> bool:
    """Whether only the end of the connection tells the client where the body ends."""
    return not request.minor and (framing is Framing.CHUNKED or framing is Framing.UNTIL_CLOSE)
