"""What the mesh's process has said since it began: what is carried out, what is wrong, what went through, alarms."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping

from edgehub.mesh import alarms
from edgehub.mesh.traffic import Traffic
from mesh.alerts import Alert
from mesh.frames import Counted, FromMesh, Programmed, Ready, Refused
from mesh.model.services import Plane, PortKey, ServiceKey
from mesh.problems import Problem, Subject
from mesh.snapshot import Collected
from twin.wire import mesh

_WORKER = "mesh"


class State:
    """Of one process after the other. Times are of the monotonic clock, ``at_ms`` of the wall's."""

    def __init__(self) -> None:
        self.ready: Ready | None = None
        self.ready_s: float | None = None
        """Since when the process that is there is ready."""
        self.programmed = 0
        """The number of the table that is carried out; 0: none yet."""
        self.refused = ""
        """Why the last table was not taken; empty: it was."""
        self.refused_number = 0
        self.problems: Mapping[Subject, tuple[Problem, ...]] = {}
        self.traffic = Traffic()
        self.firing: dict[tuple[str, ServiceKey], mesh.Alert] = {}
        self._collected = Collected()

    def began_anew(self) -> None:
        """Another process is there, and has said nothing yet; what was counted is not lost."""
        self.ready = self.ready_s = None
        self.programmed = 0
        self.firing.clear()
        self.traffic.began_anew()
        self._collected.ended(_WORKER)

    @property
    def no_kernel(self) -> str:
        """Why this machine has no nftables; empty: it has, or nobody has asked yet."""
        there = self.ready.planes if self.ready is not None else ()
        return next((one.why_not for one in there if one.plane is Plane.NFTABLES and os.geteuid()), "")

    @property
    def default_plane(self) -> Plane:
        """What carries services that ask for nothing else."""
        there = self.ready.planes if self.ready is not None else ()
        nftables = any(one.plane is Plane.NFTABLES and not one.why_not for one in there)
        return Plane.NFTABLES if nftables else Plane.USERSPACE

    def took(self, frame: FromMesh, now_s: float) -> set[Subject]:
        """Take in what it said; returns the services and routes that may look other now."""
        match frame:
            case Ready():
                self.ready, self.ready_s = frame, now_s
            case Refused():
                self.refused, self.refused_number = frame.why, frame.number
            case Programmed():
                self.programmed = frame.number
                if frame.number > self.refused_number:
                    self.refused = ""
                if frame.problems is not None:
                    touched = self.problems.keys() | frame.problems.keys()
                    before, self.problems = self.problems, frame.problems
                    return {key for key in touched if before.get(key) != frame.problems.get(key)}
            case Counted():
                before_health, before_breakers = self.traffic.health(), self.traffic.breakers()
                self._collected.took(_WORKER, frame.snapshot)
                self.traffic.took(self._collected.all(), now_s)
                health, breakers = self.traffic.health(), self.traffic.breakers()
                ports = {
                    key for key in before_health.keys() | health.keys() if before_health.get(key) != health.get(key)
                }
                broken = before_breakers.keys() | breakers.keys()
                return {*_services(ports), *(key for key in broken if before_breakers.get(key) != breakers.get(key))}
            case _:
                pass
        return set()

    def alerted(self, alerts: Iterable[Alert], now_s: float, at_ms: int) -> None:
        """Alarm rules that begin to hold, or hold no more."""
        for alert in alerts:
            key = alert.rule.key, alert.about
            if alert.firing:
                self.firing[key] = alarms.body(alert, at_ms - round((now_s - alert.since_s) * 1000))
            else:
                self.firing.pop(key, None)

    def alerts_of(self, service: ServiceKey) -> tuple[str, ...]:
        """The rules that hold for a service."""
        return tuple(sorted(rule for rule, about in self.firing if about == service))


def _services(ports: Iterable[PortKey]) -> set[ServiceKey]:
    return {port.service for port in ports}
