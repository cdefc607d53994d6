"""The state of a link, and who is told of it: the part that every link has."""

from __future__ import annotations

import asyncio
import logging
from typing import Final

from twin.errors import LinkError
from twin.link import LinkState, StateHandler, Unsubscribe

log = logging.getLogger(__name__)

_TRYING: Final = "Check that the broker runs, its address, and the network; the link keeps trying."


class StatefulLink:
    """Base of links. ``_name`` is the link's in the log, ``_broker_name`` what a person calls the other end."""

    def __init__(self, name: str, broker_name: str) -> None:
        self._name = name
        self._broker_name = broker_name
        self._state = LinkState.CLOSED
        self._state_handlers: list[StateHandler] = []
        self._up = asyncio.Event()

    @property
    def state(self) -> LinkState:
        """The state right now."""
        return self._state

    def on_state(self, handler: StateHandler) -> Unsubscribe:
        """Tell the handler each change of state."""
        self._state_handlers.append(handler)

        def stop() -> None:
            if handler in self._state_handlers:
                self._state_handlers.remove(handler)

        return stop

    async def connected(self, timeout_s: float) -> None:
        """Wait until the link is up and its subscriptions are granted. Raises LinkError when the time is over."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._up.wait()
        except TimeoutError:
            failure = self._why_down() or f"no connection to the broker {self._broker_name} within {timeout_s:g} s"
            raise LinkError(failure, remedy=self._remedy(failure)) from None

    def _why_down(self) -> str:
        """What keeps it from being up; empty if that is not known."""
        return ""

    def _remedy(self, failure: str) -> str:  # noqa: ARG002  other links look at it
        return _TRYING

    def _enter(self, state: LinkState) -> None:
        if state is self._state:
            return
        self._state = state
        if state is LinkState.UP:
            self._up.set()
        else:
            self._up.clear()
        for handler in tuple(self._state_handlers):
            try:
                handler(state)
            except Exception:
                log.exception("a state handler of link %s failed", self._name)
