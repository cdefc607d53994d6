"""Kernel pipes for os.splice, lent to a connection only while bytes are in them.

Most turns leave a pipe empty, so that a few serve any number of connections, and the kernel's limit on pipe pages of
a user (64 MiB by default) is hardly met.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from dataclasses import dataclass
from typing import Final

SIZE_BYTES: Final = 1 << 20
_KEPT: Final = 8


@dataclass(frozen=True, slots=True)
class Pipe:
    """Both ends of a pipe."""

    into: int
    out: int

    def close(self) -> None:
        """Give both file numbers back."""
        os.close(self.into)
        os.close(self.out)


class Pipes:
    """Pipes that are empty now."""

    def __init__(self) -> None:
        self._free: list[Pipe] = []

    def take(self) -> Pipe | None:
        """An empty pipe; None: this machine has no splice, or no file number is free."""
        if self._free:
            return self._free.pop()
        if not hasattr(os, "splice"):
            return None
        try:
            out, into = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:
            return None
        with contextlib.suppress(OSError):  # over the user's limit it stays small, and works
            fcntl.fcntl(into, fcntl.F_SETPIPE_SZ, SIZE_BYTES)
        return Pipe(into, out)

    def give(self, pipe: Pipe) -> None:
        """Take back a pipe that is empty again."""
        if len(self._free) < _KEPT:
            self._free.append(pipe)
        else:
            pipe.close()

    def close(self) -> None:
        """Close those that are kept."""
        while self._free:
            self._free.pop().close()
