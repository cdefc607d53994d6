"""The gateway's cloud: session, keys and their renewal together, and what status and the own twin say of them."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import secrets
from collections.abc import AsyncIterator, Callable, Mapping
from concurrent.futures import Executor
from typing import ClassVar

from edgehub.applying import Applying
from edgehub.cloud_keys import CloudKeys
from edgehub.documents import Documents
from edgehub.renewal import Renewal
from edgehub.revocations import Revocations
from edgehub.settings import Settings
from edgehub.sync.history import HistoryStream
from edgehub.sync.place import CloudFinder
from edgehub.sync.session import CloudSession
from edgehub.sync.states import SyncState, Timing
from twin.clock import Clock
from twin.engine import TwinEngine
from twin.envelope import EnvelopeError
from twin.model import Value, ValueType
from twin.setting_types import seconds
from twin.sqlite_drain import SqliteDrain
from twin.wire.api import SyncBody

log = logging.getLogger(__name__)


class Cloud:
    """One gateway's. ``running`` speaks with the cloud while there is one."""

    TYPES: ClassVar[Mapping[str, ValueType]] = {
        "sync_state": ValueType.STRING,
        "sync_since": ValueType.INT,
        "refused_documents": ValueType.JSON,
        "secrets_key": ValueType.STRING,
    }
    """What the gateway's own twin has of it."""

    def __init__(
        self,
        settings: Settings,
        documents: Documents,
        keys: CloudKeys,
        engine: TwinEngine,
        drain: SqliteDrain,
        executor: Executor,
        applying: Applying,
        clock: Clock,
    ) -> None:
        self._settings = settings
        self._documents = documents
        self._keys = keys
        self._engine = engine
        self._drain = drain
        self._executor = executor
        self._applying = applying
        self._clock = clock
        self._finder: CloudFinder | None = None
        self._renewal: Renewal | None = None
        self.session: CloudSession | None = None

    @contextlib.asynccontextmanager
    async def running(self, rng: random.Random, on_state: Callable[[], None]) -> AsyncIterator[None]:
        """Speak with the cloud. ``on_state`` is told of each change of state."""
        cloud, name = self._settings.cloud, self._settings.gateway_name
        self._finder = CloudFinder(cloud, self._keys, name, rng)
        self._renewal = Renewal(self._keys, self._clock, rng)
        self.session = CloudSession(
            self._engine,
            self._finder,
            self._applying,
            HistoryStream(self._drain, self._executor),
            gateway=name,
            clock=self._clock,
            rng=rng,
            nonce=lambda: secrets.token_hex(8),
            timing=Timing(
                digests_every_s=seconds(cloud.digests_every),
                ack_s=seconds(cloud.ack_timeout),
                retry_cap_s=seconds(cloud.retry_cap),
            ),
            on_state=on_state,
        )
        self._applying.on_change = self.session.documents_changed
        tasks = [
            asyncio.create_task(self.session.run(), name="cloud"),
            asyncio.create_task(self._renewal.keep(), name="renewal of the certificate"),
        ]
        mesh = self._settings.mesh
        if mesh.tunnel.listen or mesh.relay:
            tasks.append(asyncio.create_task(Revocations(self._keys, rng).keep(), name="revoked gateways"))
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def status(self) -> SyncBody | None:
        """How it stands; None before the start."""
        session = self.session
        if session is None:
            return None
        now_us, unsent = self._clock.now_us(), session.dialogue.progress.unsent
        return SyncBody(
            state=session.state,
            since=session.stand.since_ms,
            cloud=session.cloud,
            why=session.stand.why,
            unsent=unsent.leaves,
            oldest_unsent_s=round(max(0, now_us - unsent.oldest) / 1e6, 1) if unsent.oldest else 0.0,
            lag_s=round(session.dialogue.progress.lag_ms(now_us // 1000) / 1000, 1),
            last_resync=session.dialogue.last_resync_ms,
            last_resync_s=round(session.dialogue.last_resync_s, 3),
            refused_documents=self._documents.refused(),
        )

    def alarms(self) -> list[str]:
        """What the user has to see to."""
        sources = (self.session.stand if self.session is not None else None, self._finder)
        found = [one.alarm for one in sources if one is not None and one.alarm]
        if self._renewal is not None and self._renewal.failure:
            found.append(self._renewal.failure)
        found += [
            f"{name} of the cloud cannot be served here, what was served before still is: {why}"
            for name, why in self._documents.refused().items()
        ]
        return found

    def reported(self) -> dict[str, Value]:
        """What the gateway's own twin says of it."""
        state = self.session.state if self.session is not None else SyncState.OFF
        since = self.session.stand.since_ms if self.session is not None else self._clock.now_us() // 1000
        refused: dict[str, Value] = {**self._documents.refused()}
        key = self._secrets_key() if state is not SyncState.OFF else {}
        return {"sync_state": state.value, "sync_since": since, "refused_documents": refused, **key}

    def _secrets_key(self) -> dict[str, Value]:
        """The public key that the cloud encrypts Secrets with; it is made for the first cloud."""
        if (reader := self._documents.sealer.reader) is None:
            return {}
        try:
            return {"secrets_key": reader.public()}
        except EnvelopeError as error:
            log.error("%s", error)
            return {}
