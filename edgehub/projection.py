"""Documents as twins: after each change of the documents the twins, and all that lives off them, are what they say."""

from __future__ import annotations

from edgehub.alarming.documents import rules_of, subjects_of
from edgehub.alarming.keeper import Alarming
from edgehub.connections import connection_specs
from edgehub.dialects import Dialects
from edgehub.own_twin import OwnTwin
from edgehub.parts import Parts
from edgehub.twins import LocalTwins
from twin.dialects.aws_names import device_of
from twin.model import TwinKey, TwinSpec


class Projection:
    """Of one gateway's documents onto its engine."""

    def __init__(self, parts: Parts, own: OwnTwin, twins: LocalTwins, dialects: Dialects, alarming: Alarming) -> None:
        self._parts = parts
        self._own = own
        self._twins = twins
        self._dialects = dialects
        self._alarming = alarming

    async def renew(self) -> None:
        """Make the twins what the documents say. What they do not name is removed, but for shadows of named devices.

        Raises StoreError if they cannot be written.
        """
        specs = await self._specs()
        self._write(specs)
        self._own.report()
        self._parts.pods.report_all()
        self._parts.mesh.report_all()
        self._parts.kube.documents_changed()
        self._twins.forget_topics()
        self._dialects.projected()
        await self._parts.engine.settled()

    async def _specs(self) -> dict[TwinKey, TwinSpec]:
        """Every twin that is to be; those whose twins these are follow the documents first."""
        parts, view = self._parts, self._parts.documents.view()
        devices = parts.documents.specs()
        await parts.mesh.follow()
        await parts.pods.follow()
        await parts.pushes.follow(view, devices)
        said = self._dialects.completed(
            (
                *devices,
                *connection_specs(parts.documents.host_settings(), self._own.key.name),
                *parts.pods.specs(),
                *parts.mesh.specs(),
                *parts.pushes.specs(),
                self._own.spec(),
            )
        )
        specs = {spec.key: spec for spec in said}
        self._alarming.follow(rules_of(view), subjects_of(view, specs.values(), self._own.key.name))
        return specs | {spec.key: spec for spec in self._alarming.specs()}

    def _write(self, specs: dict[TwinKey, TwinSpec]) -> None:
        engine = self._parts.engine
        for key in list(engine):
            if key not in specs and device_of(key) not in specs:
                engine.remove(key)
        by_cloud = self._parts.documents.by_cloud()
        for spec in specs.values():
            engine.define(spec, theirs=spec.key in by_cloud)
