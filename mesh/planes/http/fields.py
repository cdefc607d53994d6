"""Headers, line by line: each is proven by one regular expression before it is cut apart, and remembered then.

    name ":" value CRLF  ...  CRLF

Heads differ in a line or two (a cookie, a length, an id); what is known of the others need not be read again.
"""

from __future__ import annotations

import re
from typing import Final

from mesh.planes.http.bad_message import BadMessage

MAX_HEADERS: Final = 100
HOP_BY_HOP: Final = frozenset(
    b"connection keep-alive proxy-connection proxy-authenticate proxy-authorization te transfer-encoding "
    b"upgrade".split()
)
_MEANT_FOR_US: Final = HOP_BY_HOP | {b"host", b"content-length", b"expect", b"http2-settings"}
"""What has to be looked at; other headers only travel on."""
FORWARDED: Final = frozenset((b"x-forwarded-for", b"x-forwarded-proto", b"x-forwarded-host"))
_WRITTEN: Final = FORWARDED | {b"host", b"x-request-id"}
"""What is not simply sent on as it came."""
_LINE: Final = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]++):[\t ]*+([\t\x20-\x7e\x80-\xff]*+)")
"""Nothing is tried twice: a line of spaces with a NUL at its end would else take the square of its length."""
_KNOWN: Final = 1024
_KNOWN_BYTES: Final = 256


class Field:
    """One header: its name in lower case, its value, and the line that it is sent on as.

    ``ours``: it says something to us. ``plain``: it travels on as it came.
    """

    __slots__ = ("line", "name", "ours", "plain", "value")

    def __init__(self, raw_name: bytes, value: bytes) -> None:
        self.name = name = raw_name.lower()
        self.value = value
        self.line = b"%b: %b\r\n" % (raw_name, value)
        self.ours = name in _MEANT_FOR_US
        self.plain = name not in _WRITTEN


class Lines:
    """Lines that were read lately, by their very bytes: one head after another has them."""

    __slots__ = ("_known",)

    def __init__(self) -> None:
        self._known: dict[bytes, Field] = {}

    def read(self, block: bytes) -> list[Field]:
        """Read all headers of a head, up to and with its empty line. Raises BadMessage."""
        if block == b"\r\n":
            return []
        known = self._known.get
        fields = [known(line) or self._read(line) for line in block[:-4].split(b"\r\n")]
        if block[-4:] != b"\r\n\r\n":
            raise BadMessage(_MALFORMED)
        if len(fields) > MAX_HEADERS:
            msg = f"More than {MAX_HEADERS} headers"
            raise BadMessage(msg, status=431)
        return fields

    def _read(self, line: bytes) -> Field:
        found = _LINE.fullmatch(line)
        if found is None:
            raise BadMessage(_MALFORMED)
        field = Field(found[1], found[2].rstrip(b" \t"))
        if len(line) <= _KNOWN_BYTES:
            if len(self._known) >= _KNOWN:
                self._known.clear()
            self._known[line] = field
        return field


_MALFORMED: Final = "A header is malformed: a space before the colon, a folded line or a forbidden character"
