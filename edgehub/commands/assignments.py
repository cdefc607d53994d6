"""``key=value`` as people type it."""

from __future__ import annotations

from twin.errors import InvalidMessage


def split_assignment(text: str, *, form: str, remedy: str) -> tuple[str, str]:
    """Key and value, both as text; ``form`` is what it should look like. Raises InvalidMessage."""
    name, equals, value = text.partition("=")
    if not equals or not name:
        message = f"{text!r} is not {form}"
        raise InvalidMessage(message, remedy=remedy)
    return name, value
