"""A cloud that has no CA yet, or has one already."""

from __future__ import annotations

from twin.errors import EdgetwinError


class NotInitialised(EdgetwinError):
    """This cloud has no CA yet."""

    code = "not_initialised"


class AlreadyInitialised(EdgetwinError):
    """This cloud has a CA; it is not overwritten."""

    code = "already_initialised"
