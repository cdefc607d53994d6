"""Routes of the mesh as Gateway API's objects, with the conditions that their twins report. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from edgehub.kubeapi import resources
from edgehub.kubeapi.objects import content, elements, key_of, mapping, metadata_of, time_of, whole_of
from edgehub.kubeapi.resources import Resource
from edgehub.kubeapi.view import Content
from edgehub.offers import Reported
from twin.document import Slot
from twin.manifest.catalog import RegistryView, Stored
from twin.manifest.document import DocumentKind
from twin.merge import value_of
from twin.model import Value

KINDS: Final[Mapping[DocumentKind, Resource]] = {
    DocumentKind.HTTP_ROUTE: resources.HTTP_ROUTES,
    DocumentKind.TCP_ROUTE: resources.TCP_ROUTES,
    DocumentKind.TLS_ROUTE: resources.TLS_ROUTES,
}
CONTROLLER: Final = "edgetwin.dev/mesh"


def routes(documents: RegistryView, kind: DocumentKind, reported: Reported, gateway: str) -> Iterator[Content]:
    """The routes of one kind, as this gateway carries them."""
    for stored in documents.all(kind):
        body = whole_of(stored) | {"status": {"parents": list(_parents(stored, reported, gateway))}}
        yield content(KINDS[kind], key_of(stored), metadata_of(stored), body)


def _parents(stored: Stored, reported: Reported, gateway: str) -> Iterator[Value]:
    """Each parent with the conditions of the whole route: the mesh has no others."""
    from edgehub.mesh.twins import twin_key  # memory that only gateways with routes should pay
    from mesh.model.routes import RouteKey, RouteKind

    key = RouteKey(RouteKind(stored.ref.kind.value), stored.ref.namespace, stored.ref.name)
    slot = reported(twin_key(key, gateway), stored.uid).get("conditions")
    conditions: list[Value] = list(_conditions(slot, stored.generation)) if slot is not None else []
    for parent in elements(mapping(stored.document.raw.get("spec")).get("parentRefs")):
        yield {"parentRef": parent, "controllerName": CONTROLLER, "conditions": conditions}


def _conditions(slot: Slot, generation: int) -> Iterator[Value]:
    for name, one in mapping(value_of(slot)).items():
        said = mapping(one)
        yield {
            "type": name,
            "status": "True" if said.get("holds") else "False",
            "reason": said.get("reason") or name,
            "message": said.get("message") or "",
            "observedGeneration": generation,
            "lastTransitionTime": time_of(slot.at),
        }
