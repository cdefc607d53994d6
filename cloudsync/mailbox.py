"""Messages of one gateway, in the order in which they came to this worker; early frames stand back for others."""

from __future__ import annotations

from collections import deque
from typing import Final, NamedTuple

from twin.exchange import SyncMessage

MAX_WAITING: Final = 256
"""Messages of one gateway that wait here at most; a newer one is dropped, as on a line, and asked for again."""
EARLY_WAIT_S: Final = 0.25
"""How long a frame waits for those before it, which another worker may have; then they are asked for again."""


class Seen(NamedTuple):
    """A gateway's birth or will, as the broker tells it."""

    online: bool


class Letter(NamedTuple):
    """A message, and until when it may wait for others; 0 while it need not."""

    message: SyncMessage | Seen
    until_s: float = 0.0


class Mailbox:
    """What one gateway has sent and nobody has taken yet."""

    def __init__(self) -> None:
        self._letters: deque[Letter] = deque()

    def __len__(self) -> int:
        return len(self._letters)

    def put(self, message: SyncMessage | Seen) -> bool:
        """Put a new message behind the others; false if there is no room."""
        if len(self._letters) >= MAX_WAITING:
            return False
        self._letters.append(Letter(message))
        return True

    def take(self) -> Letter:
        """The message that came first."""
        return self._letters.popleft()

    def put_back(self, letter: Letter, now_s: float) -> bool:
        """Let an early frame wait behind the others; whether there is nothing but such frames."""
        self._letters.append(Letter(letter.message, letter.until_s or now_s + EARLY_WAIT_S))
        return all(one.until_s for one in self._letters)
