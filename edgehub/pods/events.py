"""What has happened to a pod lately, for people who ask why."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Final

from twin.model import Value

KEPT: Final = 20
_MAX_CHARS: Final = 500


@dataclass(slots=True)
class _Event:
    at_ms: int
    container: str
    reason: str
    message: str
    count: int = 1


class Events:
    """The last events of one pod; the oldest goes. The same again only counts."""

    def __init__(self) -> None:
        self._events: deque[_Event] = deque(maxlen=KEPT)

    def add(self, at_ms: int, container: str, reason: str, message: str) -> None:
        """Something has happened."""
        message = message[:_MAX_CHARS]
        for known in self._events:
            if (known.container, known.reason, known.message) == (container, reason, message):
                known.count += 1
                known.at_ms = at_ms
                return
        self._events.append(_Event(at_ms, container, reason, message))

    def remember(self, told: object) -> None:
        """Take over what an earlier hub told; older than all that is known now."""
        newer = list(self._events)
        self._events.clear()
        for one in told if isinstance(told, list) else ():
            if isinstance(one, dict):
                at, count = one.get("at"), one.get("count", 1)
                event = _Event(
                    at_ms=at if isinstance(at, int) else 0,
                    container=str(one.get("container", "")),
                    reason=str(one.get("reason", "")),
                    message=str(one.get("message", "")),
                    count=count if isinstance(count, int) else 1,
                )
                self._events.append(event)
        self._events.extend(newer)

    def told(self) -> list[Value]:
        """All of them, oldest first, as the twin has them."""
        return [_told(one) for one in sorted(self._events, key=lambda one: one.at_ms)]


def _told(event: _Event) -> Value:
    told: dict[str, Value] = {"at": event.at_ms, "container": event.container}
    told |= {"reason": event.reason, "message": event.message}
    return told | ({"count": event.count} if event.count > 1 else {})
