"""Signs of life: a byte every second into a pipe of whoever watches this process, from the event loop itself.

What holds up the loop holds up the beat, which is the point.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from typing import Final

BEAT_ENV: Final = "EDGETWIN_BEAT_FD"
"""Number of our end of the pipe, if somebody watches."""
BEAT_S: Final = 1.0


async def beat() -> None:
    """Give signs of life until cancelled; none, if nobody watches."""
    text = os.environ.get(BEAT_ENV, "")
    if not text:
        return
    end = int(text)
    os.set_blocking(end, False)
    while True:
        with contextlib.suppress(BlockingIOError, BrokenPipeError):  # whoever watches is busy, or gone
            os.write(end, b".")
        await asyncio.sleep(BEAT_S)
