"""Serves the gateway's metrics to Prometheus, if the settings ask for it; beyond loopback with TLS and a token."""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from edgehub.alarming.keeper import Alarming
from edgehub.listeners import MetricsSettings
from edgehub.metrics import Counts, PodFacts, PushFacts, metrics_text
from edgehub.sync.session import CloudSession
from twin.api import VerbTimes
from twin.document import DELETED
from twin.engine import TwinEngine
from twin.metrics.server import MetricsServer
from twin.model import Kind, TwinKey
from twin.private_file import write_private
from twin.wire.api import StatusReply

log = logging.getLogger(__name__)

FILES: Final = ("state.db", "state.db-wal", "state.db.copy", "registry.json")
TOKEN: Final = "metrics-token"
"""A file of the state folder: what a listener beyond loopback asks for."""


class Metering:
    """One gateway's. What keeps it from listening is an alarm, and keeps the gateway from nothing."""

    def __init__(
        self,
        settings: MetricsSettings,
        folder: Path,
        engine: TwinEngine,
        alarming: Alarming,
        status: Callable[[], StatusReply],
        verbs: Callable[[], VerbTimes],
        session: Callable[[], CloudSession | None],
    ) -> None:
        self._settings = settings
        self._folder = folder
        self._engine = engine
        self._alarming = alarming
        self._status = status
        self._verbs = verbs
        self._session = session
        self._alarm = ""

    def alarms(self) -> list[str]:
        """What is wrong with it."""
        return [self._alarm] if self._alarm else []

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Serve until the end."""
        if not self._settings.listen:
            yield
            return
        server = None
        try:
            token, tls = await asyncio.to_thread(self._protection)
            server = MetricsServer(self._text, token=token)
            await server.open(*self._settings.address, tls)
            log.info("metrics are at http%s://%s/metrics", "s" if tls else "", self._settings.listen)
        except OSError as error:  # also what is wrong with a certificate
            self._alarm = f"metrics cannot be served on {self._settings.listen}: {error.strerror or error}"
            log.error("%s; mend metrics.listen or metrics.certfile, and restart the hub", self._alarm)
        try:
            yield
        finally:
            if server is not None:
                await server.close()

    def _protection(self) -> tuple[str, ssl.SSLContext | None]:
        settings, tls = self._settings, None
        if settings.certfile:
            tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            tls.load_cert_chain(settings.certfile, settings.keyfile)
        if settings.local:
            return "", tls
        path = self._folder / TOKEN
        if not path.exists():
            write_private(path, secrets.token_urlsafe(24) + "\n")
        return path.read_text(encoding="ascii").strip(), tls

    async def _text(self) -> bytes:
        files, disk = await asyncio.to_thread(self._sizes)
        return metrics_text(self._status(), self._counts(files, disk))

    def _counts(self, files: dict[str, int], disk: tuple[int, int] | None) -> Counts:
        twins = dict.fromkeys((kind.value for kind in Kind), 0)
        pods, pushes = [], []
        for key in self._engine:
            twins[key.kind] += 1
            if key.kind is Kind.POD:
                pods.append(self._pod(key))
            elif key.kind is Kind.PUSH:
                pushes.append(self._push(key))
        session = self._session()
        dialogue = session.dialogue if session is not None else None
        return Counts(
            twins,
            self._engine.commit_times,
            self._engine.failure is not None,
            resyncs=dialogue.resyncs if dialogue else 0,
            messages=(dialogue.up.messages, dialogue.down.messages) if dialogue else (0, 0),
            payload_bytes=(dialogue.up.payload_bytes, dialogue.down.payload_bytes) if dialogue else (0, 0),
            dropped=dialogue.down.dropped if dialogue else 0,
            pods=tuple(pods),
            pushes=tuple(pushes),
            alarms=tuple((one.words.state, one.words.severity) for one in self._alarming.all() if one.kept),
            files=files,
            disk=disk,
            verbs=self._verbs(),
        )

    def _said(self, key: TwinKey) -> dict[str, object]:
        return {name: slot.value for name, slot in self._engine.reported(key).items() if slot.value is not DELETED}

    def _push(self, key: TwinKey) -> PushFacts:
        said = self._said(key)
        names = ("waiting", "lag_s", "sent", "dropped", "aside")
        numbers = [value if isinstance(value := said.get(name), int) else 0 for name in names]
        delivering = said.get("state") not in ("waiting", "broken")
        return PushFacts(f"{key.namespace}/{key.name}", delivering, *numbers)

    def _pod(self, key: TwinKey) -> PodFacts:
        said = self._said(key)
        restarts = said.get("restarts")
        return PodFacts(
            f"{key.namespace}/{key.name}",
            str(said.get("phase", "Pending")),
            said.get("ready") is True,
            restarts if isinstance(restarts, int) else 0,
        )

    def _sizes(self) -> tuple[dict[str, int], tuple[int, int] | None]:
        files = {}
        for name in FILES:
            try:
                files[name] = (self._folder / name).stat().st_size
            except OSError:
                continue
        try:
            disk = os.statvfs(self._folder)
        except OSError:
            return files, None
        return files, (disk.f_bavail * disk.f_frsize, disk.f_blocks * disk.f_frsize)
