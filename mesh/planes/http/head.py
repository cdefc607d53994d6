"""Heads of HTTP/1.1 messages, strictly: what two readers could understand differently is refused.

    request-line | status-line CRLF  *(name ":" value CRLF)  CRLF

Regular expressions prove each line; only then is it cut apart, so that nothing is cut from what was not proven.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from enum import Enum
from typing import Final

from mesh.planes.http.bad_message import BadMessage
from mesh.planes.http.fields import HOP_BY_HOP, Field, Lines

MAX_HEAD_BYTES: Final = 16_384
_KNOWN: Final = 256
_KNOWN_BYTES: Final = 1024

_REQUEST_LINE: Final = re.compile(rb"([A-Z][A-Z0-9_-]{0,31}) ([\x21\x22\x24-\x7e]+) HTTP/1\.([01])")
_STATUS_LINE: Final = re.compile(rb"HTTP/1\.([01]) ([1-5]\d\d)(?: [\t\x20-\x7e\x80-\xff]*)?")
_HOST: Final = re.compile(rb"(?:([A-Za-z0-9._~%!$&'()*+;=-]*)|(\[[0-9A-Fa-f:.]+\]))(?::(\d{0,5}))?")
_ABSOLUTE: Final = re.compile(rb"https?://([^/?#@]+)(/[^?]*)?(\?.*)?", re.IGNORECASE)
_LENGTH: Final = re.compile(rb"\d{1,18}")
_LONE_LINE_END: Final = re.compile(rb"(?<!\r)\n|\r(?!\n)(?!\Z)")

_NOT_ONWARD: Final = HOP_BY_HOP | {b"host", b"http2-settings", b"expect"}
_NEVER_NAMED: Final = frozenset((b"host", b"content-length", b"transfer-encoding", b"authorization", b"cookie"))
"""What nobody may have removed on the way by naming it in Connection."""
_IDEMPOTENT: Final = frozenset((b"GET", b"HEAD", b"OPTIONS", b"PUT", b"DELETE", b"TRACE"))


class Framing(Enum):
    """How the end of a body is found."""

    NONE = "no body"
    LENGTH = "Content-Length"
    CHUNKED = "chunked"
    UNTIL_CLOSE = "until the connection ends"


class Block:
    """The headers of a request: all that does not depend on its first line. ``fields`` are those that travel on."""

    __slots__ = (
        "authority",
        "close",
        "expects_continue",
        "fields",
        "framing",
        "has_body",
        "host",
        "length",
        "needs_id",
        "onward",
        "upgrade",
        "values",
    )

    def __init__(self) -> None:
        self.fields: tuple[Field, ...] = ()
        self.values: Mapping[bytes, bytes] = {}
        """Of those that travel on, by name; several of one name are joined."""
        self.authority: bytes | None = None
        self.host = ""
        self.framing = Framing.NONE
        self.length = 0
        self.has_body = False
        self.close = False
        self.upgrade = b""
        self.expects_continue = False
        self.onward = b""
        """As it is sent on where no filter changes it; empty: not worked out yet."""
        self.needs_id = True


class RequestHead:
    """What a request asks for. ``host`` is in lower case, without a port; ``query`` has its question mark, or is empty.

    ``minor``: HTTP/1.1, not 1.0. ``close``: the connection ends after the answer. ``has_body``: something follows.
    """

    __slots__ = (
        "authority", "block", "close", "has_body", "host", "idempotent", "method", "minor", "path", "query",
    )  # fmt: skip

    def __init__(self, method: bytes, minor: bool, block: Block) -> None:
        self.method = method
        self.minor = minor
        self.block = block
        self.path = self.query = b""
        self.authority = block.authority or b""
        self.host = block.host
        self.has_body = block.has_body
        self.close = block.close
        self.idempotent = method in _IDEMPOTENT

    @property
    def fields(self) -> tuple[Field, ...]:
        """The headers that travel on."""
        return self.block.fields

    @property
    def framing(self) -> Framing:
        """How the end of its body is found."""
        return self.block.framing

    @property
    def length(self) -> int:
        """Bytes of its body, where that is how its end is found."""
        return self.block.length

    @property
    def upgrade(self) -> bytes:
        """The protocol that it asks for instead; empty: none."""
        return self.block.upgrade

    @property
    def expects_continue(self) -> bool:
        """Its body waits for a 100."""
        return self.block.expects_continue

    def value(self, name: bytes) -> bytes | None:
        """All values of a header, joined as one; None: it is not there."""
        return self.block.values.get(name)


class ResponseHead:
    """What an endpoint answers. ``onward`` is the head as it is sent on, without framing of chunks and empty line."""

    __slots__ = ("close", "fields", "framing", "length", "minor", "onward", "same", "simple", "status", "upgrade")

    def __init__(self, status: int, minor: bool) -> None:
        self.status = status
        self.minor = minor
        self.framing = Framing.NONE
        self.length = 0
        self.close = False
        """The endpoint ends the connection after it."""
        self.upgrade = b""
        self.fields: tuple[Field, ...] = ()
        self.onward = b""
        self.same = False
        """It may travel on as the very bytes that came."""
        self.simple = False
        """An answer whose length is known, and that leaves its connection open."""

    def value(self, name: bytes) -> bytes | None:
        """The first value of a header; None: it is not there."""
        return next((field.value for field in self.fields if field.name == name), None)


class Blocks:
    """Headers that were read lately, by their very bytes: clients send the same ones with one path after another."""

    __slots__ = ("_known", "_lines")

    def __init__(self, lines: Lines | None = None) -> None:
        self._known: dict[bytes, Block] = {}
        self._lines = lines or Lines()

    def read(self, text: bytes) -> Block:
        """Read the headers of an HTTP/1.1 request. Raises BadMessage."""
        block = self._known.get(text)
        if block is None:
            block = _read_block(self._lines.read(text), minor=True)
            if len(text) <= _KNOWN_BYTES:
                if len(self._known) >= _KNOWN:
                    self._known.clear()
                self._known[text] = block
        return block


def read_request(head: bytes, blocks: Blocks | None = None) -> RequestHead:
    """Read a whole head, up to and with its empty line. Raises BadMessage."""
    line, _, text = head.partition(b"\r\n")
    found = _REQUEST_LINE.fullmatch(line)
    if found is None:
        raise _why_not(line)
    method, target, digit = found.groups()
    minor = digit == b"1"
    if method == b"CONNECT":
        msg = "No tunnels are made here"
        raise BadMessage(msg, status=405)
    block = blocks.read(text) if minor and blocks is not None else _read_block(Lines().read(text), minor=minor)
    request = RequestHead(method, minor, block)
    if target[:1] == b"/":
        request.path, mark, query = target.partition(b"?")
        request.query = mark + query
    else:
        _take_other_target(request, target)
    return request


def read_response(head: bytes, lines: Lines | None = None) -> ResponseHead:
    """Read a whole head, up to and with its empty line. Raises BadMessage."""
    line, _, text = head.partition(b"\r\n")
    found = _STATUS_LINE.fullmatch(line)
    if found is None:
        msg = "The endpoint's answer is no HTTP/1.1"
        raise BadMessage(msg, status=502)
    minor, status = found.groups()
    response = ResponseHead(int(status), minor == b"1")
    try:
        fields = (lines or Lines()).read(text)
        ours = _meant_for_us(fields)
        response.framing, response.length = _framing(ours, response.minor, Framing.UNTIL_CLOSE)
        options = _options(ours)
    except BadMessage as bad:
        msg = f"The endpoint's answer: {bad.message}"
        raise BadMessage(msg, status=502) from bad
    if response.status < 200 or response.status in (204, 304):
        response.framing, response.length = Framing.NONE, 0
    response.close = b"close" in options or (not response.minor and b"keep-alive" not in options)
    response.upgrade = _upgrade(ours, options)
    dropped = HOP_BY_HOP | options
    if response.status < 200 or response.status == 204:
        dropped |= {b"content-length"}
    response.fields = tuple([field for field in fields if field.name not in dropped])
    response.onward = b"HTTP/1.1%b\r\n" % line[8:] + b"".join([field.line for field in response.fields])
    known = response.framing is Framing.LENGTH or response.framing is Framing.NONE
    response.simple = response.status >= 200 and known and not response.close
    response.same = response.onward + b"\r\n" == head
    return response


def check_unfinished(head: bytes | bytearray) -> None:
    """Refuse what cannot become a head any more, however much follows. Raises BadMessage."""
    if len(head) > MAX_HEAD_BYTES:
        msg = f"The head is longer than {MAX_HEAD_BYTES} bytes"
        raise BadMessage(msg, status=431)
    if _LONE_LINE_END.search(head) or b"\0" in head:
        msg = "The head has line ends that are not CRLF, or a NUL"
        raise BadMessage(msg)
    line, end, _ = head.partition(b"\r\n")
    if not line[:1].isupper() or (end and not _REQUEST_LINE.fullmatch(line)):
        raise _why_not(bytes(line))


def _why_not(line: bytes) -> BadMessage:
    if re.fullmatch(rb"[^ ]+ [^ ]+ HTTP/[02-9]\.\d", line):
        return BadMessage("Only HTTP/1.1 and HTTP/1.0 are spoken here", status=505)
    return BadMessage("The first line is no request")


def _read_block(fields: list[Field], *, minor: bool) -> Block:
    block = Block()
    ours = _meant_for_us(fields)
    hosts = ours.get(b"host", [])
    if len(hosts) > 1 or (not hosts and minor):
        msg = "HTTP/1.1 wants exactly one Host"
        raise BadMessage(msg)
    if hosts:
        block.authority, block.host = hosts[0], _host_name(hosts[0])
    block.framing, block.length = _framing(ours, minor, Framing.NONE)
    block.has_body = block.framing is Framing.CHUNKED or block.length > 0
    options = _options(ours)
    block.close = b"close" in options or (not minor and b"keep-alive" not in options)
    block.upgrade = _upgrade(ours, options) if minor else b""
    block.expects_continue = _expects_continue(ours) and minor
    dropped = _NOT_ONWARD | options if options else _NOT_ONWARD
    if block.expects_continue:
        dropped -= {b"expect"}
    block.fields = tuple([field for field in fields if field.name not in dropped])
    block.values = _values(block.fields)
    return block


def _meant_for_us(fields: Iterable[Field]) -> dict[bytes, list[bytes]]:
    ours: dict[bytes, list[bytes]] = {}
    for field in fields:
        if field.ours:
            ours.setdefault(field.name, []).append(field.value)
    return ours


def _values(fields: Iterable[Field]) -> Mapping[bytes, bytes]:
    values: dict[bytes, bytes] = {}
    for field in fields:
        before = values.get(field.name)
        values[field.name] = field.value if before is None else b"%b, %b" % (before, field.value)
    return values


def _take_other_target(request: RequestHead, target: bytes) -> None:
    """Take a target that is no path."""
    if target == b"*" and request.method == b"OPTIONS":
        request.path = target
        return
    found = _ABSOLUTE.fullmatch(target)
    if found is None:
        msg = "The target is neither a path nor an address"
        raise BadMessage(msg)
    named = request.block.authority
    if named is not None and found[1].lower() != named.lower():
        msg = "The target and Host name different hosts"
        raise BadMessage(msg)
    request.authority, request.host = found[1], _host_name(found[1])
    request.path, request.query = found[2] or b"/", found[3] or b""


def _host_name(authority: bytes) -> str:
    named = _HOST.fullmatch(authority)
    if named is None:
        msg = "Host is no host name"
        raise BadMessage(msg)
    return (named[1] or named[2] or b"").decode("ascii").lower().rstrip(".")


def _framing(ours: dict[bytes, list[bytes]], minor: bool, otherwise: Framing) -> tuple[Framing, int]:
    lengths = ours.get(b"content-length")
    codings = ours.get(b"transfer-encoding")
    if codings is not None:
        if lengths is not None:
            msg = "Both Content-Length and Transfer-Encoding"
            raise BadMessage(msg)
        if not minor or [coding.lower() for coding in codings] != [b"chunked"]:
            msg = "Transfer-Encoding other than one chunked of HTTP/1.1"
            raise BadMessage(msg)
        return Framing.CHUNKED, 0
    if lengths is None:
        return otherwise, 0
    if len(lengths) > 1 or not _LENGTH.fullmatch(lengths[0]):
        msg = "Content-Length is not one number"
        raise BadMessage(msg)
    return Framing.LENGTH, int(lengths[0])


def _options(ours: dict[bytes, list[bytes]]) -> frozenset[bytes]:
    """Return what Connection names."""
    named = ours.get(b"connection")
    if named is None:
        return frozenset()
    options = frozenset([option.strip(b" \t").lower() for value in named for option in value.split(b",")])
    if options & _NEVER_NAMED:
        msg = "Connection names a header that has to travel on"
        raise BadMessage(msg)
    return options


def _upgrade(ours: dict[bytes, list[bytes]], options: frozenset[bytes]) -> bytes:
    if b"upgrade" not in options:
        return b""
    asked = b", ".join(ours.get(b"upgrade", []))
    return b"" if asked.lower().startswith((b"h2c", b"http/2")) else asked


def _expects_continue(ours: dict[bytes, list[bytes]]) -> bool:
    expected = ours.get(b"expect")
    if expected is None:
        return False
    if [one.lower() for one in expected] != [b"100-continue"]:
        msg = "Only 100-continue can be expected"
        raise BadMessage(msg, status=417)
    return True
