"""How a document at a gateway shows that a cluster put it there. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from cloudsync.kube.objects import part, text
from twin.manifest.document import Document
from twin.model import Value

CLUSTER: Final = "edgetwin.dev/cluster"
"""The annotation with the cluster's id. Documents without it, or of another cluster, are never touched from here."""


def cluster_of(document: Document) -> str:
    """The id of the cluster that placed a document; empty if none did."""
    return text(part(part(document.raw, "metadata"), "annotations"), CLUSTER)


def marked(metadata: Mapping[str, Value], cluster: str) -> dict[str, Value]:
    """What a gateway is told of an object's metadata: name, labels, annotations, and the mark."""
    hidden = ("kubectl.kubernetes.io/last-applied-configuration", CLUSTER)
    notes = {name: one for name, one in part(metadata, "annotations").items() if name not in hidden}
    told: dict[str, Value] = {"namespace": text(metadata, "namespace"), "name": text(metadata, "name")}
    if labels := part(metadata, "labels"):
        told["labels"] = dict(labels)
    return {**told, "annotations": {**notes, CLUSTER: cluster}}
