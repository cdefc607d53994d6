"""Signs of life of a mapper's process: a byte every now and then into a pipe of the hub's, from the event loop itself.

A driver that holds up the loop holds up the beat, which is the point.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from typing import Final

from twin.watchdog import BEAT_ENV

_PER_PATIENCE: Final = 4  # beats in the time after which the hub ends a silent process
_BEAT: Final = b"."


async def beat(patience_s: float) -> None:
    """Give signs of life until cancelled; at once none, if nobody watches."""
    text = os.environ.get(BEAT_ENV, "")
    if not text or not patience_s:
        return
    end = int(text)
    os.set_blocking(end, False)
    while True:
        with contextlib.suppress(BlockingIOError, BrokenPipeError):  # busy, or dying
            os.write(end, _BEAT)
        await asyncio.sleep(patience_s / _PER_PATIENCE)
