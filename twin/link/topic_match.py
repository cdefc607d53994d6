"""MQTT's topic rules, and the table that says which handlers a message is for. Shared by all links."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from twin.errors import InvalidName
from twin.link import Handler

MAX_TOPIC_BYTES: Final = 65535  # MQTT 5, 1.5.4: the length of a string is two bytes
CACHE_TOPICS: Final = 4096

_TOPIC_RULE: Final = "1 to 65535 bytes of UTF-8 without '+', '#' and NUL, not below $share/"
_FILTER_RULE: Final = "1 to 65535 bytes of UTF-8, '+' alone in a level, '#' alone in the last level, no NUL"
_SHARE: Final = "$share/"
_SHARE_RULE: Final = "$share/<group>/<filter>, with a group without '+' and '#'"


def matches(topic_filter: str, topic: str) -> bool:
    """Whether a topic falls under a filter; a leading wildcard does not match $-topics (MQTT 5, 4.7.2)."""
    if topic.startswith("$") and topic_filter[:1] in ("+", "#"):
        return False
    levels = topic.split("/")
    wanted = topic_filter.split("/")
    for index, level in enumerate(wanted):
        if level == "#":
            return True
        if index >= len(levels) or level not in ("+", levels[index]):
            return False
    return len(wanted) == len(levels)


def checked_topic(topic: str) -> str:
    """Return a topic that can be published to. Raises InvalidName.

    A message below ``$share/`` would reach nobody: a filter with that beginning is a shared one of something else.
    """
    if not topic or "+" in topic or "#" in topic or topic.startswith(_SHARE) or not _fits(topic):
        raise InvalidName(what="topic", text=topic, rule=_TOPIC_RULE)
    return topic


def checked_filter(topic_filter: str) -> str:
    """Return a filter that can be subscribed to. Raises InvalidName."""
    levels = topic_filter.split("/")
    wild_ok = all(len(level) == 1 or not ("+" in level or "#" in level) for level in levels)
    if not topic_filter or not wild_ok or "#" in levels[:-1] or not _fits(topic_filter):
        raise InvalidName(what="topic filter", text=topic_filter, rule=_FILTER_RULE)
    if topic_filter.startswith(_SHARE):
        group, _, plain = topic_filter.removeprefix(_SHARE).partition("/")
        if not group or "+" in group or "#" in group or not plain:
            raise InvalidName(what="shared topic filter", text=topic_filter, rule=_SHARE_RULE)
    return topic_filter


def group_and_filter(topic_filter: str) -> tuple[str, str]:
    """The group of a shared subscription, empty if it is none, and the filter that topics are matched against."""
    if not topic_filter.startswith(_SHARE):
        return "", topic_filter
    group, _, plain = topic_filter.removeprefix(_SHARE).partition("/")
    return group, plain


@dataclass(slots=True)
class Route:
    """One filter: its subscription identifier, the highest qos asked for, and its handlers in order.

    With a ``group``, each message that matches ``plain`` goes to one of the connections that share it (MQTT 5, 4.8.2).
    """

    topic_filter: str
    number: int
    qos: int
    handlers: list[Handler] = field(default_factory=list)
    group: str = field(init=False)
    plain: str = field(init=False)

    def __post_init__(self) -> None:
        self.group, self.plain = group_and_filter(self.topic_filter)


class Routes:
    """Filters and their handlers. Looking up a topic that was seen lately is one dict access."""

    def __init__(self) -> None:
        self._routes: dict[str, Route] = {}
        self._by_number: dict[int, Route] = {}
        self._next_number = 1
        self._cache: dict[tuple[str, int], tuple[Handler, ...]] = {}

    def add(self, topic_filter: str, handler: Handler, qos: int) -> Route:
        """Put a handler on a filter."""
        route = self._routes.get(topic_filter)
        if route is None:
            route = Route(topic_filter, self._next_number, qos)
            self._next_number += 1
            self._routes[topic_filter] = self._by_number[route.number] = route
        route.qos = max(route.qos, qos)
        route.handlers.append(handler)
        self._cache.clear()
        return route

    def remove(self, route: Route, handler: Handler) -> bool:
        """Take a handler off; true if that was the filter's last."""
        if handler not in route.handlers:
            return False
        route.handlers.remove(handler)
        self._cache.clear()
        if route.handlers:
            return False
        self._routes.pop(route.topic_filter, None)
        self._by_number.pop(route.number, None)
        return True

    def all(self) -> tuple[Route, ...]:
        """Every filter, in the order of subscription."""
        return tuple(self._routes.values())

    def handlers(self, topic: str, number: int = 0) -> tuple[Handler, ...]:
        """The handlers that a live message is for, each once.

        A broker may send a copy for each matching filter, marked with the filter's number: such a copy goes to the
        handlers whose first matching filter that is. Number 0 is a copy for all of them.
        """
        key = (topic, number)
        found = self._cache.get(key)
        return found if found is not None else self._remember(key, self._select(topic, number))

    def unshared(self, topic: str) -> tuple[Handler, ...]:
        """The handlers that a live message is for beside shared subscriptions, each once."""
        key = (topic, -1)
        found = self._cache.get(key)
        if found is None:
            routes = (route for route in self._routes.values() if not route.group and matches(route.plain, topic))
            found = self._remember(key, tuple(dict.fromkeys(one for route in routes for one in route.handlers)))
        return found

    def on_subscribe(self, topic: str, number: int) -> tuple[Handler, ...]:
        """The handlers that a retained message is for, which the broker sends to one filter at its subscription.

        A shared one should get none, which Mosquitto 2.0.11 does not know.
        """
        if number == 0:
            return self.unshared(topic)
        route = self._by_number.get(number)
        return () if route is None or route.group else tuple(dict.fromkeys(route.handlers))

    def _remember(self, key: tuple[str, int], found: tuple[Handler, ...]) -> tuple[Handler, ...]:
        if len(self._cache) >= CACHE_TOPICS:
            self._cache.clear()
        self._cache[key] = found
        return found

    def _select(self, topic: str, number: int) -> tuple[Handler, ...]:
        first: dict[Handler, int] = {}
        for route in self._routes.values():
            if matches(route.plain, topic):
                for handler in route.handlers:
                    first.setdefault(handler, route.number)
        return tuple(handler for handler, owner in first.items() if number in (0, owner))


def _fits(text: str) -> bool:
    try:
        return "\0" not in text and len(text.encode()) <= MAX_TOPIC_BYTES
    except UnicodeEncodeError:  # a lone surrogate
        return False
