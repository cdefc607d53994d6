"""What the author of a mapper supplies: a peer to talk to, how it is reached, and a few of its points."""

from __future__ import annotations

import importlib
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol

from mappers.sdk.checks import Part
from mappers.sdk.driver import Mapper
from mappers.sdk.errors import MapperError, NotConnected
from mappers.testkit.line import Line
from mappers.testkit.proxy import TcpProxy
from twin.model import Value, ValueType


class Peer(Protocol):
    """A device, a server or a simulator that shares as little code with the driver as may be."""

    async def set(self, key: str, value: Value) -> None:
        """Change what a point has, as if the world had."""
        ...

    async def get(self, key: str) -> Value:
        """What a point has, asked without the driver."""
        ...


@dataclass(frozen=True, slots=True)
class Wired:
    """A point that the peer has. ``values`` are two raw values that differ; the peer begins with neither for sure."""

    key: str
    """How the peer knows it; ``set`` and ``get`` take it."""
    type: ValueType
    visitor: Mapping[str, Any]
    values: tuple[Value, Value]
    writable: bool = False


@dataclass(frozen=True, slots=True)
class Wrong:
    """Settings with a mistake, and a word that its text must have."""

    part: Part
    settings: Mapping[str, Any]
    said: str


class Adapter(ABC):
    """One mapper and its peer.

    What an adapter leaves out (a device that is not there, a line that can freeze) exempts checks only if ``exempt``
    says why, by the name of the check or of what is missing.
    """

    place: ClassVar[str]
    """Where the mapper is, as its entry point says it: ``module:object``."""
    points: ClassVar[Sequence[Wired]]
    """At least two that can be read; one of them writable if anything is."""
    device: ClassVar[Mapping[str, Any]] = {}
    """``address`` of a Device document."""
    missing: ClassVar[Mapping[str, Any] | None] = None
    """A visitor that the device has not."""
    absent: ClassVar[Mapping[str, Any] | None] = None
    """``address`` of a device that is not there, on a connection that stands."""
    text: ClassVar[str | None] = None
    """Key of a point that holds any text."""
    locked: ClassVar[Mapping[str, Any] | None] = None
    """A visitor that can be read, and that the device or the driver refuses to write."""
    wrong: ClassVar[Sequence[Wrong]] = ()
    """Mistakes that people make."""
    scan: ClassVar[Mapping[str, Any]] = {}
    """Settings of a scan, if the driver has one."""
    exempt: ClassVar[Mapping[str, str]] = {}
    """Why a check does not apply."""
    gone: ClassVar[tuple[type[MapperError], ...]] = (NotConnected,)
    """What a call raises when the line to the peer is gone."""
    rig_errors: ClassVar[Sequence[str]] = ()
    """Parts of uncaught errors that are of the peer's own code, where that shares the event loop with the driver."""
    timeout_s: ClassVar[float] = 0.3
    """The driver's own time-out, as ``connection`` sets it."""
    patience_s: ClassVar[float] = 3.0
    """The longest that any call may take, whatever happens."""
    batch: ClassVar[int] = 1000
    """Points of a huge batch."""

    @property
    def mapper(self) -> Mapper:
        """The mapper itself."""
        module, _, name = self.place.partition(":")
        mapper = getattr(importlib.import_module(module), name)
        assert isinstance(mapper, Mapper), f"{self.place} is no mappers.sdk.Mapper"
        return mapper

    @abstractmethod
    def peer(self, folder: Path) -> AbstractAsyncContextManager[Peer]:
        """A peer that runs, for one check; ``folder`` is empty."""

    @abstractmethod
    def connection(self, line: Any) -> Mapping[str, Any]:
        """``config`` of a Connection document that leads over the line, with time-outs of ``timeout_s``."""

    def line(self, peer: Any, folder: Path) -> Line:  # noqa: ARG002  # others need a folder
        """What lies between driver and peer; for a peer with ``host`` and ``port`` a proxy."""
        return TcpProxy(peer.host, peer.port)

    def driver(self, config: Any, line: Line) -> Any:  # noqa: ARG002  # a virtual medium is handed over with it
        """A driver as its mapper makes it."""
        return self.mapper.driver(config)
