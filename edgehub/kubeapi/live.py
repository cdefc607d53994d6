"""The view kept up to date with the gateway: when somebody asks, and in rounds while somebody watches.

Nobody asks: a change costs one entry in a set. Somebody watches: what has changed is shown within a moment, of devices
at most once a second.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Final

from edgehub.kubeapi.contents import Here, devices_to_show, show_device, show_documents, show_pods, show_routes
from edgehub.kubeapi.view import View
from twin.clock import Clock
from twin.engine import TwinEngine
from twin.errors import StoreError
from twin.manifest.catalog import RegistryView
from twin.model import Kind, Section, TwinKey

log = logging.getLogger(__name__)

OWNER: Final = "kubeapi"
"""Of the note in which versions are reserved."""
ROUND_S: Final = 0.1
DEVICES_S: Final = 1.0
SLICE: Final = 20
"""Devices that are brought up to date in one turn of the loop."""
ADDRESS_S: Final = 30.0
"""How often a watched view looks whether the gateway has another address."""
_RESERVED: Final = 1 << 20
_NOTE: Final = "version"


class Live:
    """The objects of this gateway. ``here`` says which it is now; one owner, one event loop."""

    def __init__(
        self, documents: Callable[[], RegistryView], engine: TwinEngine, here: Callable[[], Here], clock: Clock
    ) -> None:
        self._documents = documents
        self._engine = engine
        self._here = here
        self._clock = clock
        self._reserved = _last_reserved(engine)
        self.view = View(max(self._reserved, clock.now_us()))
        self._reserve()
        self._shown: tuple[RegistryView, Here] | None = None
        self._pods_changed = False
        self._routes_changed = False
        self._devices_changed: set[TwinKey] = set()
        self._devices_shown_s = 0.0
        self._refreshing = asyncio.Lock()
        self._changed = asyncio.Event()
        self._moved = asyncio.Event()
        self._watched = 0
        self._rounds: asyncio.Task[None] | None = None
        self._stop_watching = engine.watch(self._on_twin)

    async def close(self) -> None:
        """Follow the gateway no more."""
        self._stop_watching()
        if self._rounds is not None:
            self._rounds.cancel()
            with suppress(asyncio.CancelledError):
                await self._rounds

    def documents_changed(self) -> None:
        """Documents are others now."""
        self._changed.set()

    async def refresh(self, *, devices: bool = True) -> None:
        """Bring the view up to date with what is on disk; who returns from it may read the view at once."""
        await self._engine.decided()
        async with self._refreshing:
            before = self.view.version
            try:
                await self._show(devices=devices)
            except BaseException:
                self._shown = None  # show all again
                raise
            finally:
                if self.view.version != before:
                    self._reserve()
                    self._moved.set()
                    self._moved = asyncio.Event()

    async def _show(self, *, devices: bool) -> None:
        documents, here, shown = self._documents(), self._here(), self._shown
        if shown is None or shown[0] is not documents or shown[1] != here:
            self._pods_changed, self._routes_changed, devices = False, False, True
            show_documents(self.view, documents, self._engine, here)
        else:
            if self._pods_changed:
                self._pods_changed = False
                show_pods(self.view, documents, self._engine, here)
            if self._routes_changed:
                self._routes_changed = False
                show_routes(self.view, documents, self._engine, here)
        self._shown = (documents, here)
        if devices:
            changed, self._devices_changed = self._devices_changed, set()
            old = shown[0] if shown is not None else RegistryView()
            if changed or old is not documents:
                self._devices_shown_s = self._clock.monotonic_s()
                for number, stored in enumerate(devices_to_show(documents, old, here, changed), 1):
                    show_device(self.view, stored, self._engine)
                    if number % SLICE == 0:  # others have their turn
                        await asyncio.sleep(0)

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Keep the view up to date for a watcher."""
        self._watched += 1
        if self._rounds is None:
            self._rounds = asyncio.create_task(self._keep(), name="kubernetes api: rounds")
        try:
            yield
        finally:
            self._watched -= 1
            self._changed.set()  # the rounds end if that was the last

    @property
    def moved(self) -> asyncio.Event:
        """Set when the view has changed next."""
        return self._moved

    async def _keep(self) -> None:
        while self._watched:
            waits_s = self._devices_wait_s() if self._devices_changed else ADDRESS_S
            with suppress(TimeoutError):
                async with asyncio.timeout(waits_s):
                    await self._changed.wait()
            self._changed.clear()
            try:
                await self.refresh(devices=not self._devices_wait_s())
            except Exception:  # a supervisor boundary: one bad object must not end every watch
                log.exception("the objects of the Kubernetes API cannot be brought up to date")
            await asyncio.sleep(ROUND_S)
        self._rounds = None

    def _devices_wait_s(self) -> float:
        return max(self._devices_shown_s + DEVICES_S - self._clock.monotonic_s(), 0.0)

    def _on_twin(self, key: TwinKey, leaves: frozenset[tuple[Section, str]]) -> None:
        if key.kind is Kind.DEVICE:
            if not self._devices_changed:
                self._changed.set()
            self._devices_changed.add(key)
        elif key.kind is Kind.POD:
            self._pods_changed = True
            self._changed.set()
        elif key.kind is Kind.ROUTE and (Section.REPORTED, "conditions") in leaves:
            self._routes_changed = True
            self._changed.set()

    def _reserve(self) -> None:
        """Note a version that the next life of this view begins above, well before it is reached."""
        if self.view.version + _RESERVED // 2 > self._reserved:
            self._reserved = self.view.version + _RESERVED
            self._engine.note(OWNER, _NOTE, str(self._reserved))


def _last_reserved(engine: TwinEngine) -> int:
    try:
        text = engine.notes(OWNER).get(_NOTE, "")
    except StoreError as error:
        log.warning("the last version of the Kubernetes API is not known, the clock gives the next: %s", error)
        text = ""
    return int(text) if text.isascii() and text.isdecimal() else 0
