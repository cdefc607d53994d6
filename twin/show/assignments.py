"""``key=value`` as people type it."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from twin.errors import InvalidMessage


def split_assignment(text: str, *, form: str, remedy: str) -> tuple[str, str]:
    """Key and value, both as text; ``form`` is what it should look like. Raises InvalidMessage."""
    name, equals, value = text.partition("=")
    if not equals or not name:
        message = f"{text!r} is not {form}"
        raise InvalidMessage(message, remedy=remedy)
    return name, value


def desired_values(texts: Iterable[str], unset: Iterable[str] = ()) -> dict[str, Any]:
    """``property=value`` each, the value as JSON, or else plain text. Raises InvalidMessage, also for a name twice."""
    found = [_desired(text) for text in texts]
    names = [*(name for name, _ in found), *unset]
    if twice := next((name for name in names if names.count(name) > 1), ""):
        message = f"{twice} is named twice"
        raise InvalidMessage(message, remedy="Set or unset each property once.")
    return dict(found)


def _desired(text: str) -> tuple[str, Any]:
    remedy = "Write for instance valve=40, or name='\"text\"' for a string of digits."
    name, value = split_assignment(text, form="property=value", remedy=remedy)
    try:
        return name, json.loads(value, parse_constant=str)
    except ValueError:
        return name, value
