"""Commands of the cloud, each done at most once: its id is kept in the commit of what it does.

new ──> not expired, ours, allowed ──> desired + note (one commit) ──> done
        else ──> note ──> expired, refused
known ──> the same answer again
"""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass
from typing import Final

from twin.clock import Clock
from twin.engine import TwinEngine
from twin.errors import EdgetwinError, Refused, StoreError
from twin.exchange import Command, CommandDone, Outcome
from twin.model import Kind

log = logging.getLogger(__name__)

OWNER: Final = "command"
MAX_KEPT: Final = 4096
"""Ids that are remembered. Beyond that the ones that expired first are forgotten, and none that has not expired."""


@dataclass(frozen=True, slots=True)
class _Kept:
    expires_at: int
    outcome: Outcome
    code: str = ""
    message: str = ""
    remedy: str = ""

    def done(self, command: Command) -> CommandDone:
        return CommandDone(command.session, command.id, self.outcome, self.code, self.message, self.remedy)


class Commands:
    """Those of one gateway."""

    def __init__(self, engine: TwinEngine, clock: Clock, gateway: str) -> None:
        self._engine = engine
        self._clock = clock
        self._gateway = gateway
        self._kept: dict[str, _Kept] = {}

    def load(self) -> None:
        """Remember what was done before this start. Raises StoreError."""
        for name, text in self._engine.notes(OWNER).items():
            try:
                expires_at, outcome, code, message, remedy = json.loads(text)
                self._kept[name] = _Kept(int(expires_at), Outcome(outcome), code, message, remedy)
            except (ValueError, TypeError):
                log.warning("the note of command %s cannot be read; it counts as done", name)
                self._kept[name] = _Kept(0, Outcome.DONE)

    async def take(self, command: Command) -> CommandDone | None:
        """Do a command, or say what became of it before; None if the disk does not take it and it has to come again."""
        kept = self._kept.get(command.id)
        if kept is not None:
            return kept.done(command)
        if not self._has_room():
            text = f"{MAX_KEPT} commands that have not expired are remembered already"
            return _Kept(0, Outcome.REFUSED, "error", text, "Give commands shorter expiries.").done(command)
        kept = self._run(command)
        self._kept[command.id] = kept  # before the wait: the same one may come again meanwhile
        commit = self._engine.note(OWNER, command.id, _text(kept))
        try:
            await commit.stored()
        except StoreError as error:
            del self._kept[command.id]
            log.warning("command %s is left for later: %s", command.id, error.message)
            return None
        return kept.done(command)

    def _run(self, command: Command) -> _Kept:
        key, expires_at = command.key, command.expires_at
        late_ms = self._now_ms() - expires_at
        if late_ms > 0:
            text = f"{key}: the command came {late_ms / 1000:.1f} s after its end"
            return _Kept(expires_at, Outcome.EXPIRED, "expired", text, "Give it more time, or look at the line.")
        try:
            named = self._engine.spec(key).gateway
            if key.kind is Kind.DEVICE and named not in ("", self._gateway):
                text = f"{key} belongs to gateway {named!r}, this is {self._gateway!r}"
                raise Refused(text, remedy="Send the command to that gateway.")
            self._engine.set_desired(key, command.desired, by=command.by)
        except EdgetwinError as error:
            return _Kept(expires_at, Outcome.REFUSED, error.code, error.message, error.remedy)
        return _Kept(expires_at, Outcome.DONE)

    def _now_ms(self) -> int:
        """The time, but not earlier than what the cloud has said: a clock that is behind must not run old commands."""
        return max(self._clock.now_us(), self._engine.replica.peer_last) // 1000

    def _has_room(self) -> bool:
        now_ms = self._now_ms()
        while len(self._kept) >= MAX_KEPT:
            name = min(self._kept, key=lambda one: self._kept[one].expires_at)
            if self._kept[name].expires_at >= now_ms:
                return False
            del self._kept[name]
            self._engine.note(OWNER, name, None)
        return True


def _text(kept: _Kept) -> str:
    return json.dumps([kept.expires_at, kept.outcome, kept.code, kept.message, kept.remedy])
