"""What a hash or a bucket goes by, read out of a request. Pure."""

from __future__ import annotations

from mesh.model.policies import KeyKind, KeyOf
from mesh.planes.http.head import RequestHead
from mesh.planes.http.matcher import query_value


def value_of(key: KeyOf, head: RequestHead, client: str) -> str | None:
    """The value of a request's key; None: the request has none."""
    match key.kind:
        case KeyKind.ALL:
            return ""
        case KeyKind.SOURCE:
            return client
        case KeyKind.HEADER:
            if key.name.lower() == "host":
                return head.authority.decode("latin-1")
            value = head.value(key.name.lower().encode("ascii"))
            return None if value is None else value.decode("latin-1")
        case KeyKind.COOKIE:
            return _cookie(head.value(b"cookie"), key.name)
        case KeyKind.QUERY:
            return query_value(head.query, key.name)


def _cookie(cookies: bytes | None, name: str) -> str | None:
    for part in (cookies or b"").decode("latin-1").replace(",", ";").split(";"):
        key, equals, value = part.strip().partition("=")
        if equals and key == name:
            return value
    return None
