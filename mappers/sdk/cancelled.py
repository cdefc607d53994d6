"""For drivers over libraries that swallow cancellation."""

from __future__ import annotations

import asyncio


def check_cancelled() -> None:
    """Raise CancelledError if this task is to end, whatever a library has made of that.

    Call it after a call of a library that suppresses CancelledError, or turns it into an error of its own.
    """
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError
