"""The access log: a sample of what passed, and of what failed as much as the bound allows, one JSON object a line."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from random import Random
from typing import Final

from mesh.limits import Limiter
from mesh.model.policies import RateLimit, TokenBucket

LONGEST_PATH: Final = 512


@dataclass(frozen=True, slots=True)
class Passage:
    """One request, or one raw connection (its ``status`` is 0)."""

    client: str
    caller: str
    service: str
    route: str = ""
    backend: str = ""
    endpoint: str = ""
    protocol: str = "tcp"
    method: str = ""
    host: str = ""
    path: str = ""
    """What follows the path (its query) may hold secrets and is cut off."""
    status: int = 0
    bytes_in: int = 0
    bytes_out: int = 0
    took_ms: float = 0.0
    tries: int = 1
    own: str = ""
    """Why the mesh answered itself; empty: it did not."""
    failed: bool = False


class AccessLog:
    """Writes passages through ``write``, one line each; ``wall_s`` is the time of day.

    ``sample`` is the share of the good ones that is written, ``most_per_s`` bounds all; what is over it is counted in
    ``dropped``. A plane asks ``wants`` first, so that a passage nobody wants costs one random number.
    """

    __slots__ = ("_bound", "_random", "_sample", "_wall_s", "_write")

    def __init__(
        self,
        write: Callable[[str], None],
        wall_s: Callable[[], float],
        rng: Random,
        sample: float = 0.01,
        most_per_s: int = 100,
    ) -> None:
        self._write = write
        self._wall_s = wall_s
        self._random = rng.random
        self._sample = sample
        self._bound = Limiter(RateLimit(TokenBucket(most_per_s, most_per_s, 1_000)))

    @property
    def dropped(self) -> int:
        """Lines that were not written because there were too many."""
        return self._bound.refused

    def wants(self, now_s: float, *, failed: bool) -> bool:
        """Whether the next passage is to be written."""
        if not failed and self._random() >= self._sample:
            return False
        return self._bound.admit(now_s)

    def add(self, passage: Passage) -> None:
        """Write one that was wanted. What is empty is left out."""
        at = datetime.fromtimestamp(self._wall_s(), UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        line = {
            "at": at,
            "client": passage.client,
            "caller": passage.caller,
            "service": passage.service,
            "route": passage.route,
            "backend": passage.backend,
            "endpoint": passage.endpoint,
            "protocol": passage.protocol,
            "method": passage.method,
            "host": passage.host,
            "path": passage.path.partition("?")[0][:LONGEST_PATH],
            "status": passage.status,
            "bytesIn": passage.bytes_in,
            "bytesOut": passage.bytes_out,
            "tookMs": round(passage.took_ms, 3),
            "tries": passage.tries,
            "own": passage.own,
            "failed": passage.failed,
        }
        self._write(json.dumps({name: value for name, value in line.items() if value or name in _ALWAYS}))


_ALWAYS: Final = frozenset({"bytesIn", "bytesOut", "tookMs", "failed"})
