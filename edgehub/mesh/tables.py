"""The table that the mesh's process is to carry out, put together from documents, pods, mappers and other gateways."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from edgehub.kubeapi.home import own_address
from edgehub.mesh import alarms, here
from edgehub.mesh.addresses import Addresses
from edgehub.mesh.learnt import Shape, learnt, shapes_of
from edgehub.mesh.notes import NOTES, notes_of
from edgehub.mesh.translate import Translation, translate
from mesh.model.alarms import AlarmRule
from mesh.model.routes import RouteKey, RouteKind
from mesh.model.services import Endpoint, Origin, PortKey, ServiceKey
from mesh.model.table import Table
from mesh.problems import Problem, Subject
from mesh.registry import Said, merged
from twin.document import Slot
from twin.engine import TwinEngine
from twin.manifest.catalog import RegistryView
from twin.manifest.document import ROUTES, DocumentKind, Ref
from twin.model import TwinKey

if TYPE_CHECKING:
    from edgehub.mesh.home import Place, Sources

_ADDRESSES: Final = "addresses"
_NOTHING: Final[Mapping[str, Slot]] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Built:
    """A table, and what else follows from the same documents and pods."""

    table: Table
    own: Mapping[PortKey, tuple[Endpoint, ...]]
    """What this gateway itself offers."""
    callers: Mapping[str, str]
    """Whose addresses are whose."""
    rules: tuple[AlarmRule, ...]
    shapes: Mapping[PortKey, Shape]
    """What the ports are like of Services that have a document here."""
    learnt: frozenset[ServiceKey]
    """Services that have none."""


class Tables:
    """Of one gateway. Keeps the addresses of services."""

    def __init__(self, place: Place, sources: Sources, engine: TwinEngine, runs: Callable[[str], bool]) -> None:
        self._place = place
        self._sources = sources
        self._engine = engine
        self._runs = runs
        settings, notes = place.settings, notes_of(engine)
        taken = {settings.dns_address[0]} if settings.dns_address else set()
        self._addresses = Addresses.read(notes.get(_ADDRESSES, ""), settings.network, taken)
        self._view: RegistryView | None = None
        self._translation = Translation()
        self._by_cloud: Set[Ref] = frozenset()
        self.here = here.Place(place.gateway, own_address(), settings.zone)

    def has_moved(self) -> bool:
        """Whether this gateway has another address than when the last table was built."""
        return own_address() != self.here.address

    def built(self, others: Iterable[Said], told: Mapping[PortKey, Shape], *, cloud: bool) -> Built:
        """With what other gateways said, and how ports are that they told of; ``cloud``: whether it is reached."""
        view = self._sources.view()
        self._read(view)
        self.here = here.Place(self._place.gateway, own_address(), self._place.settings.zone)
        offered = here.offers(view, self.here, self._reported, self._runs)
        own = here.endpoints(view, offered, self.here)
        listed = self._translation.table
        said: Sequence[Said] = (Said(Origin.HERE, own), Said(Origin.CLOUD, heard=cloud), *others)
        more = learnt(told, listed.services.keys(), self._addresses.of)
        services = merged([*listed.services.values(), *more.values()], said, self._place.gateway)
        if self._addresses.forget(services):
            self._engine.note(NOTES, _ADDRESSES, self._addresses.note())
        return Built(
            Table(MappingProxyType(services), listed.routes, listed.policies, listed.route_policies),
            own,
            {
                one.address: f"{one.stored.ref.namespace}/{one.stored.ref.name}"
                for one in offered
                if one.address != self.here.address
            },
            alarms.rules_of(view),
            shapes_of(listed.services.values()),
            frozenset(more),
        )

    @property
    def problems(self) -> Mapping[Ref, tuple[Problem, ...]]:
        """What is wrong with policies."""
        return self._translation.problems

    @property
    def tunnels(self) -> dict[str, str]:
        """Where the tunnels of other gateways are reached directly."""
        return {gateway: place for gateway, place in self._translation.tunnels.items() if place}

    def by_cloud(self) -> frozenset[Subject]:
        """The services and routes whose documents the cloud wrote."""
        return frozenset(filter(None, map(subject_of, self._by_cloud)))

    def _read(self, view: RegistryView) -> None:
        if view is not self._view:
            self._view, self._by_cloud = view, self._sources.by_cloud()
            self._translation = translate(
                view, node=self._place.gateway, address_of=self._addresses.of, by_cloud=self._by_cloud
            )

    def _reported(self, key: TwinKey, uid: str) -> Mapping[str, Slot]:
        if key not in self._engine or self._engine.spec(key).uid != uid:
            return _NOTHING
        return self._engine.document(key).reported


def subject_of(ref: Ref) -> Subject | None:
    """The service or route that a document is."""
    if ref.kind is DocumentKind.SERVICE:
        return ServiceKey(ref.namespace, ref.name)
    return RouteKey(RouteKind(ref.kind.value), ref.namespace, ref.name) if ref.kind in ROUTES else None
