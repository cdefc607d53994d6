"""An event loop whose time jumps to the next timer, so that a simulated hour takes no longer than its work."""

import asyncio
import selectors
from concurrent.futures import Executor, Future

TURN_S = 1e-6
"""What a turn of the loop takes, for no real clock stands still either."""


class Stuck(Exception):
    """Everything waits for something that will never come."""


class _Jump(selectors.DefaultSelector):
    def __init__(self):
        super().__init__()
        self.now_s = 1000.0

    def select(self, timeout=None):
        found = super().select(0)
        if not found:
            if timeout is None:
                raise Stuck
            self.now_s += max(0.0, timeout)
        self.now_s += TURN_S
        return found


class VirtualLoop(asyncio.SelectorEventLoop):
    """Begins at 1000 s; nothing in it waits for real."""

    def __init__(self):
        self._jump = _Jump()
        super().__init__(self._jump)

    def time(self):
        return self._jump.now_s

    def run_in_executor(self, executor, call, *args):
        """Without threads: what they do would take no virtual time, and end at any moment of it."""
        return super().run_in_executor(Inline(), call, *args)


class Inline(Executor):
    """Runs at once, so that a run repeats exactly."""

    def submit(self, call, /, *args, **kwargs):
        done = Future()
        try:
            done.set_result(call(*args, **kwargs))
        except Exception as error:  # noqa: BLE001  # as a thread would hand it over
            done.set_exception(error)
        return done


class SimClock:
    """The clock of one machine: virtual time, with an offset that may step."""

    BEGAN_US = 1_700_000_000_000_000

    def __init__(self, loop):
        self._loop = loop
        self.offset_us = 0

    def now_us(self):
        return max(0, self.BEGAN_US + int(self._loop.time() * 1_000_000) + self.offset_us)

    def monotonic_s(self):
        return self._loop.time()
