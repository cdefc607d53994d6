"""What must hold between documents: what they name exists, devices fit their models, nothing is a circle. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from twin.manifest.catalog import RegistryView, Stored
from twin.manifest.document import DocumentKind, Ref
from twin.manifest.kinds import DeviceSpec
from twin.manifest.kube import PodSpec
from twin.manifest.problems import Problem
from twin.manifest.specs import device_twin


def broken_references(view: RegistryView) -> Iterator[Problem]:
    """Find devices whose model or connection is missing, or that do not fit it, and what leads back to itself."""
    for device in view.all(DocumentKind.DEVICE):
        yield from _device(view, device)
    if any(ref.kind is DocumentKind.SERVICE for ref in view.stored):
        from twin.manifest.mesh_references import broken_mesh_references  # few sites pay for it

        yield from broken_mesh_references(view)


def needed_by(namespace: str, spec: PodSpec) -> frozenset[Ref]:
    """The ConfigMaps and Secrets that a pod names, those that it can do without included."""
    maps: set[str] = set()
    secrets: set[str] = set()
    for container in spec.all_containers:
        for variable in container.env:
            source = variable.value_from
            if source is not None and source.config_map_key_ref is not None:
                maps.add(source.config_map_key_ref.name)
            if source is not None and source.secret_key_ref is not None:
                secrets.add(source.secret_key_ref.name)
        for all_of in container.env_from:
            if all_of.config_map_ref is not None:
                maps.add(all_of.config_map_ref.name)
            if all_of.secret_ref is not None:
                secrets.add(all_of.secret_ref.name)
    for volume in spec.volumes:
        if volume.config_map is not None:
            maps.add(volume.config_map.name)
        if volume.secret is not None:
            secrets.add(volume.secret.secret_name)
    kinds = ((DocumentKind.CONFIG_MAP, maps), (DocumentKind.SECRET, secrets))
    return frozenset(Ref(kind, namespace, name) for kind, names in kinds for name in names)


def _device(view: RegistryView, device: Stored) -> Iterator[Problem]:
    document, spec = device.document, device.document.spec
    assert isinstance(spec, DeviceSpec)
    name = spec.device_model_ref.name
    model = view.get(DocumentKind.DEVICE_MODEL, document.namespace, name)
    if model is None:
        path = ("spec", "deviceModelRef", "name")
        yield _missing(view, device, path, DocumentKind.DEVICE_MODEL, name)
    else:
        yield from device_twin(model.document, document, device.uid).problems
    if spec.connection and view.get(DocumentKind.CONNECTION, document.namespace, spec.connection) is None:
        yield _missing(view, device, ("spec", "connection"), DocumentKind.CONNECTION, spec.connection)


def _missing(view: RegistryView, device: Stored, path: tuple[str, ...], kind: DocumentKind, name: str) -> Problem:
    namespace = device.document.namespace
    text = f"{device.ref} needs the {kind} {namespace}/{name}, which does not exist"
    known = [one.ref.name for one in view.all(kind) if one.ref.namespace == namespace]
    there = f" There is: {', '.join(known[:10])}." if known else ""
    return device.document.problem(path, text, f"Apply it as well, or delete or change {device.ref}.{there}")
