"""What goes wrong in the mesh.

MeshError
├── InvalidTable     a table that cannot be used; the last good one stays
├── PlaneError       a data plane cannot do what is asked of it
├── NoEndpoint       nothing of a service can be reached right now
└── ControlError     the line between the mesh and its owner broke, or carries nonsense
"""

from __future__ import annotations


class MeshError(Exception):
    """Root of all errors of the mesh: what failed, and what to do about it."""

    def __init__(self, message: str, *, remedy: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.message}. {self.remedy}" if self.remedy else self.message


class InvalidTable(MeshError):
    """A table that cannot be used; nothing has changed."""


class PlaneError(MeshError):
    """A data plane cannot do what is asked of it."""


class NoEndpoint(MeshError):
    """Nothing of a service can be reached right now."""


class ControlError(MeshError):
    """The line between the mesh and its owner broke, or carries nonsense."""
