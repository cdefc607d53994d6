"""Documents and twins for the local Kubernetes API."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import pytest

from edgehub.kubeapi.contents import Here, devices_to_show, show_device, show_documents
from edgehub.kubeapi.view import View
from twin.document import Slot, TwinDocument
from twin.errors import UnknownTwin
from twin.manifest.catalog import RegistryView, applied
from twin.manifest.document import DocumentKind, Ref
from twin.manifest.read import read_documents
from twin.manifest.yaml import Source
from twin.model import Kind, TwinKey, TwinSpec

HERE = Here("gw-1", "192.0.2.7", "9.9")


@dataclass
class Site:
    """A gateway's documents and twins, and what is shown of them."""

    documents: RegistryView = field(default_factory=RegistryView)
    twins: dict[TwinKey, TwinDocument] = field(default_factory=dict)
    numbers: Iterator[int] = field(default_factory=count)
    view: View = field(default_factory=lambda: View(100))

    def apply(self, text: str) -> None:
        made = read_documents([Source("test.yaml", text.encode())]).documents
        self.documents, _ = applied(self.documents, made, lambda: f"uid-{next(self.numbers)}")

    def report(self, kind: Kind, namespace: str, name: str, *, at: int = 1_700_000_000_000, **values: Any) -> None:
        kind_of = DocumentKind.POD if kind is Kind.POD else DocumentKind.DEVICE
        self.told(TwinKey(kind, namespace, name), Ref(kind_of, namespace, name), at=at, **values)

    def told(self, key: TwinKey, of: Ref, *, at: int = 1_700_000_000_000, **values: Any) -> None:
        """The twin of a document reports this."""
        reported = {name: Slot(value, 1, at=at) for name, value in values.items()}
        self.twins[key] = TwinDocument(TwinSpec(key, self.documents.stored[of].uid), 1, {}, reported)

    def document(self, key: TwinKey) -> TwinDocument:
        if key not in self.twins:
            raise UnknownTwin(str(key))
        return self.twins[key]

    def shown(self, resource: Any) -> dict[str, Any]:
        """The objects of a resource by name."""
        show_documents(self.view, self.documents, self, HERE)
        for one in devices_to_show(self.documents, RegistryView(), HERE, set()):
            show_device(self.view, one, self)
        return {one.content.key.name: json.loads(one.text()) for one in self.view.items(resource)}


@pytest.fixture
def site() -> Site:
    return Site()
