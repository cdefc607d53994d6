"""What the API shows: the objects of every resource, from documents and twins as they are now. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Set
from dataclasses import dataclass
from typing import Protocol

from edgehub.kubeapi import resources
from edgehub.kubeapi.devices import device_body, device_status, model_body
from edgehub.kubeapi.endpoints import reached
from edgehub.kubeapi.objects import (
    Json,
    content,
    key_of,
    metadata_of,
    namespace_content,
    node_content,
    pod_body,
    service_body,
    whole_of,
)
from edgehub.kubeapi.pod_status import pod_status
from edgehub.kubeapi.routes import KINDS, routes
from edgehub.kubeapi.view import Content, View
from edgehub.offers import Offers, Reported, of_pods, pods_here
from twin.document import Slot, TwinDocument
from twin.errors import UnknownTwin
from twin.manifest.catalog import RegistryView, Stored
from twin.manifest.document import DocumentKind
from twin.manifest.kinds import DeviceSpec
from twin.manifest.kube import PodSpec
from twin.model import DEFAULT_NAMESPACE, Kind, TwinKey


class Twins(Protocol):
    """Where twins are read."""

    def document(self, key: TwinKey) -> TwinDocument:
        """The twin as it stands now. Raises UnknownTwin."""
        ...


@dataclass(frozen=True, slots=True)
class Here:
    """Which gateway this is."""

    name: str
    address: str
    version: str


def show_documents(view: View, documents: RegistryView, twins: Twins, here: Here) -> None:
    """Bring all objects up to date but those of devices, of which there may be many; those that went are removed."""
    view.replace(resources.NODES, [node_content(here.name, here.address, here.version)])
    view.replace(resources.NAMESPACES, map(namespace_content, _namespaces(documents)))
    maps = documents.all(DocumentKind.CONFIG_MAP)
    view.replace(
        resources.CONFIG_MAPS,
        (content(resources.CONFIG_MAPS, key_of(one), metadata_of(one), whole_of(one)) for one in maps),
    )
    services = documents.all(DocumentKind.SERVICE)
    view.replace(
        resources.SERVICES,
        (content(resources.SERVICES, key_of(one), metadata_of(one), service_body(one)) for one in services),
    )
    models = documents.all(DocumentKind.DEVICE_MODEL)
    view.replace(
        resources.DEVICE_MODELS,
        (content(resources.DEVICE_MODELS, key_of(one), metadata_of(one), model_body(one)) for one in models),
    )
    names = {key_of(one) for one in documents.all(DocumentKind.DEVICE) if _is_served(one, here)}
    view.retain(resources.DEVICES, names)
    view.retain(resources.DEVICE_STATUSES, names)
    show_pods(view, documents, twins, here)
    show_routes(view, documents, twins, here)


def show_pods(view: View, documents: RegistryView, twins: Twins, here: Here) -> None:
    """Bring pods and the ends of Services up to date, after pods have changed."""
    pods, reported = list(pods_here(documents, here.name)), _reported(twins)
    view.replace(resources.PODS, (_pod(stored, spec, reported, here) for stored, spec in pods))
    found = reached(documents, Offers(of_pods(pods, reported, here.address)), here.name)
    view.replace(resources.ENDPOINT_SLICES, found.slices)
    view.replace(resources.ENDPOINTS, found.endpoints)


def show_routes(view: View, documents: RegistryView, twins: Twins, here: Here) -> None:
    """Bring routes up to date, after their conditions have changed."""
    for kind, resource in KINDS.items():
        view.replace(resource, routes(documents, kind, _reported(twins), here.name))


def devices_to_show(
    documents: RegistryView, before: RegistryView, here: Here, changed: Set[TwinKey]
) -> Iterator[Stored]:
    """The devices whose document is another than before, or whose twin has changed."""
    for one in documents.all(DocumentKind.DEVICE):
        key = TwinKey(Kind.DEVICE, one.ref.namespace, one.ref.name)
        if _is_served(one, here) and (key in changed or before.stored.get(one.ref) is not one):
            yield one


def show_device(view: View, stored: Stored, twins: Twins) -> None:
    """Bring one device up to date."""
    document = _twin(TwinKey(Kind.DEVICE, stored.ref.namespace, stored.ref.name), stored.uid, twins)
    status = device_status(document) if document is not None else {}
    key, about = key_of(stored), metadata_of(stored)
    view.put(resources.DEVICES, key, content(resources.DEVICES, key, about, device_body(stored, status)))
    api_version, name = resources.DEVICES.api_version, stored.ref.name
    owner: Json = {"apiVersion": api_version, "kind": "Device", "name": name, "uid": stored.uid}
    about = {**about, "ownerReferences": [owner]}
    view.put(resources.DEVICE_STATUSES, key, content(resources.DEVICE_STATUSES, key, about, {"status": status}))


def _namespaces(documents: RegistryView) -> Iterable[str]:
    """Those of all documents but Secrets, of which nothing is told; ``default`` is always there."""
    return {DEFAULT_NAMESPACE, *(ref.namespace for ref in documents.stored if ref.kind is not DocumentKind.SECRET)}


def _is_served(stored: Stored, here: Here) -> bool:
    spec = stored.document.spec
    assert isinstance(spec, DeviceSpec)
    return spec.gateway_name in ("", here.name)


def _twin(key: TwinKey, uid: str, twins: Twins) -> TwinDocument | None:
    """The twin of a document; None before there is one."""
    try:
        document = twins.document(key)
    except UnknownTwin:
        return None
    return document if document.spec.uid == uid else None


def _reported(twins: Twins) -> Reported:
    def reported(key: TwinKey, uid: str) -> Mapping[str, Slot]:
        twin = _twin(key, uid, twins)
        return twin.reported if twin is not None else {}

    return reported


def _pod(stored: Stored, spec: PodSpec, reported: Reported, here: Here) -> Content:
    key = key_of(stored)
    status = pod_status(spec, reported(TwinKey(Kind.POD, key.namespace, key.name), stored.uid), here.address)
    fields = {"spec.nodeName": here.name, "status.phase": str(status["phase"])}
    return content(resources.PODS, key, metadata_of(stored), pod_body(stored, here.name, status), fields=fields)
