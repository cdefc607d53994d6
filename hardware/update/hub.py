"""How the hub is, asked through its own broker: an answer proves that the broker answers and the hub's loop turns."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Final

from hardware.update import unit
from hardware.update.gate import Facts
from twin.errors import EdgetwinError
from twin.wire.api import StatusReply

ANSWER_S: Final = 5.0
LIMIT_S: Final = 15.0
_WORKS: Final = frozenset({"connected", "simulated"})
_REACHED: Final = frozenset({"resync", "live"})


def probe() -> Facts:
    """Look once; of a hub that does not answer there is only what systemd says."""
    life = unit.life()
    if life.ended:
        return Facts(ended=life.ended, restarts=life.restarts)
    try:
        return replace(asyncio.run(_asked()), restarts=life.restarts)
    except (EdgetwinError, TimeoutError, OSError):
        return Facts(restarts=life.restarts)


def facts(status: StatusReply) -> Facts:
    """What a hub's answer says. A mapper works if any connection of it does."""
    works = {one.mapper for one in status.connections if one.state in _WORKS and one.mapper}
    cloud = status.sync is not None and status.sync.state in _REACHED
    return Facts(status.version, status.pid, tuple(sorted(works)), cloud)


async def _asked() -> Facts:
    from edgehub.commands.session import hub_client  # paho, which an updater at rest does without

    async with asyncio.timeout(LIMIT_S), hub_client(ANSWER_S) as client:
        return facts(await client.status())
