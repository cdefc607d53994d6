"""What is no HTTP/1.1 message, or one that two readers could understand differently."""

from __future__ import annotations

from mesh.errors import MeshError


class BadMessage(MeshError):
    """A message that is refused; ``status`` is what its sender is told."""

    def __init__(self, message: str, *, status: int = 400) -> None:
        super().__init__(message)
        self.status = status
