"""`python -m tests.bench.splice_floor ADDRESS:PORT BACKEND`: the least that can stand between two connections.

Two processes a connection, one for each direction, that do nothing but block in splice, from the one socket into a pipe
and from there to the other: no copies, no events, nothing counted. What this costs, every relay costs.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import socket
import sys

from mesh.planes.l4.pipes import SIZE_BYTES


def main() -> None:
    """Relay until the process is ended."""
    address, backend = (place.rsplit(":", 1) for place in sys.argv[1:])
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    with socket.create_server((address[0], int(address[1]))) as listener:
        while True:
            client, _ = listener.accept()
            with client, socket.create_connection((backend[0], int(backend[1]))) as endpoint:
                for one, two in ((client, endpoint), (endpoint, client)):
                    one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    if os.fork() == 0:
                        listener.close()
                        _carry(one, two)
                        os._exit(0)


def _carry(one: socket.socket, two: socket.socket) -> None:
    out, into = os.pipe()
    fcntl.fcntl(into, fcntl.F_SETPIPE_SZ, SIZE_BYTES)
    with contextlib.suppress(OSError):
        while count := os.splice(one.fileno(), into, SIZE_BYTES):
            while count:
                count -= os.splice(out, two.fileno(), count)
    with contextlib.suppress(OSError):
        two.shutdown(socket.SHUT_WR)


if __name__ == "__main__":
    main()
