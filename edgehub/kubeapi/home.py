"""The local Kubernetes API of a gateway, bound to its documents and twins. What serves it is imported when it is on."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import ssl
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from edgehub.listeners import KubeApiSettings
from twin.clock import Clock
from twin.engine import TwinEngine
from twin.manifest.catalog import RegistryView
from twin.manifest.document import DocumentKind

if TYPE_CHECKING:
    from edgehub.kubeapi.keys import KeyFolder, Tokens
    from edgehub.kubeapi.live import Live
    from edgehub.kubeapi.server import KubeServer

log = logging.getLogger(__name__)

RETRY_S: Final = 5.0
_MAKE_S: Final = 60.0


@dataclass(frozen=True, slots=True)
class PodAccess:
    """How pods reach the API."""

    host: str
    port: int
    ca: str
    tokens: Tokens
    mounts: bool
    """Whether files can be put into a pod of processes; else it is told where they are."""

    def files(self, namespace: str, uid: str) -> dict[str, bytes]:
        """What a client in a pod looks for beside it, and a kubeconfig for where nothing can be mounted."""
        from edgehub.kubeapi.keys import kubeconfig

        token = self.tokens.of_pod(uid)
        config = kubeconfig(self.url, self.ca, token)
        texts = {"token": token, "ca.crt": self.ca, "namespace": namespace, "kubeconfig": config}
        return {name: text.encode() for name, text in texts.items()}

    @property
    def url(self) -> str:
        """Its address."""
        return f"https://[{self.host}]:{self.port}" if ":" in self.host else f"https://{self.host}:{self.port}"


class KubeApi:
    """Serves the API while the gateway runs, if the settings ask for it."""

    def __init__(
        self,
        settings: KubeApiSettings,
        folder: Path,
        gateway: str,
        release: str,
        documents: Callable[[], RegistryView],
    ) -> None:
        self.pods: PodAccess | None = None
        """How pods reach it; None: it is off."""
        self._alarm = ""
        self._settings = settings
        self._folder = folder
        self._gateway = gateway
        self._release = release
        self._documents = documents
        self._live: Live | None = None

    def alarms(self) -> list[str]:
        """What is wrong with it."""
        return [self._alarm] if self._alarm else []

    def documents_changed(self) -> None:
        """Documents are others now."""
        if self._live is not None:
            self._live.documents_changed()

    @asynccontextmanager
    async def running(self, engine: TwinEngine, clock: Clock) -> AsyncIterator[KubeApi]:
        """Serve until the end. What keeps it from that is an alarm, and keeps the gateway from nothing."""
        async with AsyncExitStack() as stack:
            if self._settings.listen:
                await self._open(stack, engine, clock)
            else:
                with suppress(OSError):
                    (self._folder / "kubeconfig").unlink(missing_ok=True)
            yield self

    async def _open(self, stack: AsyncExitStack, engine: TwinEngine, clock: Clock) -> None:
        from edgehub.kubeapi.contents import Here  # memory that only gateways with this API should pay
        from edgehub.kubeapi.keys import KeyFolder, kubeconfig
        from edgehub.kubeapi.live import Live
        from edgehub.kubeapi.server import KubeServer

        host, port = self._settings.address
        folder = KeyFolder(self._folder)
        try:
            tokens = await asyncio.to_thread(folder.tokens)
            context = await asyncio.to_thread(_context, folder)
            pods = PodAccess(host, port, folder.ca.read_text(encoding="ascii"), tokens, os.geteuid() == 0)
            folder.keep(folder.token, tokens.local())
            folder.keep(folder.kubeconfig, kubeconfig(pods.url, pods.ca, tokens.local()))
            self.pods = pods
        except (OSError, subprocess.SubprocessError) as error:
            self._alarm = f"the Kubernetes API is off: its keys cannot be made in {self._folder}: {error}"
            log.error("%s; mend the disk and restart the hub", self._alarm)
            return

        def here() -> Here:
            return Here(self._gateway, own_address(), self._release)

        def is_token(token: str) -> bool:
            return tokens.is_good(token, (one.uid for one in self._documents().all(DocumentKind.POD)))

        self._live = Live(self._documents, engine, here, clock)
        stack.push_async_callback(self._live.close)
        server = KubeServer(self._live, is_token, self._release)
        stack.push_async_callback(server.close)
        if not await self._listens(server, host, port, context):
            trying = asyncio.create_task(self._try(server, host, port, context), name="kubernetes api: port")
            stack.callback(trying.cancel)

    async def _try(self, server: KubeServer, host: str, port: int, context: ssl.SSLContext) -> None:
        while True:
            await asyncio.sleep(RETRY_S)
            if await self._listens(server, host, port, context):
                return

    async def _listens(self, server: KubeServer, host: str, port: int, context: ssl.SSLContext) -> bool:
        """A port that is taken must not keep the gateway from starting: its pods and devices come first."""
        try:
            await server.open(host, port, context)
        except OSError as error:
            alarm = f"the Kubernetes API cannot listen on {self._settings.listen}: {error.strerror or error}"
            if not self._alarm:
                log.error("%s; free the port, or set another in kube_api.listen", alarm)
            self._alarm = alarm
            return False
        self._alarm = ""
        log.info("the Kubernetes API listens on %s", self._settings.listen)
        return True


def own_address() -> str:
    """The address by which the gateway reaches others, and they it; loopback while it has none."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        try:
            one.connect(("192.0.2.1", 9))  # sends nothing: the kernel only picks the way
            address: str = one.getsockname()[0]
        except OSError:
            return "127.0.0.1"
    return address


def _context(folder: KeyFolder) -> ssl.SSLContext:
    """What the server shows; made at first use, and anew if it cannot be read. Blocks. Raises OSError."""
    try:
        return _loaded(folder)
    except (OSError, ssl.SSLError) as error:
        if folder.server.exists():
            log.warning("the certificate of the Kubernetes API cannot be read, another is made: %s", error)
    command = [sys.executable, "-m", "edgehub.kubeapi.certificate", str(folder.path)]
    subprocess.run(command, check=True, timeout=_MAKE_S, capture_output=True)
    return _loaded(folder)


def _loaded(folder: KeyFolder) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    context.load_cert_chain(folder.server)
    ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(folder.ca)
    return context
