"""Commands for a gateway: kept until it says what became of them, sent again as long as it does not.

What runs at most once is the command with its id; the gateway sees to that. The cloud only repeats.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from cloudsync.store import CommandState
from cloudsync.turn import Turn
from twin.exchange import Command, CommandDone, Outcome

KEPT_MS: Final = 7 * 86_400_000
"""How long after its expiry a command that nobody answered is still asked about."""


async def put_command(turn: Turn, command: Command) -> None:
    """Keep a command, and send it."""
    await turn.tx.put_command(CommandState(replace(command, session="")))
    turn.state.waiting += 1
    if turn.state.session:
        turn.send(replace(command, session=turn.state.session))


async def send_commands(turn: Turn) -> None:
    """Send all that have not ended; give up on those that expired long ago."""
    for waiting in await turn.tx.commands():
        command = waiting.command
        if turn.now_ms - command.expires_at > KEPT_MS:
            text = "its gateway never said what became of it"
            await _end(turn, waiting, CommandDone("", command.id, Outcome.EXPIRED, "timeout", text))
        elif turn.state.session:
            turn.send(replace(command, session=turn.state.session))


async def take_done(turn: Turn, done: CommandDone) -> None:
    """Keep what became of a command; the first word counts."""
    found = next((one for one in await turn.tx.commands() if one.command.id == done.id), None)
    if found is not None:
        await _end(turn, found, replace(done, session=""))


async def _end(turn: Turn, waiting: CommandState, done: CommandDone) -> None:
    await turn.tx.put_command(CommandState(waiting.command, done))
    turn.state.waiting = max(0, turn.state.waiting - 1)
    turn.changed = True
