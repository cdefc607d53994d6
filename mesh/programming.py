"""Keeps the data planes in step with the programme, whatever each of them can do.

A frontend that moves to another plane is opened there first, and closed where it was only if that went well: clients
find one of the two at any time. What failed is tried again with each change, and now and then.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace

from mesh.compile import difference
from mesh.errors import PlaneError
from mesh.model.programme import Frontend, Programme, ProgrammeDelta
from mesh.model.services import Plane, PortKey
from mesh.planes import DataPlane

log = logging.getLogger(__name__)

_NOTHING = ProgrammeDelta()


class Programmer:
    """The planes of a process, and what each was told."""

    def __init__(self, planes: Mapping[Plane, DataPlane]) -> None:
        self._told = {plane: _Told(plane, carrier) for plane, carrier in planes.items()}
        self.failed: dict[PortKey, str] = {}
        """Frontends that are not as they should be, and why."""

    def add(self, plane: Plane, carrier: DataPlane) -> None:
        """Another plane is there, and is told all of the next programme."""
        self._told[plane] = _Told(plane, carrier)

    async def bring(self, programme: Programme) -> None:
        """Have the planes carry out this programme."""
        failed: dict[PortKey, str] = {}
        frontends: dict[PortKey, Frontend] = {}
        for told in self._told.values():
            delta = told.delta(programme)
            frontends |= {one.key: one for one in delta.frontends}
            opening = tuple(one for one in delta.frontends if not told.is_left_by(one))
            failed |= await told.tell(replace(delta, frontends=opening))
        for told in self._told.values():
            closing = tuple(one for one in frontends.values() if told.is_left_by(one) and one.key not in failed)
            failed |= await told.tell(ProgrammeDelta(closing))
        for told in self._told.values():
            told.settle(programme, failed)
        self._say(failed)
        self.failed = failed

    def _say(self, failed: Mapping[PortKey, str]) -> None:
        for key, why in failed.items():
            if self.failed.get(key) != why:
                log.warning("%s is not as it should be: %s", key, why)
        for key in self.failed:
            if key not in failed:
                log.info("%s is as it should be", key)


class _Told:
    """One plane, and what it carries as far as we know."""

    def __init__(self, plane: Plane, carrier: DataPlane) -> None:
        self._plane = plane
        self._carrier = carrier
        self._programme = Programme()
        self._broke = False
        self._refused: set[PortKey] = set()
        self._doubtful: set[PortKey] = set()
        """Frontends of which we do not know whether it took them, since it broke."""

    def delta(self, programme: Programme) -> ProgrammeDelta:
        """What it has to be told."""
        self._broke = False
        self._refused.clear()
        delta = difference(self._programme, programme)
        doubtful = [one for one in self._doubtful if one not in programme.frontends and one not in delta.gone_frontends]
        return replace(delta, gone_frontends=(*delta.gone_frontends, *sorted(doubtful))) if doubtful else delta

    def is_left_by(self, frontend: Frontend) -> bool:
        """Whether it carries a frontend that is to be elsewhere."""
        known = self._programme.frontends.get(frontend.key)
        return known is not None and known.plane is self._plane is not frontend.plane

    async def tell(self, delta: ProgrammeDelta) -> Mapping[PortKey, str]:
        """Tell it something; returns what failed."""
        if delta == _NOTHING:
            return {}
        try:
            said = await self._carrier.program(delta)
        except PlaneError as error:
            return self._break(delta, str(error))
        except Exception as error:  # a fault of one plane must not end the others
            log.exception("%s is at fault", self._plane)
            return self._break(delta, f"a fault of the mesh itself: {error!r}")
        self._refused |= said.keys()
        return said

    def _break(self, delta: ProgrammeDelta, why: str) -> Mapping[PortKey, str]:
        self._broke = True
        self._doubtful |= {one.key for one in delta.frontends if one.plane is self._plane}
        ours = [one.key for one in delta.frontends if one.plane is self._plane or self.is_left_by(one)]
        return dict.fromkeys(ours, f"{self._plane}: {why}")

    def settle(self, programme: Programme, failed: Mapping[PortKey, str]) -> None:
        """It was told all of a programme, but what failed anywhere is as it was. If it broke it is told all again."""
        if self._broke:
            return
        self._doubtful.clear()
        wanted = programme.frontends
        held = {key for key in failed if key in self._refused or (key in wanted and self.is_left_by(wanted[key]))}
        if held:
            kept = {key: one for key, one in wanted.items() if key not in held}
            before = {key: one for key, one in self._programme.frontends.items() if key in held}
            programme = Programme(kept | before, programme.backends)
        self._programme = programme
