"""For drivers over libraries that swallow cancellation, or have a CancelledError of their own."""

from __future__ import annotations

import asyncio
from types import TracebackType


def check_cancelled() -> None:
    """Raise CancelledError if this task is to end, whatever a library has made of that.

    Call it after a call of a library that suppresses CancelledError, or turns it into an error of its own.
    """
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError


class Within:
    """``asyncio.timeout`` around calls of any library. Raises TimeoutError when the time is over.

    Python's own lets a subclass of CancelledError pass, as if the task were to end: wait_for2, which asyncua waits
    with, raises one when an answer comes at the very moment at which the time is over.
    """

    __slots__ = ("limit",)

    def __init__(self, time_s: float) -> None:
        self.limit = asyncio.timeout(time_s)

    async def __aenter__(self) -> asyncio.Timeout:
        """Begin; returns the limit, which may be moved."""
        return await self.limit.__aenter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End it."""
        await self.limit.__aexit__(kind, error, trace)
        if isinstance(error, asyncio.CancelledError) and self.limit.expired():
            check_cancelled()
            raise TimeoutError from error
