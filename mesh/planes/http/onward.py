"""Heads as they are sent on: without what is meant for one hop, with where they come from, changed by filters. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from mesh.model.routes import Filter, HeaderModifier, HttpMatch, MatchType, PathModifier, Redirect, Rewrite
from mesh.planes.http.fields import FORWARDED, Field
from mesh.planes.http.head import Framing, RequestHead, ResponseHead

_PORTS: Final = {"http": 80, "https": 443}


class Onward:
    """A request as it goes to one backend, but for what differs by client and time.

    Sent as  ``start`` client-address CRLF [X-Request-Id: id CRLF] CRLF.
    """

    __slots__ = ("needs_id", "start")

    def __init__(self, head: RequestHead, filters: Sequence[Filter], match: HttpMatch) -> None:
        block = head.block
        self.needs_id = True
        if not filters and head.authority is block.authority:
            if not block.onward:
                block.onward, block.needs_id = _lines(head, head.fields, head.authority)
            self.needs_id = block.needs_id
            self.start = b"%b %b%b HTTP/1.1\r\n%b" % (head.method, head.path, head.query, block.onward)
            return
        fields: Sequence[Field] = head.fields
        host, path = head.authority, head.path
        for one in filters:
            if isinstance(one, HeaderModifier):
                if not one.response:
                    fields = modified(fields, one)
                    host = next((field.value for field in fields if field.name == b"host"), host)
            elif isinstance(one, Rewrite):
                host = one.hostname.encode("ascii") if one.hostname else host
                path = replaced(path, one.path, match)
        lines, self.needs_id = _lines(head, fields, host)
        self.start = b"%b %b%b HTTP/1.1\r\n%b" % (head.method, path, head.query, lines)


def _lines(head: RequestHead, fields: Iterable[Field], host: bytes) -> tuple[bytes, bool]:
    """The headers as they are sent on, and whether they need an id."""
    lines = [b"Host: %b\r\n" % host]
    forwarded: dict[bytes, bytes] = {}
    needs_id = True
    for field in fields:
        name = field.name
        if field.plain:
            lines.append(field.line)
        elif name in FORWARDED:
            before = forwarded.get(name)
            forwarded[name] = field.value if before is None else before + b", " + field.value
        elif name != b"host":
            lines.append(field.line)
            if name == b"x-request-id" and field.value:
                needs_id = False
    if head.framing is Framing.CHUNKED:
        lines.append(b"Transfer-Encoding: chunked\r\n")
    if head.upgrade:
        lines.append(b"Connection: upgrade\r\nUpgrade: %b\r\n" % head.upgrade)
    lines.append(b"X-Forwarded-Proto: %b\r\n" % forwarded.get(b"x-forwarded-proto", b"http"))
    lines.append(b"X-Forwarded-Host: %b\r\n" % forwarded.get(b"x-forwarded-host", head.authority))
    prior = forwarded.get(b"x-forwarded-for")
    lines.append(b"X-Forwarded-For: %b, " % prior if prior else b"X-Forwarded-For: ")
    return b"".join(lines), needs_id


def answer_onward(head: ResponseHead, filters: Iterable[HeaderModifier]) -> bytes:
    """An answer's head, changed by filters, without its last empty line."""
    fields: Sequence[Field] = head.fields
    for one in filters:
        fields = modified(fields, one)
    first = head.onward[: head.onward.index(b"\r\n") + 2]
    return first + b"".join([field.line for field in fields])


def modified(fields: Sequence[Field], modifier: HeaderModifier) -> list[Field]:
    """Headers after set, add and remove. What tells where a message ends is never touched."""
    gone = {name.lower().encode("ascii") for name in (*modifier.remove, *(name for name, _ in modifier.set))}
    kept = [field for field in fields if field.name not in gone or field.name in _FRAMING]
    new = (_field(name, value) for name, value in (*modifier.set, *modifier.add))
    return kept + [field for field in new if field.name not in _FRAMING]


_FRAMING: Final = frozenset((b"content-length", b"transfer-encoding", b"connection", b"upgrade"))


def _field(name: str, value: str) -> Field:
    return Field(name.encode("ascii"), value.encode("latin-1", "replace").translate(None, b"\r\n\0").strip(b" \t"))


def replaced(path: bytes, modifier: PathModifier | None, match: HttpMatch) -> bytes:
    """A path after replacing all of it, or the prefix that matched."""
    if modifier is None:
        return path
    new = modifier.replace.encode("ascii", "replace")
    if modifier.prefix_only:
        prefix = match.path.rstrip("/") if match.path_type is MatchType.PREFIX else ""
        new = new.rstrip(b"/") + path[len(prefix) :]
    return new if new.startswith(b"/") else b"/" + new


def location(head: RequestHead, redirect: Redirect, match: HttpMatch) -> str:
    """Where a redirect leads: what it does not say stays as the client asked for it."""
    scheme = redirect.scheme or "http"
    authority = head.authority.decode("ascii")
    name, colon, asked_port = authority.rpartition(":")
    if not colon or "]" in asked_port:
        name, asked_port = authority, ""
    port = redirect.port or (0 if redirect.scheme else int(asked_port or 0))
    where = redirect.hostname or name
    if port and port != _PORTS.get(scheme):
        where = f"{where}:{port}"
    return f"{scheme}://{where}{(replaced(head.path, redirect.path, match) + head.query).decode('ascii')}"
