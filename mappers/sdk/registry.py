"""Mappers by name, found through the entry-point group ``edgetwin.mappers`` and imported only when asked for."""

from __future__ import annotations

import importlib.metadata
import logging
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Protocol, Self

from mappers.sdk.driver import Mapper
from mappers.sdk.errors import InvalidSettings

log = logging.getLogger(__name__)

GROUP: Final = "edgetwin.mappers"


class Entry(Protocol):
    """The part of importlib.metadata.EntryPoint that is used."""

    @property
    def name(self) -> str:
        """Name of the mapper."""
        ...

    @property
    def value(self) -> str:
        """Where it is, as ``module:object``."""
        ...

    def load(self) -> object:
        """Import it; raises whatever the module raises."""
        ...


@dataclass(frozen=True, slots=True)
class Alias:
    """A KubeEdge protocol name resolved: the mapper that serves it, and what the mapper says the name stands for."""

    mapper: Mapper
    meaning: str


class Registry:
    """The installed mappers. A broken one is an error for those who ask for it, and for nobody else."""

    def __init__(self, entries: Iterable[Entry]) -> None:
        self._entries = {entry.name: entry for entry in entries}
        self._loaded: dict[str, Mapper] = {}
        self._broken: dict[str, InvalidSettings] = {}

    @classmethod
    def installed(cls) -> Self:
        """All mappers of the installed distributions, none of them imported yet."""
        return cls(importlib.metadata.entry_points(group=GROUP))

    def names(self) -> tuple[str, ...]:
        """Names of all mappers, working or not."""
        return tuple(sorted(self._entries))

    def find(self, name: str) -> Mapper:
        """The mapper of this name. Raises InvalidSettings if it is unknown or cannot be imported."""
        if name in self._broken:
            raise self._broken[name]
        if name not in self._loaded:
            self._loaded[name] = self._load(name)
        return self._loaded[name]

    def by_protocol(self, protocol: str) -> Alias | None:
        """The mapper for a KubeEdge protocolName, whatever its case; None if no working mapper has that alias."""
        wanted = protocol.lower()
        for name in self.names():
            try:
                mapper = self.find(name)
            except InvalidSettings as error:
                log.debug("mapper %s is left out: %s", name, error)
                continue
            if wanted in mapper.aliases:
                return Alias(mapper, mapper.aliases[wanted])
            if wanted == mapper.name:
                return Alias(mapper, "")
        return None

    def _load(self, name: str) -> Mapper:
        entry = self._entries.get(name)
        if entry is None:
            message = f"mapper {name!r} is not installed; installed are {', '.join(self.names()) or 'none'}"
            raise InvalidSettings(message, remedy=f"Install the package that offers it in the group {GROUP}.")
        try:
            found = entry.load()
        except Exception as error:  # the boundary to plugins: their import may raise anything
            log.debug("import of mapper %s failed", name, exc_info=True)
            text = f"{type(error).__name__}: {error}"
            raise self._broke(name, f"mapper {name!r} ({entry.value}) cannot be imported: {text}") from error
        if not isinstance(found, Mapper):
            text = f"mapper {name!r} ({entry.value}) is a {type(found).__name__}, not a mappers.sdk.Mapper"
            raise self._broke(name, text)
        return found

    def _broke(self, name: str, message: str) -> InvalidSettings:
        self._broken[name] = InvalidSettings(message, remedy="Mend or update the package of this mapper.")
        return self._broken[name]
