"""Answers that the mesh gives itself."""

from __future__ import annotations

from http import HTTPStatus
from typing import Final

from mesh.model.policies import DirectResponse

_BODILESS: Final = frozenset((204, 304))


def answer(
    status: int,
    text: str,
    *,
    content_type: str = "text/plain; charset=utf-8",
    headers: tuple[tuple[str, str], ...] = (),
    close: bool = False,
    to_head: bool = False,
) -> bytes:
    """A whole message. ``close``: the connection ends after it; ``to_head``: the body is only announced."""
    body = b"" if status in _BODILESS else text.encode()
    lines = [f"HTTP/1.1 {status} {phrase(status)}"]
    if status not in _BODILESS:
        lines += [f"Content-Type: {content_type}", f"Content-Length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in headers]
    if close:
        lines.append("Connection: close")
    head = "\r\n".join([*lines, "", ""]).encode("latin-1", "replace")
    return head if to_head else head + body


def direct(response: DirectResponse, *, close: bool, to_head: bool) -> bytes:
    """The answer that a degradation asks for."""
    return answer(response.status, response.body, content_type=response.content_type, close=close, to_head=to_head)


def phrase(status: int) -> str:
    """What stands beside a status."""
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Status"
