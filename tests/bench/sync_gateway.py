"""A gateway's store, documents and session with the cloud in this process; the cloud is one of processes, over TLS."""

from __future__ import annotations

import asyncio
import contextlib
import random
import secrets
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from edgehub.applying import Applying
from edgehub.cloud_keys import CloudKeys
from edgehub.documents import Documents, open_documents
from edgehub.enrolment import join
from edgehub.settings import CloudSettings
from edgehub.sync.history import HistoryStream
from edgehub.sync.place import CloudFinder
from edgehub.sync.session import CloudSession
from edgehub.sync.states import SyncState, Timing
from tests.cloudsync.process import CloudProcess
from tests.e2e.line import Line
from twin.clock import SystemClock
from twin.engine import TwinEngine
from twin.sqlite_drain import SqliteDrain
from twin.sqlite_store import SqliteStore
from twin.wire.api import ApplyRequest, DocumentSource
from twin.wire.enrolment import JoinToken

NAME = "gw-1"


@dataclass(slots=True)
class BenchGateway:
    """A gateway that has joined, over a line that can be cut."""

    engine: TwinEngine
    documents: Documents
    session: CloudSession
    line: Line
    states: list[tuple[float, SyncState]]

    async def reaches(self, state: SyncState, within_s: float = 120.0) -> float:
        """Wait for a state of the session; when it was reached, in the loop's time."""
        ends_s = asyncio.get_running_loop().time() + within_s
        while self.session.state is not state:
            assert asyncio.get_running_loop().time() < ends_s, f"{self.session.state}: {self.session.stand.why}"
            await asyncio.sleep(0.005)
        return self.states[-1][0]


@contextlib.asynccontextmanager
async def joined_gateway(folder: Path, cloud: CloudProcess, text: str) -> AsyncIterator[BenchGateway]:
    """Join the cloud with documents, given as text, and speak with it until the end of the block."""
    clock, rng, loop = SystemClock(), random.Random(7), asyncio.get_running_loop()
    folder.mkdir()
    with contextlib.ExitStack() as stack:
        line = stack.enter_context(Line(cloud.gateways_port))
        keys = CloudKeys(folder / "keys")
        token = await asyncio.to_thread(cloud.json, "cloud", "token", "create", "--gateway", NAME)
        await join(replace_port(JoinToken.read(token["token"]), line.port), NAME, keys)
        documents = stack.enter_context(open_documents(folder / "registry.json", NAME))
        store = SqliteStore(folder / "state.db")
        store.open()
        stack.callback(store.close)
        executor = stack.enter_context(ThreadPoolExecutor(1))
        engine = TwinEngine(store, clock=clock, executor=executor)
        engine.open()
        drain = SqliteDrain(folder / "state.db")
        drain.open()
        stack.callback(drain.close)

        async def follow() -> None:
            by_cloud = documents.by_cloud()
            for spec in documents.specs():
                engine.define(spec, theirs=spec.key in by_cloud)
            await engine.settled()

        request = ApplyRequest(sources=[DocumentSource(name="plant.yaml", text=text)])
        await asyncio.to_thread(documents.apply, request)
        await follow()
        states: list[tuple[float, SyncState]] = []
        session = CloudSession(
            engine,
            CloudFinder(CloudSettings(first_delay="0s", retry_cap="500ms"), keys, NAME, rng),
            Applying(documents, engine, follow),
            HistoryStream(drain, executor),
            gateway=NAME,
            clock=clock,
            rng=rng,
            nonce=lambda: secrets.token_hex(8),
            timing=Timing(),
            on_state=lambda: states.append((loop.time(), session.state)),
        )
        task = asyncio.create_task(session.run())
        try:
            yield BenchGateway(engine, documents, session, line, states)
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await engine.close()


def replace_port(token: JoinToken, port: int) -> JoinToken:
    """The same token, with the line in front of the broker."""
    return token.model_copy(update={"port": port})
