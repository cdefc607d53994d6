"""The cluster as it is known here: mirrors of all resources that are followed, and what of it is for which gateway."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from cloudsync.kube.devices import model_of, node_of, taken_device, taken_model
from cloudsync.kube.mirror import Mirror
from cloudsync.kube.objects import (
    DEVICE_MODELS,
    DEVICES,
    ENDPOINT_SLICES,
    PODS,
    SERVICES,
    KubeObject,
    Place,
    Resource,
    parts,
    text,
)
from cloudsync.kube.plan import Wanted
from cloudsync.kube.reducing import reduced
from cloudsync.kube.taking import needed, taken
from twin.manifest.document import Document, DocumentKind, Ref
from twin.manifest.kube import PodSpec
from twin.manifest.problems import InvalidManifest
from twin.model import Value

BESIDE: Final = (SERVICES, ENDPOINT_SLICES)
"""What a gateway gets of each namespace that it has a pod of."""


@dataclass(slots=True)
class Desired:
    """What the cluster wants of one gateway, and what of it cannot be a document there, with the reasons."""

    wanted: Wanted = field(default_factory=Wanted)
    refused: dict[Ref, str] = field(default_factory=dict)


class ClusterView:
    """All mirrors. ``node_prefix`` stands before the name of a gateway in that of its node."""

    def __init__(self, node_prefix: str) -> None:
        self._prefix = node_prefix
        self._mirrors: dict[Resource, dict[str, Mirror]] = {}

    def mirror(self, resource: Resource, namespace: str) -> Mirror:
        """The mirror of one namespace, or of all (empty)."""
        return self._mirrors.setdefault(resource, {}).setdefault(namespace, Mirror())

    @property
    def listed(self) -> bool:
        """Whether everything was known once: before that nothing may be thought gone."""
        return all(mirror.listed for spaces in self._mirrors.values() for mirror in spaces.values())

    def all(self, resource: Resource) -> Iterator[KubeObject]:
        """All objects of a resource."""
        for mirror in self._mirrors.get(resource, {}).values():
            yield from mirror

    def get(self, resource: Resource, place: Place) -> KubeObject | None:
        """One object."""
        for mirror in self._mirrors.get(resource, {}).values():
            if (found := mirror.get(place)) is not None:
                return found
        return None

    def written(self, resource: Resource, one: KubeObject) -> None:
        """Take the answer to a write of ours."""
        for mirror in self._mirrors.get(resource, {}).values():
            mirror.take_written(one)

    def gateway_of(self, one: KubeObject) -> str:
        """The gateway of the node that a pod or device names; empty if that cannot be one."""
        node = node_of(one) if one.raw["kind"] == DEVICES.kind else text(one.spec, "nodeName")
        return node.removeprefix(self._prefix) if node.startswith(self._prefix) else ""

    def of_gateway(self, resource: Resource, gateway: str) -> Iterator[KubeObject]:
        """The pods or devices of a gateway."""
        return (one for one in self.all(resource) if self.gateway_of(one) == gateway)

    def gateways_near(self, resource: Resource, one: KubeObject) -> set[str]:
        """The gateways that an object is, or may be, for."""
        if resource in (PODS, DEVICES):
            return {self.gateway_of(one)} - {""}
        kind = DEVICES if resource == DEVICE_MODELS else PODS
        namespace = one.place.namespace
        return {self.gateway_of(user) for user in self.all(kind) if user.place.namespace == namespace} - {""}

    def desired(self, gateway: str, cluster: str) -> Desired:
        """What one gateway is to have."""
        found = Desired()
        spaces: set[str] = set()
        others: dict[tuple[Resource, Place], None] = {}
        for pod in self.of_gateway(PODS, gateway):
            if pod.deleting:
                continue
            ref = Ref(DocumentKind.POD, *pod.place)
            try:
                document = reduced(pod, gateway, cluster)
            except InvalidManifest as error:
                found.refused[ref] = _why(error)
                continue
            found.wanted.documents[ref] = document
            found.wanted.uids[ref] = pod.uid
            spaces.add(pod.place.namespace)
            assert isinstance(document.spec, PodSpec)
            others |= dict.fromkeys(needed(pod.place.namespace, document.spec))
        for resource in BESIDE:
            others |= {(resource, one.place): None for one in self.all(resource) if one.place.namespace in spaces}
        for resource, place in others:
            if (one := self.get(resource, place)) is not None and not one.deleting:
                self._take(found, Ref(DocumentKind(resource.kind), *place), one, cluster)
        self._devices(found, gateway, cluster)
        return found

    def _devices(self, found: Desired, gateway: str, cluster: str) -> None:
        for device in self.of_gateway(DEVICES, gateway):
            if device.deleting:
                continue
            ref = Ref(DocumentKind.DEVICE, *device.place)
            try:
                found.wanted.documents[ref] = taken_device(device, gateway, cluster)
            except InvalidManifest as error:
                found.refused[ref] = _why(error)
                continue
            model = self.get(DEVICE_MODELS, model_of(device))
            wide = Ref(DocumentKind.DEVICE_MODEL, *model_of(device))
            if model is not None and wide not in found.wanted.documents and wide not in found.refused:
                self._take(found, wide, model, cluster)

    @staticmethod
    def _take(found: Desired, ref: Ref, one: KubeObject, cluster: str) -> None:
        try:
            document: Document = (
                taken_model(one, cluster) if ref.kind is DocumentKind.DEVICE_MODEL else taken(one, cluster)
            )
            found.wanted.documents[ref] = document
        except InvalidManifest as error:
            found.refused[ref] = _why(error)


def asks(one: KubeObject | None) -> Value:
    """What of an object has to do with what a gateway is to have; its status has not, but for v1alpha2's desired."""
    if one is None:
        return None
    about = one.metadata
    desired: list[Value] = [[twin.get("propertyName"), twin.get("desired")] for twin in parts(one.status, "twins")]
    rest = {name: value for name, value in one.raw.items() if name not in ("metadata", "status")}
    return [one.uid, about.get("labels"), about.get("annotations"), about.get("deletionTimestamp"), rest, desired]


def _why(error: InvalidManifest) -> str:
    return "; ".join(f"{one.path}: {one.text}. {one.remedy}".strip() for one in error.problems[:5])
