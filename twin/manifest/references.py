"""What must hold between documents: what they name exists, and devices fit their models. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from twin.manifest.catalog import RegistryView, Stored
from twin.manifest.document import DocumentKind
from twin.manifest.kinds import DeviceSpec
from twin.manifest.problems import Problem
from twin.manifest.specs import device_twin


def broken_references(view: RegistryView) -> Iterator[Problem]:
    """Find every device whose model or connection is missing, or that does not fit its model."""
    for device in view.all(DocumentKind.DEVICE):
        yield from _device(view, device)


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
