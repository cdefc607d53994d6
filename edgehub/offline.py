"""Commands without a hub: the stores are opened directly, under the lock that a hub would hold."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor

from edgehub.documents import open_documents
from edgehub.settings import load_settings
from edgehub.state import StateFolder
from twin.clock import SystemClock
from twin.document import TwinDocument
from twin.engine import TwinEngine
from twin.model import TwinKey
from twin.query.reader import SqliteReader
from twin.query.verb import answer
from twin.sqlite_store import SqliteStore
from twin.view import twin_body
from twin.wire.api import ApplyReply, ApplyRequest, QueryReply, QueryRequest, TwinBody


def stored_twins(folder: StateFolder) -> dict[TwinKey, TwinBody]:
    """All twins as the last hub left them; devices that no hub has seen yet have no values.

    Raises StoreError if a hub holds the stores.
    """
    folder.make()
    with open_documents(folder.registry, _gateway()) as documents, ThreadPoolExecutor(1) as executor:
        store = SqliteStore(folder.database)
        store.open()
        try:
            engine = TwinEngine(store, clock=SystemClock(), executor=executor)
            engine.open()
            found = {spec.key: twin_body(TwinDocument(spec, 0)) for spec in documents.specs()}
            found.update({key: twin_body(engine.document(key)) for key in engine})
        finally:
            store.close()
    return dict(sorted(found.items()))


def query_stored(folder: StateFolder, request: QueryRequest) -> QueryReply:
    """Answer a query from the twins as the last hub left them. Raises as the verb does."""
    folder.make()
    with open_documents(folder.registry, _gateway()):
        store = SqliteStore(folder.database)
        store.open()  # brings an older file up to date
        try:
            return answer(SqliteReader(folder.database), request)
        finally:
            store.close()


def apply_offline(folder: StateFolder, request: ApplyRequest) -> ApplyReply:
    """Change the registry without a hub; the next hub serves it. Raises StoreError if a hub holds it."""
    folder.make()
    with open_documents(folder.registry, _gateway()) as documents:
        return documents.apply(request)


def _gateway() -> str:
    return load_settings(None, os.environ).settings.gateway_name
