"""`python -m edgehub.demo.board PORT NAME`: a web page of the demo plant, which says which pod has answered."""

from __future__ import annotations

import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Board(BaseHTTPRequestHandler):
    """Answers every GET."""

    protocol_version = "HTTP/1.1"
    name = ""

    def do_GET(self) -> None:
        """Answer with the name."""
        body = f"the plant runs, says {self.name}\n".encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing; the mesh counts."""


def main() -> None:
    """Serve until the end."""
    port, Board.name = int(sys.argv[1]), sys.argv[2]
    ThreadingHTTPServer(("0.0.0.0", port), Board).serve_forever()


if __name__ == "__main__":
    main()
