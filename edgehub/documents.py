"""The verb apply: files of documents in, the registry changed as a whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from edgehub.agreeing import Agreement, Books, is_of_the_cloud, refused, wide
from edgehub.mapper_hosts import Placement, placed
from edgehub.plugins import HubMappers
from edgehub.registry import Registry
from edgehub.serving import foreign_devices, foreign_pods, host_settings, mapper_specs, protocol_problems, twin_specs
from mappers.sdk.config import HostSettings
from mappers.sdk.registry import Registry as Mappers
from twin.envelope import Reader
from twin.exchange import DocumentRow, DocumentState
from twin.manifest.agreement import summary
from twin.manifest.catalog import Applied, RegistryView
from twin.manifest.document import CLOUD_ONLY, MESH, NETWORK, Document, DocumentKind, Ref
from twin.manifest.problems import InvalidManifest, Problem
from twin.manifest.read import read_documents
from twin.manifest.yaml import Source
from twin.model import Kind, TwinKey, TwinSpec
from twin.sealing import Sealer
from twin.wire.api import ApplyMode, ApplyReply, ApplyRequest, DocumentChange


@contextmanager
def open_documents(path: Path, gateway: str) -> Iterator[Documents]:
    """Open the registry under its lock, checked by the mappers' own models. Raises StoreError if it is taken."""
    mappers = HubMappers(Mappers.installed())
    keys = path.parent / "keys"
    reader = Reader(keys / "reader.key")
    sealer = Sealer(keys / "secrets.key", credentials=os.environ.get("CREDENTIALS_DIRECTORY", ""), reader=reader)
    registry = Registry(path, checks=[lambda view: protocol_problems(view, mappers, registry.view)])
    with registry:
        try:
            yield Documents(registry, mappers, gateway, sealer)
        finally:
            mappers.rest()


class Documents:
    """The registry as the hub uses it."""

    def __init__(self, registry: Registry, mappers: HubMappers, gateway: str, sealer: Sealer) -> None:
        self.sealer = sealer
        self._registry = registry
        self._mappers = mappers
        self._gateway = gateway
        self._settings = HostSettings()
        self.learn()

    def learn(self) -> None:
        """Work out what the mappers are to serve; takes the time of plugins that have to be asked."""
        self._settings = host_settings(self._registry.view, self._mappers, self._gateway)
        self._mappers.rest()

    def view(self) -> RegistryView:
        """All documents as they stand now."""
        return self._registry.view

    def specs(self) -> list[TwinSpec]:
        """What the documents say of every device's twin."""
        return twin_specs(self._registry.view)

    @property
    def books(self) -> Books:
        """All documents, and what is known of them; does not change when the registry does."""
        return self._registry.books

    def by_cloud(self) -> frozenset[TwinKey]:
        """The devices whose documents the cloud wrote, and so what is desired in them."""
        device, known = DocumentKind.DEVICE.value, self.books.known.items()
        return frozenset(
            TwinKey(Kind.DEVICE, ref.namespace, ref.name) for ref, one in known if one.by_cloud and ref.kind == device
        )

    def network_of_cloud(self) -> frozenset[Ref]:
        """Of the documents of services, endpoints and routes those that the cloud wrote."""
        kinds, known = {one.value: one for one in (*NETWORK, *MESH)}, self.books.known.items()
        return frozenset(
            Ref(kinds[ref.kind], ref.namespace, ref.name) for ref, one in known if one.by_cloud and ref.kind in kinds
        )

    def refused(self) -> dict[str, str]:
        """The cloud's documents that cannot be served here, and why."""
        return {f"{ref.kind} {ref.namespace}/{ref.name}": why for ref, why in refused(self.books).items()}

    def states(self) -> list[DocumentState]:
        """What is here of every document that was ever heard of."""
        return self._registry.states()

    def seen_pods(self) -> str:
        """One hash over what is known here of all Pods: the cloud, which has the same, sees by it what was taken."""
        return summary(state for state in self.states() if state.ref.kind == DocumentKind.POD)

    def agree(self, rows: Iterable[DocumentRow]) -> Agreement:
        """Take documents of the cloud, and try those again that could not be served. Raises StoreError."""
        try:
            return self._registry.agree(rows)
        finally:
            self.learn()

    def host_settings(self) -> HostSettings:
        """What the mappers are to serve."""
        return self._settings

    def is_plugin(self, mapper: str) -> bool:
        """Whether a mapper has a process of its own."""
        return self._mappers.is_plugin(mapper)

    def placement(self) -> Placement:
        """Which process serves what."""
        return placed(self._settings, mapper_specs(self._registry.view), self._mappers.is_plugin)

    def apply(self, request: ApplyRequest) -> ApplyReply:
        """Do as the request says. Raises InvalidManifest with every problem; then nothing has changed.

        May take seconds: plugins are asked in processes of their own.
        """
        try:
            return self._apply(request)
        finally:
            self.learn()

    def _apply(self, request: ApplyRequest) -> ApplyReply:
        manifest = read_documents([Source(one.name, one.text.encode()) for one in request.sources])
        problems = [_not_here(one) for one in manifest.documents if one.kind in CLOUD_ONLY]
        problems += [_of_the_cloud(one) for one in manifest.documents if is_of_the_cloud(self.books, wide(one.ref))]
        if problems:
            raise InvalidManifest(problems)
        documents = self.sealer.sealed(manifest.documents)
        warnings = [str(warning) for warning in manifest.warnings]
        if request.mode is ApplyMode.DIFF:
            found = self._registry.diff(documents)
            changes = [DocumentChange(document=str(one.ref), action=one.action, diff=one.text) for one in found]
            return ApplyReply(changes=changes, warnings=warnings)
        if request.mode is ApplyMode.DELETE:
            outcome = self._registry.delete([one.ref for one in manifest.documents], dry_run=request.dry_run)
        else:
            outcome = self._registry.apply(documents, dry_run=request.dry_run)
            warnings += map(str, foreign_devices(manifest.documents, self._gateway))
            warnings += map(str, foreign_pods(manifest.documents, self._gateway))
        if self.refused() and not request.dry_run:
            self._registry.agree(())  # what was refused may fit now
        return ApplyReply(changes=_changes(outcome), warnings=warnings)


def _not_here(document: Document) -> Problem:
    text = f"a {document.kind} is for the cloud, which makes of it what gateways are to have"
    return document.problem(("kind",), text, "Apply it there: edgetwin cloud apply -f FILE.")


def _of_the_cloud(document: Document) -> Problem:
    text = f"{document.ref} was given by the cloud, which alone can read and change it"
    return document.problem((), text, "Apply or delete it there: edgetwin cloud apply -f FILE.")


def _changes(outcome: Applied) -> list[DocumentChange]:
    return [DocumentChange(document=str(change.ref), action=change.action) for change in outcome.changes]
