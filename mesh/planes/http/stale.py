"""The last good answers to GETs, kept for when their service cannot answer. Bounded; the longest unused go first."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from mesh.model.policies import CachedResponse
from mesh.model.services import PortKey
from mesh.planes.http.head import RequestHead, ResponseHead

MAX_BYTES: Final = 4_000_000
_PERSONAL: Final = (b"authorization", b"cookie", b"range", b"if-none-match", b"if-modified-since")
_VARYING: Final = (b"accept", b"accept-encoding", b"accept-language")


@dataclass(frozen=True, slots=True)
class StaleKey:
    """Names one answer."""

    backend: PortKey
    authority: bytes
    target: bytes
    varying: tuple[bytes | None, ...]


@dataclass(frozen=True, slots=True)
class _Kept:
    onward: bytes
    body: bytes
    at_s: float


def key_of(backend: PortKey | None, head: RequestHead) -> StaleKey | None:
    """The name of the answer to a request; None: its answer is for one client alone, or no GET asks for it."""
    if (
        backend is None
        or head.method not in (b"GET", b"HEAD")
        or any(head.value(name) is not None for name in _PERSONAL)
    ):
        return None
    return StaleKey(backend, head.authority, head.path + head.query, tuple(head.value(name) for name in _VARYING))


def may_keep(head: ResponseHead) -> bool:
    """Whether an answer may be given to others later."""
    control = (head.value(b"cache-control") or b"").lower()
    return (
        head.status == 200
        and b"no-store" not in control
        and b"private" not in control
        and head.value(b"set-cookie") is None
        and (head.value(b"vary") or b"").strip() != b"*"
    )


class StaleAnswers:
    """All kept answers of a plane."""

    def __init__(self, max_bytes: int = MAX_BYTES) -> None:
        self._max_bytes = max_bytes
        self._kept: dict[StaleKey, _Kept] = {}
        self._bytes = 0

    def keep(self, key: StaleKey, head: ResponseHead, body: bytes, now_s: float) -> None:
        """Keep an answer in place of the one before."""
        self._drop(key)
        without = (field.line for field in head.fields if field.name not in (b"content-length", b"age", b"warning"))
        kept = _Kept(b"HTTP/1.1 200 OK\r\n" + b"".join(without), body, now_s)
        self._kept[key] = kept
        self._bytes += len(kept.onward) + len(body)
        while self._bytes > self._max_bytes:
            self._drop(next(iter(self._kept)))

    def find(self, key: StaleKey, rule: CachedResponse, now_s: float, *, close: bool, to_head: bool) -> bytes | None:
        """A whole message that says how old it is; None: there is none that is young enough."""
        kept = self._kept.pop(key, None)
        if kept is None:
            return None
        self._kept[key] = kept
        age_s = now_s - kept.at_s
        if age_s * 1000 > rule.max_age_ms:
            return None
        head = kept.onward + b'Age: %d\r\nWarning: 110 - "Response is Stale"\r\nContent-Length: %d\r\n%b\r\n' % (
            max(0, int(age_s)),
            len(kept.body),
            b"Connection: close\r\n" if close else b"",
        )
        return head if to_head else head + kept.body

    def _drop(self, key: StaleKey) -> None:
        kept = self._kept.pop(key, None)
        if kept is not None:
            self._bytes -= len(kept.onward) + len(kept.body)
