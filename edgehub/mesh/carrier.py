"""The mesh's process as its owner sees it: what it has been told, and how far it carries that out.

Running ──table, frames──> Carrier ──MeshChild──> the process, all of it anew whenever that begins
Running <──frames── Carrier <──MeshChild── the process
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

from edgehub.mesh.child import HUNG_S, MeshChild
from edgehub.mesh.state import State
from mesh.compile import Compiled, change, compile_table
from mesh.difference import table_difference
from mesh.frames import Alarms, Begin, Changed, FromMesh, Programmed, Ready, Refused, Said, Votes, Whole
from mesh.model.table import Table
from mesh.problems import Subject
from mesh.settings import Settings
from twin.clock import Clock
from twin.supervisor import ChildError, Supervisor

log = logging.getLogger(__name__)

PATIENCE_S: Final = 5.0
"""How long the process may take to carry out a table before twins and alarms say so."""
_NO_CHANGE: Final = table_difference(Table(), Table())


class Carrier:
    """One gateway's. ``heard`` is called with what the process says, ``touched`` with what may look other for it."""

    def __init__(
        self,
        settings: Settings,
        run: Path,
        clock: Clock,
        heard: Callable[[FromMesh], None],
        touched: Callable[[Iterable[Subject]], None],
        hung_s: float = HUNG_S,
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._heard = heard
        self._touched = touched
        self._child = MeshChild(run, self._on_up, self._on_frame, self._on_down, hung_s)
        self._told: dict[str, Said | Alarms] = {}
        """What the process is to know beside its table, by kind."""
        self._number = 0
        self._whole_sent = False
        self._behind_s: float | None = None
        """Since when the process has not carried out the newest table."""
        self._why_not = ""
        self.table = Table()
        self.compiled = Compiled(settings.node)
        self.state = State()

    async def open(self, supervisor: Supervisor) -> None:
        """Start the process. What keeps it from that is an alarm."""
        try:
            await self._child.open(supervisor)
        except (ChildError, OSError) as error:
            self._why_not = f"the mesh does not run: {error}"
            log.error("%s", self._why_not)

    async def close(self) -> None:
        """End the process."""
        await self._child.close()

    @property
    def pid(self) -> int:
        """The process; 0: there is none right now."""
        return self._child.pid

    @property
    def restarts(self) -> int:
        """How often it was started again."""
        return self._child.restarts

    # -- what it is told -------------------------------------------------------------------------------------------

    def follow(self, table: Table) -> None:
        """Have this table carried out."""
        difference = table_difference(self.table, table)
        if difference == _NO_CHANGE:
            return
        self.compiled, _ = change(self.compiled, difference)
        self.table = table
        self._number += 1
        if self._whole_sent:
            self._whole_sent = self._child.send(Changed(number=self._number, change=difference))
        elif self.state.ready is not None:
            self._send_whole()
        self._touched([*(one.key for one in difference.services), *(one.key for one in difference.routes)])

    def tell(self, frame: Said | Alarms) -> None:
        """Tell it what is so now, in place of what was told of this kind before."""
        if frame != self._told.get(frame.kind):
            self._told[frame.kind] = frame
            self._child.send(frame)

    def vote(self, ballots: Iterable[Votes]) -> None:
        """Tell it how gateways vote, which is not told again to a new process."""
        for ballot in ballots:
            self._child.send(ballot)

    def _send_whole(self) -> None:
        self._whole_sent = self._child.send(Whole(number=self._number, table=table_difference(Table(), self.table)))

    # -- what it says ----------------------------------------------------------------------------------------------

    def is_current(self) -> bool:
        """Whether it has said what became of the newest table."""
        return self._number in (self.state.programmed, self.state.refused_number)

    def is_catching_up(self) -> bool:
        """Whether it may still be about to say that."""
        if self.is_current():
            self._behind_s = None
            return False
        now_s = self._clock.monotonic_s()
        self._behind_s = now_s if self._behind_s is None else self._behind_s
        return now_s - self._behind_s < PATIENCE_S

    def alarms(self) -> list[str]:
        """What the user has to see to."""
        found = [self._why_not] if self._why_not else []
        if ending := self._child.failed(self._clock.now_us() // 1000):
            found.append(f"the mesh's process {ending}; what went through it was cut, and it was started again")
        if self._behind_s is not None and self._clock.monotonic_s() - self._behind_s >= PATIENCE_S:
            found.append("the mesh's process does not carry out what is wanted; the hub's log says why")
        if self.state.refused:
            found.append(f"the mesh goes on with an older table: {self.state.refused}")
        return found + [f"the mesh: {problem}" for problem in (self.state.ready.problems if self.state.ready else ())]

    def _on_up(self) -> None:
        self.state.began_anew()
        self._child.send(Begin(settings=self._settings))

    def _on_down(self) -> None:
        self._whole_sent = False
        self.state.began_anew()
        self._touched(self._subjects())

    def _on_frame(self, frame: FromMesh) -> None:
        self._touched(self.state.took(frame, self._clock.monotonic_s()))
        match frame:
            case Ready():
                self._begin(frame)
            case Programmed() if frame.number == self._number:
                self._touched(self._subjects())
            case Refused():
                self._whole_sent = False  # it goes on with the table before, to which no change fits
                log.error("the mesh refuses its table, and goes on with the one before: %s", frame.why)
            case _:
                pass
        self._heard(frame)

    def _begin(self, ready: Ready) -> None:
        """A process is there: tell it everything."""
        for problem in ready.problems:
            log.warning("the mesh: %s", problem)
        anew = Compiled(self._settings.node, self.state.default_plane, self.state.no_kernel)
        if (anew.default_plane, anew.no_kernel) != (self.compiled.default_plane, self.compiled.no_kernel):
            self.compiled = compile_table(self.table, anew)
        self._number += 1
        for frame in self._told.values():
            self._child.send(frame)
        self._send_whole()

    def _subjects(self) -> Iterable[Subject]:
        yield from self.table.services
        yield from self.table.routes
