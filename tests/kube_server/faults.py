"""The faults that a test may ask for: answers that fail, watches that end in the middle of a line."""

import asyncio
from dataclasses import dataclass

from tests.kube_server.errors import ApiError

REASONS = {
    429: "TooManyRequests",
    500: "InternalError",
    503: "ServiceUnavailable",
    401: "Unauthorized",
    403: "Forbidden",
}


class Dropped(Exception):
    """The connection ends without an end of the answer."""


class CutMidLine(Exception):
    """The answer ends well, its last line does not."""

    def __init__(self, half):
        super().__init__("half a line")
        self.half = half


@dataclass
class Fault:
    code: int
    times: int
    verb: str = ""
    plural: str = ""
    retry_after: float | None = None
    struck: int = 0


class Stream:
    """One watch."""

    def __init__(self, faults):
        self.cut = asyncio.Event()
        self.half = False
        self._faults = faults

    def close(self):
        self._faults.streams.discard(self)


class Faults:
    def __init__(self):
        self.asked: list[Fault] = []
        self.streams: set[Stream] = set()

    def fail(self, code, times=1, *, verb="", plural="", retry_after=None):
        """Answer the next requests with this code; the fault counts how often it did."""
        fault = Fault(code, times, verb, plural, retry_after)
        self.asked.append(fault)
        return fault

    def strike(self, verb, plural):
        for one in self.asked:
            if one.times > 0 and one.verb in ("", verb) and one.plural in ("", plural):
                one.times -= 1
                one.struck += 1
                raise ApiError(one.code, REASONS.get(one.code, "Unknown"), "a fault of the test", None, one.retry_after)

    def stream(self):
        made = Stream(self)
        self.streams.add(made)
        return made

    def cut_watches(self):
        for one in self.streams:
            one.cut.set()

    def cut_next_lines(self):
        """Each watch that is open ends in the middle of its next line."""
        for one in self.streams:
            one.half = True
