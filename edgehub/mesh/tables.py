"""The table that the mesh's process is to carry out, put together from all that is known."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Set
from types import MappingProxyType

from edgehub.mesh.listed import AddressOf
from edgehub.mesh.translate import Translation, translate
from mesh.model.routes import RouteKey, RouteKind
from mesh.model.services import Endpoint, Origin, PortKey, ServiceKey
from mesh.model.table import Table
from mesh.problems import Problem, Subject
from mesh.registry import Said, merged
from twin.manifest.catalog import RegistryView
from twin.manifest.document import ROUTES, DocumentKind, Ref


class Tables:
    """Of one gateway; ``node`` is its name."""

    def __init__(self, node: str, address_of: AddressOf) -> None:
        self._node = node
        self._address_of = address_of
        self._view: RegistryView | None = None
        self._translation = Translation()
        self._by_cloud: Set[Ref] = frozenset()

    def documents(self, view: RegistryView, by_cloud: Set[Ref]) -> None:
        """What documents say now."""
        if view is not self._view:
            self._view, self._by_cloud = view, by_cloud
            self._translation = translate(view, node=self._node, address_of=self._address_of, by_cloud=by_cloud)

    def table(self, here: Mapping[PortKey, tuple[Endpoint, ...]], others: Iterable[Said], *, cloud: bool) -> Table:
        """With the endpoints of this gateway and of others; ``cloud``: whether it is reached."""
        listed = self._translation.table
        said: Sequence[Said] = (Said(Origin.HERE, here), Said(Origin.CLOUD, heard=cloud), *others)
        services = merged(listed.services.values(), said, self._node)
        return Table(MappingProxyType(services), listed.routes, listed.policies, listed.route_policies)

    @property
    def problems(self) -> Mapping[Ref, tuple[Problem, ...]]:
        """What is wrong with policies."""
        return self._translation.problems

    @property
    def tunnels(self) -> Mapping[str, str]:
        """Where the tunnels of other gateways are reached; empty: by the relay alone."""
        return self._translation.tunnels

    def by_cloud(self) -> frozenset[Subject]:
        """The services and routes whose documents the cloud wrote."""
        return frozenset(filter(None, map(subject_of, self._by_cloud)))


def subject_of(ref: Ref) -> Subject | None:
    """The service or route that a document is."""
    if ref.kind is DocumentKind.SERVICE:
        return ServiceKey(ref.namespace, ref.name)
    return RouteKey(RouteKind(ref.kind.value), ref.namespace, ref.name) if ref.kind in ROUTES else None
