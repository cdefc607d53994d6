"""Keeps a mirror true: list once, then watch, and after any break go on from the last version, or list again.

list ──> watch ──(ends)──> watch from the last version
  ^        └──(error)──> wait ──> is it the same cluster, and not an older state of it? ──> watch
  └──── 410, an older state, a first time
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from typing import Final, TypeAlias

from cloudsync.kube.client import KubeClient
from cloudsync.kube.errors import Absent, Busy, Denied, Expired, KubeError, OtherCluster, Unreachable
from cloudsync.kube.mirror import Mirror, is_later
from cloudsync.kube.objects import KubeObject, Resource
from twin.link.backoff import Backoff

RETRY_BASE_S: Final = 0.5
RETRY_CAP_S: Final = 30.0
AT_ONCE_S: Final = 1.0

log = logging.getLogger(__name__)

OnChange: TypeAlias = Callable[[Resource, KubeObject | None, KubeObject | None], None]
"""Told of an object before and after a change; must not block or raise."""


class Following:
    """One resource in one namespace, or in all. ``run`` until cancelled."""

    def __init__(
        self,
        client: KubeClient,
        resource: Resource,
        namespace: str,
        mirror: Mirror,
        *,
        on_change: OnChange,
        on_listed: Callable[[], None],
        check: Callable[[], Awaitable[None]],
        rng: random.Random,
        fields: str = "",
        labels: str = "",
        optional: bool = False,
    ) -> None:
        self._client = client
        self._resource = resource
        self._namespace = namespace
        self._mirror = mirror
        self._on_change = on_change
        self._on_listed = on_listed
        self._check = check
        self._select = {"fields": fields, "labels": labels}
        self._optional = optional
        self._backoff = Backoff(RETRY_BASE_S, RETRY_CAP_S, rng)
        self.trouble: KubeError | None = None
        """Why it does not follow just now."""

    async def run(self) -> None:
        """Follow for ever. Raises OtherCluster: nothing of another cluster may be taken for this one."""
        while True:
            try:
                if self.trouble is not None:
                    await self._check()
                    await self._look_back()
                if not self._mirror.version:
                    await self._list()
                await self._watch()
            except OtherCluster:
                raise
            except Expired:
                log.info("%s: the version is too old, listing again", self)
                self._mirror.forget_version()
            except Absent as error:
                if self._optional and not self._mirror.listed:  # nobody has made the resource yet
                    self._mirror.listed = True
                    self._on_listed()
                await self._rest(error, level=logging.INFO if self._optional else logging.WARNING)
            except KubeError as error:
                await self._rest(error, level=logging.ERROR if isinstance(error, Denied) else logging.WARNING)

    @property
    def needed(self) -> bool:
        """Whether the cloud is wrong about something without it; a resource that nobody has made is not."""
        return not (self._optional and isinstance(self.trouble, Absent))

    def __str__(self) -> str:
        return f"{self._resource.plural} of {self._namespace or 'all namespaces'}"

    async def _list(self) -> None:
        listing = await self._client.listed(self._resource, self._namespace, **self._select)
        changes = self._mirror.take_listing(listing)
        self._well()
        for before, after in changes:
            self._on_change(self._resource, before, after)
        self._on_listed()

    async def _watch(self) -> None:
        loop = asyncio.get_running_loop()
        began_s, told = loop.time(), False
        events = self._client.watch(self._resource, self._namespace, self._mirror.version, **self._select)
        async for event in events:
            told = True
            self._well()
            for before, after in self._mirror.take_event(event):
                self._on_change(self._resource, before, after)
        if not told and loop.time() - began_s < AT_ONCE_S:
            message = "watches end as soon as they begin"
            raise Unreachable(message)

    async def _look_back(self) -> None:
        """A cluster from a backup is at an earlier version, and would say nothing until it gets here again."""
        if self._mirror.version:
            now = await self._client.version_now(self._resource, self._namespace)
            if is_later(self._mirror.version, now):
                log.warning("%s: the cluster is at an earlier state than before, listing again", self)
                self._mirror.forget_version()

    def _well(self) -> None:
        if self.trouble is not None:
            log.info("%s: followed again", self)
        self.trouble = None
        self._backoff.reset()

    async def _rest(self, error: KubeError, *, level: int) -> None:
        first = self.trouble is None or type(self.trouble) is not type(error)
        log.log(level if first else logging.DEBUG, "%s: not followed for now: %s", self, error)
        self.trouble = error
        wait_s = error.retry_after_s if isinstance(error, Busy) else 0.0
        await asyncio.sleep(wait_s + self._backoff.next_s())
