"""`python mesh_hotplug_probe.py serve NAME PORT`: says its name to each connection, and ends it.
`python mesh_hotplug_probe.py ask ADDRESS PORT`: one connection after the other; prints whenever another name answers.
"""

from __future__ import annotations

import socket
import sys
import time


def serve(name: str, port: int) -> None:
    with socket.create_server(("", port), backlog=4096) as server:
        while True:
            client, _ = server.accept()
            client.sendall(name.encode())
            client.close()


def ask(address: str, port: int) -> None:
    """Each line is the name, and when its connection stood."""
    before = b""
    while True:
        try:
            with socket.create_connection((address, port), 5) as server:
                at_s = time.monotonic()
                name = server.recv(16)
        except ConnectionError:
            continue  # the endpoint that it was with has just gone
        if name and name != before:
            sys.stdout.write(f"{name.decode()} {at_s}\n")
            sys.stdout.flush()
            before = name


if __name__ == "__main__":
    _, what, first, port = sys.argv
    (serve if what == "serve" else ask)(first, int(port))
