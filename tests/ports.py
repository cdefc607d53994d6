"""Ports for servers of the tests that are told where to listen.

They lie below those that the kernel gives to outgoing connections: one of these may take a port between the moment when
it was found free and the moment when the server has it.
"""

from __future__ import annotations

import itertools
import random
import socket
from typing import Final

FIRST: Final = 10_000
LAST: Final = 29_999
_drawn = itertools.count(random.SystemRandom().randrange(LAST - FIRST))  # others draw at the same time


def free_port(kind: socket.SocketKind = socket.SOCK_STREAM, address: str = "127.0.0.1") -> int:
    """One that nobody listens on, and that was not given before."""
    for number in itertools.islice(_drawn, LAST - FIRST):
        port = FIRST + number % (LAST - FIRST)
        with socket.socket(socket.AF_INET, kind) as probe:
            try:
                probe.bind((address, port))
            except OSError:
                continue
            return port
    message = f"no port from {FIRST} to {LAST} is free"
    raise RuntimeError(message)


def free_ports(count: int) -> list[int]:
    """So many."""
    return [free_port() for _ in range(count)]
