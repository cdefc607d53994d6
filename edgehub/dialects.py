"""Other people's topics on this gateway: which dialects are on, and what they ask of the rest of the hub."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

from edgehub.settings import Settings
from edgehub.twins import LocalTwins
from twin.clock import Clock
from twin.engine import TwinEngine
from twin.link import Link
from twin.model import Kind, TwinSpec

if TYPE_CHECKING:
    from edgehub.aws import AwsShadows
    from edgehub.kubeedge import KubeEdge


class Dialects:
    """All dialects that the settings turn on."""

    def __init__(self, engine: TwinEngine, link: Link, clock: Clock, settings: Settings, twins: LocalTwins) -> None:
        self._twins = twins
        self._aws: AwsShadows | None = None
        self._kubeedge: KubeEdge | None = None
        aws, kubeedge = settings.dialects.aws, settings.dialects.kubeedge
        if aws.enabled:
            from edgehub.aws import AwsShadows  # memory that only gateways with this dialect should pay

            self._aws = AwsShadows(engine, link, clock, aws, settings.gateway_name, twins.counters)
        if kubeedge.enabled:
            from edgehub.kubeedge import KubeEdge  # as above

            self._kubeedge = KubeEdge(engine, link, clock, kubeedge, settings.gateway_name, twins.counters)

    def load(self) -> None:
        """Take what the dialects keep on disk, before the documents make the twins. Raises StoreError."""
        if self._kubeedge is not None:
            self._kubeedge.load()
        if self._aws is not None:
            self._aws.load()

    def completed(self, specs: Iterable[TwinSpec]) -> list[TwinSpec]:
        """The specs of the documents with the properties that messages added."""
        kubeedge = self._kubeedge
        if kubeedge is None:
            return list(specs)
        return [kubeedge.completed(spec) if spec.key.kind is Kind.DEVICE else spec for spec in specs]

    async def open(self, stack: AsyncExitStack) -> None:
        """Serve until the stack ends."""
        if self._kubeedge is not None:
            await self._kubeedge.open()
            stack.push_async_callback(self._kubeedge.close)
            self._twins.follow_deltas(self._kubeedge.delta_changed)
        if self._aws is not None:
            await self._aws.open()
            stack.callback(self._aws.close)

    def projected(self) -> None:
        """Follow the documents, whose twins have just been made."""
        if self._kubeedge is not None:
            self._kubeedge.projected()
        if self._aws is not None:
            self._aws.projected()
