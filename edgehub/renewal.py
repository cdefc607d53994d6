"""Keeps the gateway's certificate good: a new one after two thirds of its life, also long after its end.

good ── 2/3 of its life, a random part later ──> ask ──> the new pair is in force at the next connect
                                                  └ no answer: again, with growing waits
"""

from __future__ import annotations

import asyncio
import logging
import random
from typing import TYPE_CHECKING, Final

from edgehub.cloud_keys import CloudKeys
from twin.clock import Clock
from twin.errors import EdgetwinError, Refused
from twin.link.backoff import Backoff

if TYPE_CHECKING:  # the library for certificates is memory that only a gateway with a cloud should pay
    from twin.certificates import Life

LOOK_S: Final = 600.0
"""The wall clock may step, and another process may join the gateway anew: so it is looked at, not slept through."""
RETRY_BASE_S: Final = 30.0
RETRY_CAP_S: Final = 3600.0
REFUSED_S: Final = 6 * 3600.0
SPREAD: Final = 0.2
"""Part of the last third over which a fleet that joined at once renews."""

log = logging.getLogger(__name__)


class Renewal:
    """One gateway's. ``keep`` runs beside the session, until cancelled."""

    def __init__(self, keys: CloudKeys, clock: Clock, rng: random.Random) -> None:
        self._keys = keys
        self._clock = clock
        self._backoff = Backoff(RETRY_BASE_S, RETRY_CAP_S, rng)
        self._part = rng.random()
        self.failure = ""
        """Why the certificate could not be renewed; empty: all is well."""

    async def keep(self) -> None:
        """Look now and then, renew when it is time."""
        while True:
            wait_s = await self.step()
            await asyncio.sleep(wait_s)

    async def step(self) -> float:
        """Renew if it is time; how many seconds to wait before looking again."""
        try:
            if not self._is_due():
                return LOOK_S
            from edgehub.enrolment import renew  # as above

            enrolled = await renew(self._keys)
        except Refused as error:
            self._tell(f"the cloud does not renew the certificate: {error.message}", error.remedy)
            return REFUSED_S
        except (EdgetwinError, OSError) as error:
            self._tell(f"the certificate is not renewed yet: {error}", "")
            return self._backoff.next_s()
        from twin.certificates import life  # as above

        ends_at = life(enrolled.certificate).ends_at
        log.info("the certificate of %s is renewed, good for %d days", enrolled.gateway, self._days_to(ends_at))
        self.failure = ""
        self._backoff.reset()
        return LOOK_S

    def _is_due(self) -> bool:
        if self._keys.connection() is None:
            return False
        from twin.certificates import life  # as above

        certificate = self._keys.pair.read_text(encoding="ascii")
        return self._clock.now_us() // 1000 >= due_at(life(certificate), self._part)

    def _days_to(self, at: int) -> int:
        return (at - self._clock.now_us() // 1000) // (24 * 3600 * 1000)

    def _tell(self, failure: str, remedy: str) -> None:
        level = logging.DEBUG if failure == self.failure else logging.WARNING
        self.failure = failure
        log.log(level, "%s. %s", failure, remedy)


def due_at(good: Life, part: float) -> int:
    """When to renew: after two thirds of the life, and a random part of the first fifth of the rest. Pure."""
    whole = good.ends_at - good.begins_at
    return good.begins_at + int(whole * (2 / 3 + part * SPREAD / 3))
