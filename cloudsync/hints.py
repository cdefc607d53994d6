"""Hints to followers: which gateways' twins have changed. One may be lost; followers look by themselves each second."""

from __future__ import annotations

import asyncio
import logging
from typing import Annotated, Final

from pydantic import Field

from twin.errors import InvalidMessage, LinkError
from twin.link import Link
from twin.wire import codec, topics
from twin.wire.messages import Wire

log = logging.getLogger(__name__)

TOPIC: Final = topics.worker("changed")

_COLLECT_S: Final = 0.005
_MAX_GATEWAYS: Final = 1000


class Hint(Wire):
    """Gateways whose twins have changed."""

    gateways: Annotated[list[str], Field(max_length=_MAX_GATEWAYS)]


class Hints:
    """Tells the other workers; what comes within a few milliseconds goes in one message."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._gateways: set[str] = set()

    def changed(self, gateway: str) -> None:
        """Twins of this gateway have changed, and that is on disk."""
        if not self._gateways:
            asyncio.get_running_loop().call_later(_COLLECT_S, self._tell)
        self._gateways.add(gateway)

    def _tell(self) -> None:
        names = sorted(self._gateways)
        self._gateways.clear()
        for start in range(0, len(names), _MAX_GATEWAYS):
            try:
                self._link.publish(TOPIC, codec.encode(Hint(gateways=names[start : start + _MAX_GATEWAYS])))
            except LinkError as error:
                log.debug("a hint is lost: %s", error)


def read_hint(payload: bytes) -> frozenset[str]:
    """The gateways that a hint names; none if it is not one."""
    try:
        return frozenset(codec.decode(Hint, payload, what="hint").gateways)
    except InvalidMessage as error:
        log.debug("not a hint: %s", error)
        return frozenset()
