"""Heads of HTTP/1.1 messages, strictly: what two readers could understand differently is refused.

    request-line | status-line CRLF  *(name ":" value CRLF)  CRLF

One regular expression proves a whole head; only then is it cut apart, so that nothing is cut from what was not proven.
"""

from __future__ import annotations

import re
from enum import Enum
from typing import Final

from mesh.errors import MeshError

MAX_HEAD_BYTES: Final = 16_384
MAX_HEADERS: Final = 100
_KNOWN: Final = 256
_KNOWN_BYTES: Final = 1024

_TOKEN: Final = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_FIELDS: Final = rb"((?:" + _TOKEN + rb":[\t\x20-\x7e\x80-\xff]*\r\n)*)\r\n"
_REQUEST_LINE: Final = re.compile(rb"([A-Z][A-Z0-9_-]{0,31}) ([\x21\x22\x24-\x7e]+) HTTP/1\.([01])")
_BLOCK: Final = re.compile(_FIELDS)
_RESPONSE: Final = re.compile(rb"HTTP/1\.([01]) ([1-5]\d\d)(?: [\t\x20-\x7e\x80-\xff]*)?\r\n" + _FIELDS)
_HOST: Final = re.compile(rb"(?:([A-Za-z0-9._~%!$&'()*+;=-]*)|(\[[0-9A-Fa-f:.]+\]))(?::(\d{0,5}))?")
_ABSOLUTE: Final = re.compile(rb"https?://([^/?#@]+)(/[^?]*)?(\?.*)?", re.IGNORECASE)
_LENGTH: Final = re.compile(rb"\d{1,18}")
_LONE_LINE_END: Final = re.compile(rb"(?<!\r)\n|\r(?!\n)(?!\Z)")

_HOP_BY_HOP: Final = frozenset(
    b"connection keep-alive proxy-connection proxy-authenticate proxy-authorization te transfer-encoding "
    b"upgrade".split()
)
_MEANT_FOR_US: Final = _HOP_BY_HOP | {b"host", b"content-length", b"expect", b"http2-settings"}
"""What has to be looked at; other headers only travel on."""
_NEVER_NAMED: Final = frozenset((b"host", b"content-length", b"transfer-encoding", b"authorization", b"cookie"))
"""What nobody may have removed on the way by naming it in Connection."""
_IDEMPOTENT: Final = frozenset((b"GET", b"HEAD", b"OPTIONS", b"PUT", b"DELETE", b"TRACE"))


class BadMessage(MeshError):
    """A message that is refused; ``status`` is what its sender is told."""

    def __init__(self, message: str, *, status: int = 400) -> None:
        super().__init__(message)
        self.status = status


class Framing(Enum):
    """How the end of a body is found."""

    NONE = "no body"
    LENGTH = "Content-Length"
    CHUNKED = "chunked"
    UNTIL_CLOSE = "until the connection ends"


class Field:
    """One header: its name in lower case, its value, and the line that it is sent on as."""

    __slots__ = ("line", "name", "value")

    def __init__(self, raw_name: bytes, value: bytes) -> None:
        self.name = raw_name.lower()
        self.value = value
        self.line = b"%b: %b\r\n" % (raw_name, value)


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
    )

    def __init__(self) -> None:
        self.fields: tuple[Field, ...] = ()
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
        "authority",
        "block",
        "close",
        "expects_continue",
        "fields",
        "framing",
        "has_body",
        "host",
        "idempotent",
        "length",
        "method",
        "minor",
        "path",
        "query",
        "upgrade",
    )

    def __init__(self, method: bytes, minor: bool, block: Block) -> None:
        self.method = method
        self.minor = minor
        self.block = block
        self.path = self.query = b""
        self.authority = block.authority or b""
        self.host = block.host
        self.fields = block.fields
        self.framing = block.framing
        self.length = block.length
        self.has_body = block.has_body
        self.close = block.close
        self.upgrade = block.upgrade
        self.expects_continue = block.expects_continue
        self.idempotent = method in _IDEMPOTENT

    def value(self, name: bytes) -> bytes | None:
        """All values of a header, joined as one; None: it is not there."""
        found = [field.value for field in self.fields if field.name == name]
        return b", ".join(found) if found else None


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

    __slots__ = ("_known",)

    def __init__(self) -> None:
        self._known: dict[bytes, Block] = {}

    def read(self, lines: bytes) -> Block:
        """Read the headers of an HTTP/1.1 request. Raises BadMessage."""
        block = self._known.get(lines)
        if block is None:
            block = read_block(lines, minor=True)
            if len(lines) <= _KNOWN_BYTES:
                if len(self._known) >= _KNOWN:
                    self._known.clear()
                self._known[lines] = block
        return block


def read_request(head: bytes, blocks: Blocks | None = None) -> RequestHead:
    """Read a whole head, up to and with its empty line. Raises BadMessage."""
    line, _, lines = head.partition(b"\r\n")
    found = _REQUEST_LINE.fullmatch(line)
    if found is None:
        raise _why_not(line)
    method, target, digit = found.groups()
    minor = digit == b"1"
    if method == b"CONNECT":
        msg = "No tunnels are made here"
        raise BadMessage(msg, status=405)
    block = blocks.read(lines) if minor and blocks is not None else read_block(lines, minor=minor)
    request = RequestHead(method, minor, block)
    if target[:1] == b"/":
        request.path, mark, query = target.partition(b"?")
        request.query = mark + query
    else:
        _take_other_target(request, target)
    return request


def read_block(lines: bytes, *, minor: bool) -> Block:
    """Read the headers of a request, up to and with the empty line. Raises BadMessage."""
    if not _BLOCK.fullmatch(lines):
        msg = "A header is malformed: a space before the colon, a folded line or a forbidden character"
        raise BadMessage(msg)
    block = Block()
    fields, ours = _fields(lines[:-2])
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
    dropped = _HOP_BY_HOP | options | {b"host", b"http2-settings"}
    if not block.expects_continue:
        dropped |= {b"expect"}
    block.fields = tuple([field for field in fields if field.name not in dropped])
    return block


def read_response(head: bytes) -> ResponseHead:
    """Read a whole head, up to and with its empty line. Raises BadMessage."""
    found = _RESPONSE.fullmatch(head)
    if found is None:
        msg = "The endpoint's answer is no HTTP/1.1"
        raise BadMessage(msg, status=502)
    minor, status, lines = found.groups()
    response = ResponseHead(int(status), minor == b"1")
    try:
        fields, ours = _fields(lines)
        response.framing, response.length = _framing(ours, response.minor, Framing.UNTIL_CLOSE)
        options = _options(ours)
    except BadMessage as bad:
        msg = f"The endpoint's answer: {bad.message}"
        raise BadMessage(msg, status=502) from bad
    if response.status < 200 or response.status in (204, 304):
        response.framing, response.length = Framing.NONE, 0
    response.close = b"close" in options or (not response.minor and b"keep-alive" not in options)
    response.upgrade = _upgrade(ours, options)
    dropped = _HOP_BY_HOP | options
    if response.status < 200 or response.status == 204:
        dropped |= {b"content-length"}
    response.fields = tuple([field for field in fields if field.name not in dropped])
    first = b"HTTP/1.1" + head[8 : head.index(b"\r\n") + 2]
    response.onward = first + b"".join([field.line for field in response.fields])
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


def _fields(lines: bytes) -> tuple[list[Field], dict[bytes, list[bytes]]]:
    """Return all headers, and the values of those that are meant for us."""
    fields = []
    ours: dict[bytes, list[bytes]] = {}
    for line in lines.split(b"\r\n")[:-1]:
        name, _, value = line.partition(b":")
        field = Field(name, value.strip(b" \t"))
        fields.append(field)
        if field.name in _MEANT_FOR_US:
            ours.setdefault(field.name, []).append(field.value)
    if len(fields) > MAX_HEADERS:
        msg = f"More than {MAX_HEADERS} headers"
        raise BadMessage(msg, status=431)
    return fields, ours


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
