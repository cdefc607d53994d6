"""Secrets on their way to one gateway: encrypted for its key, and anew only when the Secret or the key is another.

Each encryption of one text differs, so what is there already is kept while its mark says that it is the same.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from cloudsync.kube.objects import part, text
from cloudsync.kube.plan import Wanted
from twin.envelope import EnvelopeError
from twin.manifest.catalog import RegistryView
from twin.manifest.document import Document, DocumentKind, Ref
from twin.manifest.read import read_parsed
from twin.manifest.yaml import Parsed
from twin.sealing import Sealer, SecretKeyError

VERSION: Final = "edgetwin.dev/version"
"""The annotation with the Secret's life and version in the cluster and, once encrypted, the beginning of the key."""
_KEY_CHARS: Final = 16
_SEALER: Final = Sealer(Path())
"""Its own key is never needed: what a cluster has is plain."""


def sealed(wanted: Wanted, base: RegistryView, key: str) -> dict[Ref, str]:
    """Encrypt the Secrets among what is wanted for the key of its gateway; those that cannot be are taken out.

    Why not, for each of these.
    """
    refused: dict[Ref, str] = {}
    for ref, document in [one for one in wanted.documents.items() if one[0].kind is DocumentKind.SECRET]:
        if not key:
            refused[ref] = "the gateway has not told the key that Secrets are encrypted with"
            del wanted.documents[ref]
            continue
        mark = f"{_mark(document)}/{key[:_KEY_CHARS]}"
        had = base.stored.get(ref)
        try:
            wanted.documents[ref] = (
                had.document if had and _mark(had.document) == mark else _sealed(document, key, mark)
            )
        except (SecretKeyError, EnvelopeError) as error:
            refused[ref] = error.message
            del wanted.documents[ref]
    return refused


def _sealed(document: Document, key: str, mark: str) -> Document:
    raw = _SEALER.sealed_for(key, document)
    about = part(raw, "metadata")
    noted = {**about, "annotations": {**part(about, "annotations"), VERSION: mark}}
    return read_parsed([Parsed(str(document.ref), {**raw, "metadata": noted})]).documents[0]


def _mark(document: Document) -> str:
    return text(part(part(document.raw, "metadata"), "annotations"), VERSION)
