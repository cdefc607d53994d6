"""Files to documents: every problem of every file at once, or all documents with their warnings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from pydantic import ValidationError

from twin.manifest import kube, v1alpha2
from twin.manifest.document import Document, DocumentKind, Manifest, Ref
from twin.manifest.explain import explained
from twin.manifest.fields import shown_value
from twin.manifest.kinds import KINDS, KUBEEDGE, OURS, Envelope, Metadata
from twin.manifest.kube import V1, Flat
from twin.manifest.problems import InvalidManifest, KeyPath, Problem, suggestion
from twin.manifest.rules import broken_rules, doubtful
from twin.manifest.v1alpha2 import AlphaDeviceSpec, AlphaModelSpec
from twin.manifest.yaml import Parsed, Source, parse
from twin.model import Value

_KINDS: Final[Mapping[tuple[str, str], type[Envelope[Any]] | type[Flat]]] = {
    **KINDS,
    **kube.KINDS,
    (v1alpha2.VERSION, "DeviceModel"): Envelope[AlphaModelSpec],
    (v1alpha2.VERSION, "Device"): Envelope[AlphaDeviceSpec],
}
_NETWORK: Final = ((V1, "Service"), (V1, "Endpoints"), ("discovery.k8s.io/v1", "EndpointSlice"))
_WORKLOADS: Final = (("apps/v1", "Deployment"), (OURS, "Gateway"))
_GATEWAY_API, _ISTIO = "gateway.networking.k8s.io", "networking.istio.io"
_MESH: Final = (
    *((f"{_GATEWAY_API}/{version}", "HTTPRoute") for version in ("v1", "v1beta1")),
    *((f"{_GATEWAY_API}/{version}", "TLSRoute") for version in ("v1", "v1alpha3", "v1alpha2")),
    *((f"{_GATEWAY_API}/{version}", "TCPRoute") for version in ("v1", "v1alpha2")),
    *((f"{_ISTIO}/{version}", "DestinationRule") for version in ("v1", "v1beta1", "v1alpha3")),
    *((OURS, kind) for kind in ("Policy", "AlarmRule")),
)
_PUSHES: Final = ((OURS, "Push"),)
_LATER: Final = (*_NETWORK, *_WORKLOADS, *_MESH, *_PUSHES)
"""Kinds whose models are loaded with the first of them: memory that only sites with such documents should pay."""


def read_documents(sources: Sequence[Source]) -> Manifest:
    """Read all documents of all files. Raises InvalidManifest with every problem found."""
    problems: list[Problem] = []
    parsed: list[Parsed] = []
    for source in sources:
        file = parse(source)
        problems.extend(file.problems)
        for one in file.documents:
            parsed.extend(_items(one))
    return read_parsed(parsed, problems)


def read_parsed(parsed: Sequence[Parsed], problems: Sequence[Problem] = ()) -> Manifest:
    """Read documents that are plain values already. Raises InvalidManifest with ``problems`` and every one found."""
    found = list(problems)
    documents: dict[Ref, Document] = {}
    for one in parsed:
        try:
            document = _document(one)
        except InvalidManifest as error:
            found.extend(error.problems)
            continue
        first = documents.setdefault(document.ref, document)
        if first is not document:
            text = f"{document.ref} is already in {first.place}"
            found.append(document.problem(("metadata", "name"), text, "Keep one of the two, or rename one."))
        found.extend(broken_rules(document))
    if found:
        raise InvalidManifest(sorted(found, key=lambda problem: (problem.source, problem.line)))
    warnings = [warning for document in documents.values() for warning in doubtful(document)]
    return Manifest(tuple(documents.values()), tuple(warnings))


def _items(parsed: Parsed) -> Iterator[Parsed]:
    """Unfold a JSON array of documents and Kubernetes' List."""
    value = parsed.value
    if isinstance(value, dict) and value.get("kind") == "List" and isinstance(value.get("items"), list):
        root, items = (*parsed.root, "items"), value["items"]
    else:
        root, items = parsed.root, value
    if not isinstance(items, list):
        yield parsed
        return
    for index, item in enumerate(items):
        yield Parsed(parsed.source, item, parsed.places, (*root, index))


def _document(parsed: Parsed) -> Document:
    value = parsed.value
    if not isinstance(value, dict):
        text = f"{shown_value(value)} is not a document"
        raise InvalidManifest([parsed.problem((), text, f"Begin with apiVersion: {OURS}, kind, metadata and spec.")])
    model = _model(parsed, value)
    try:
        envelope = model.model_validate(value)
    except ValidationError as error:
        raise InvalidManifest(explained(error, model, parsed)) from None
    if value["apiVersion"] == v1alpha2.VERSION and isinstance(envelope, Envelope):
        envelope, parsed = _modern(envelope, parsed)
    metadata: Metadata = envelope.metadata
    ref = Ref(DocumentKind(envelope.kind), metadata.namespace, metadata.name)
    raw = _raw(value, metadata)
    return Document(envelope.api_version, ref, metadata.labels, envelope.spec, raw, parsed)


def _model(parsed: Parsed, value: dict[str, Value]) -> type[Envelope[Any]] | type[Flat]:
    version, kind = value.get("apiVersion"), value.get("kind")
    if not isinstance(version, str):
        raise InvalidManifest([parsed.problem(("apiVersion",), "apiVersion is missing", f"Add apiVersion: {OURS}.")])
    versions = sorted({known for known, _ in (*_KINDS, *_LATER)}, reverse=True)
    if version not in versions:
        remedy = suggestion(version, versions, what="Use one of")
        text = f"the apiVersion {shown_value(version)} is not known"
        raise InvalidManifest([parsed.problem(("apiVersion",), text, remedy)])
    kinds = [known for of, known in (*_KINDS, *_LATER) if of == version]
    if not isinstance(kind, str):
        remedy = f"Add one of {', '.join(kinds)}."
        raise InvalidManifest([parsed.problem(("kind",), "kind is missing", remedy)])
    if kind not in kinds:
        remedy = suggestion(kind, kinds, what="Use one of")
        raise InvalidManifest([parsed.problem(("kind",), f"{version} has no kind {shown_value(kind)}", remedy)])
    if (version, kind) in _NETWORK:
        from twin.manifest.kube_network import KINDS as NETWORK_KINDS

        return NETWORK_KINDS[version, kind]
    if (version, kind) in _WORKLOADS:
        from twin.manifest.workloads import KINDS as WORKLOAD_KINDS

        return WORKLOAD_KINDS[version, kind]
    if (version, kind) in _MESH:
        from twin.manifest.mesh_rules import MESH_KINDS

        return MESH_KINDS[version, kind]
    if (version, kind) in _PUSHES:
        from twin.manifest.pushes import KINDS as PUSH_KINDS

        return PUSH_KINDS[version, kind]
    return _KINDS[version, kind]


def _modern(
    envelope: Envelope[AlphaModelSpec] | Envelope[AlphaDeviceSpec], parsed: Parsed
) -> tuple[Envelope[Any], Parsed]:
    """A v1alpha2 document in the layout of v1beta1; its problems are told where they were written."""
    if isinstance(envelope.spec, AlphaModelSpec):
        try:
            modern = v1alpha2.modern_model(envelope.spec)
        except LookupError as error:
            path: KeyPath = ("spec", "properties", error.args[0], "type")
            text = "a property has exactly one type"
            remedy = (
                "Write one of int, string, double, float, boolean, bytes, as in type: {int: {accessMode: ReadOnly}}."
            )
            raise InvalidManifest([parsed.problem(path, text, remedy)]) from None
    else:
        modern = v1alpha2.modern_device(envelope.spec, envelope.status or {})
    moved = replace(parsed, moved=modern.moved)
    model = KINDS[KUBEEDGE, envelope.kind]
    said = {"apiVersion": envelope.api_version, "kind": envelope.kind, "metadata": {"name": envelope.metadata.name}}
    try:
        read = model.model_validate({**said, "spec": modern.spec})
    except ValidationError as error:
        raise InvalidManifest(explained(error, model, moved)) from None
    return envelope.model_copy(update={"spec": read.spec}), moved


def _raw(value: dict[str, Value], metadata: Metadata) -> dict[str, Value]:
    """The document as it is stored: as written, with a plain metadata."""
    about: dict[str, Value] = {"namespace": metadata.namespace, "name": metadata.name}
    if metadata.labels:
        about["labels"] = dict(metadata.labels)
    if metadata.annotations:
        about["annotations"] = dict(metadata.annotations)
    raw: dict[str, Value] = {"apiVersion": value["apiVersion"], "kind": value["kind"], "metadata": about}
    raw.update({key: said for key, said in value.items() if key not in raw and said is not None})
    return raw
