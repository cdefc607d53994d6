"""Replies to questions of ours, made when they are first asked for and kept until what they follow from changes.

    ready   message without its id  -> reply without its id     one look-up; what stub resolvers send again and again
    kept    name, type, class       -> Found                    any case, any EDNS; and where records take turns

Both are bounded: when one is full it starts anew. A change of a service drops what follows from it, nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Final

from mesh.dns.found import Found
from mesh.dns.message import PLAIN_BYTES, Query, render
from mesh.dns.zone import Zone
from mesh.model.services import Service, ServiceKey

MAX_READY: Final = 8192
MAX_KEPT: Final = 8192
MAX_MESSAGE_BYTES: Final = 160
"""Of a query that is remembered as it came: longer ones are padded, or someone tries to fill the memory."""


@dataclass(frozen=True, slots=True)
class Onward:
    """A CNAME that leads away from us: its target has to be asked for."""

    found: Found
    target: bytes


@dataclass(slots=True)
class _Kept:
    found: Found
    messages: list[bytes] = field(default_factory=list)
    """Keys of ``ready`` that came of it."""


class Answers:
    """The zone with its memory. ``asked`` hears of each service when it is first asked for, there or not."""

    def __init__(self, zone: Zone, *, recursion: bool, asked: Callable[[ServiceKey], None]) -> None:
        self.ready: Final[dict[bytes, bytes]] = {}
        self._zone = zone
        self._recursion = recursion
        self._asked = asked
        self._kept: dict[bytes, _Kept] = {}
        self._of_owner: dict[ServiceKey | None, set[bytes]] = {}

    def apply(self, changed: Iterable[Service], gone: Iterable[ServiceKey], serial: int) -> None:
        """Take changes; see ``Zone.apply``."""
        changed, gone = tuple(changed), tuple(gone)
        self._zone.apply(changed, gone, serial)
        for key in (*(service.key for service in changed), *gone):
            self._drop(key)
            if "." in key.name:  # its names look like names below another service
                self._drop(ServiceKey(key.namespace, key.name.rpartition(".")[2]))
        self._drop(None)

    def forget(self) -> None:
        """Drop all that is kept, so that services which are still asked for are heard of again."""
        self.ready.clear()
        self._kept.clear()
        self._of_owner.clear()

    def reply(self, query: Query, message: bytes, *, tcp: bool) -> bytes | Onward | None:
        """Answer a question of class IN; None: it is not ours. ``message`` is the query as it came."""
        kept = self._kept.get(query.key)
        if kept is None:
            found = self._zone.find(query.key[:-4], query.type)
            if found is None:
                return None
            kept = self._keep(query.key, found)
        found = kept.found
        if found.onward is not None:
            return Onward(found, found.onward)
        answer = found.answer
        if found.turns is not None:
            records = answer.answers
            answer = replace(answer, answers=tuple([records[at] for at in found.turns.next()]))
        reply = render(query, answer, query.limit_bytes(tcp), recursion=self._recursion)
        if not tcp and found.turns is None and (query.edns is None or query.edns.plain):
            self._make_ready(kept, message[2:], reply[2:])
        return reply

    def _keep(self, key: bytes, found: Found) -> _Kept:
        if len(self._kept) >= MAX_KEPT:
            self.forget()
        kept = self._kept[key] = _Kept(found)
        self._of_owner.setdefault(found.owner, set()).add(key)
        if found.owner is not None:
            self._asked(found.owner)
        return kept

    def _make_ready(self, kept: _Kept, message: bytes, reply: bytes) -> None:
        if len(message) > MAX_MESSAGE_BYTES or len(reply) > PLAIN_BYTES:
            return
        if len(self.ready) >= MAX_READY:
            self.ready.clear()
            for one in self._kept.values():
                one.messages.clear()
        self.ready[message] = reply
        kept.messages.append(message)

    def _drop(self, owner: ServiceKey | None) -> None:
        for key in self._of_owner.pop(owner, ()):
            for message in self._kept.pop(key).messages:
                self.ready.pop(message, None)
