"""One push at work: its queue, from the disk to the target, in order, until it has it.

read behind the cursor ──> send ──> taken: the cursor moves ──> next
                              └──> later: wait, open the target anew, read again
                              └──> refused: less at once, and one that is refused alone is set aside
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Final

from pydantic import ValidationError

from edgehub.push.payload import reading_json
from edgehub.push.setup import PushSetup
from edgehub.push.steps import next_step, wait_s
from edgehub.push.target import Broken, Delivered, Later, Outcome, Place, PushType, Reading, Refused, Target
from edgehub.push.types import push_type
from twin.clock import Clock
from twin.errors import EdgetwinError, StoreError
from twin.link.backoff import Backoff
from twin.sqlite_outbound_reader import OutboundReader, Page
from twin.sqlite_progress import Progress, ProgressFile, SetAside

log = logging.getLogger(__name__)

MOST_AFTER_S: Final = 3600.0
"""The longest wait that a target may ask for."""
OPEN_S: Final = 30.0
CLOSE_S: Final = 5.0
WHY_CHARS: Final = 500

_OUTCOMES: Final = (Delivered, Later, Refused)


class Sender:
    """Delivers one queue until cancelled. ``progress`` is where it stands, and was when it last ended."""

    def __init__(
        self,
        setup: PushSetup,
        gateway: str,
        reader: OutboundReader,
        file: ProgressFile,
        progress: Progress,
        *,
        clock: Clock,
        backoff: Backoff,
        type_of: Callable[[str], PushType[Any]] = push_type,
    ) -> None:
        self._setup = setup
        self._gateway = gateway
        self._reader = reader
        self._file = file
        self.progress = progress
        self.route = setup.route
        self._clock = clock
        self._backoff = backoff
        self._type_of = type_of
        self._limit = setup.max_readings
        self._place = Place(gateway, setup.name, setup.timeout_ms / 1000)

    async def run(self) -> None:
        """Deliver what there is and what comes, for ever."""
        while True:
            failed = await self._while_open()
            self._tell("waiting" if isinstance(failed, _Tried) else "broken", failed.outcome.why)
            await self._noted()
            await asyncio.sleep(wait_s(failed.outcome, self._backoff.next_s(), MOST_AFTER_S))

    async def try_one(self, reading: Reading) -> Outcome:
        """Open the target aside and send one reading, for a test."""
        async with contextlib.AsyncExitStack() as stack:
            try:
                target = await self._opened(stack)
            except _Broken as broken:
                return broken.outcome
            return await self._sent(target, [reading])

    async def _while_open(self) -> _Broken:
        """Deliver until something fails; what failed. Nothing is opened before there is something to send."""
        await self._batch()
        async with contextlib.AsyncExitStack() as stack:
            try:
                target = await self._opened(stack)
            except _Broken as broken:
                return broken
            while True:
                page = await self._batch()  # as it is now: opening may have taken long
                outcome = await self._sent(target, page.readings)
                await self._take(outcome, page)
                if isinstance(outcome, Later):
                    return _Tried(outcome)
                self._backoff.reset()

    async def _batch(self) -> Page:
        """The next readings, once there are some."""
        while True:
            page = None
            try:
                page = await asyncio.to_thread(self._reader.next, self._setup.queue, self.progress.cursor, self._limit)
            except StoreError as error:
                log.debug("%s: %s", self._setup.name, error)
            if page is not None and page.readings:
                return page
            if page is not None and page.upto > self.progress.cursor:
                lost = self.progress.lost + page.damaged
                self.progress = replace(self.progress, cursor=page.upto, lost=lost)
                await self._noted()
                continue
            if self.progress.state == "sending":
                self._tell("idle", "")
                await self._noted()
            await asyncio.sleep(max(0.01, self._setup.wait_ms / 1000))

    async def _opened(self, stack: contextlib.AsyncExitStack) -> Target:
        """The target, open. Raises _Broken, or _Tried."""
        try:
            kind = self._type_of(self._setup.type)
            config = kind.config.model_validate(self._setup.config)
            async with asyncio.timeout(OPEN_S):
                target: Target = await stack.enter_async_context(_Closing(kind.open(config, self._place)))
        except Broken as error:
            raise _Broken(Later(str(error))) from None
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            where = ".".join(map(str, first["loc"]))
            raise _Broken(Later(f"its config is not that of {self._setup.type}: {where}: {first['msg']}")) from None
        except Exception as error:  # noqa: BLE001  a supervisor boundary: whatever a target does, others go on
            raise _Tried(Later(_text(error))) from None
        return target

    async def _sent(self, target: Target, batch: Sequence[Reading]) -> Outcome:
        try:
            async with asyncio.timeout(self._place.timeout_s):
                outcome: Any = await target.send(batch)
        except TimeoutError:
            return Later(f"no answer within {self._place.timeout_s:g} s")
        except Exception as error:  # noqa: BLE001  a supervisor boundary, as above
            return Later(_text(error))
        if not isinstance(outcome, _OUTCOMES):
            return Later(f"the target answered {outcome!r}, which is no outcome")
        return outcome

    async def _take(self, outcome: Outcome, page: Page) -> None:
        """Move on as far as the outcome allows, and note it."""
        batch = page.readings
        step = next_step(outcome, len(batch), self._limit, self._setup.max_readings)
        self._limit = step.limit
        if not step.taken and not step.aside:
            return
        aside = None
        if step.aside:
            assert isinstance(outcome, Refused)
            one = batch[step.taken]
            at_ms = self._clock.now_us() // 1000
            aside = SetAside(one.tick, reading_json(one, self._gateway).decode(), outcome.why[:WHY_CHARS], at_ms)
            log.warning("%s refuses a reading for good, it is set aside: %s", self._setup.name, outcome.why[:WHY_CHARS])
        done = step.taken + step.aside
        whole = done == len(batch)  # what the disk has damaged is passed over with the last, and counted once
        self.progress = replace(
            self.progress,
            cursor=page.upto if whole else batch[done - 1].tick,
            lost=self.progress.lost + (page.damaged if whole else 0),
            sent=self.progress.sent + step.taken,
            aside=self.progress.aside + step.aside,
            last_ms=self._clock.now_us() // 1000 if step.taken else self.progress.last_ms,
        )
        if step.taken and not isinstance(outcome, Later):
            self._tell("sending", "")
        await self._noted(aside)

    def _tell(self, state: str, why: str) -> None:
        """Log each change of state once."""
        before, why = self.progress, why[:WHY_CHARS]
        if before.state == state and before.why == why:
            return
        if why and not before.why:
            log.warning("%s delivers nothing: %s", self._setup.name, why)
        elif before.why and not why:
            log.info("%s delivers again", self._setup.name)
        since_ms = before.since_ms if before.state == state else self._clock.now_us() // 1000
        self.progress = replace(before, state=state, why=why, since_ms=since_ms)

    async def _noted(self, aside: SetAside | None = None) -> None:
        """Put it on disk. A disk that takes nothing stops no delivery: what is not noted is delivered twice."""
        try:
            await asyncio.to_thread(self._file.put, self._setup.queue, self.progress, aside)
        except StoreError as error:
            log.debug("%s: %s", self._setup.name, error)


class _Broken(Exception):  # why a target is not open; trying again alone does not mend it
    def __init__(self, outcome: Later) -> None:
        super().__init__(outcome.why)
        self.outcome = outcome


class _Tried(_Broken):  # it may go better the next time
    pass


class _Closing:
    """A target whose end is waited for, but not for ever, and whose failure then matters no more."""

    def __init__(self, target: contextlib.AbstractAsyncContextManager[Target]) -> None:
        self._target = target

    async def __aenter__(self) -> Target:
        return await self._target.__aenter__()

    async def __aexit__(self, *exc: Any) -> None:
        try:
            async with asyncio.timeout(CLOSE_S):
                await self._target.__aexit__(None, None, None)
        except Exception as error:  # noqa: BLE001  a supervisor boundary, as above
            log.debug("a target did not end well: %r", error)


def _text(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "it did not open in time"
    text = error.message if isinstance(error, EdgetwinError) else str(error)
    return f"{type(error).__name__}: {text}" if text and not isinstance(error, EdgetwinError) else text or repr(error)
