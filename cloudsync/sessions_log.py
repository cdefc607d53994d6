"""Which client ids a user has now, as Mosquitto's own log tells: it has no other way to say so."""

from __future__ import annotations

import logging
import re
from typing import Final

from twin.mosquitto import line_level

MAX_CLIENTS: Final = 100_000

_CAME: Final = re.compile(r"New client connected from \S+ as (.+) \(p\d+, c\d+, k\d+, u'([^']*)'\)\.")
_WENT: Final = re.compile(r"Client (.+?) (?:disconnected|has exceeded|closed its connection|already connected).*")


class ClientLog:
    """Reads the lines as they come; a client that hides its id so has lost its rights all the same."""

    def __init__(self) -> None:
        self._users: dict[str, str] = {}

    def level(self, line: str) -> int:
        """Note a line, and say how loud it is."""
        if came := _CAME.fullmatch(line):
            if len(self._users) >= MAX_CLIENTS:
                self._users.clear()
            self._users[came[1]] = came[2]
            return logging.DEBUG
        if went := _WENT.fullmatch(line):
            if "already connected" not in line:
                self._users.pop(went[1], None)
            return logging.DEBUG
        return line_level(line)

    def clients_of(self, user: str) -> tuple[str, ...]:
        """The client ids of a user."""
        return tuple(client for client, name in self._users.items() if name == user)
