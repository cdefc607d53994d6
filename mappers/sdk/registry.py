"""Mappers by name, found through the entry-point group ``edgetwin.mappers`` and imported only when asked for."""

from __future__ import annotations

import importlib.metadata
import logging
import traceback
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol, Self

from mappers.sdk.checks import LocalMapper
from mappers.sdk.driver import Mapper
from mappers.sdk.errors import InvalidSettings

log = logging.getLogger(__name__)

GROUP: Final = "edgetwin.mappers"
OURS: Final = "edgetwin"
"""The distribution whose mappers share one process; those of all others run in processes of their own."""


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
        self._entries: dict[str, list[Entry]] = {}
        for entry in entries:
            self._entries.setdefault(entry.name, []).append(entry)
        self.shadowed: dict[str, list[Entry]] = {}
        """What plugins offer under the name of a mapper of ours; it is not used."""
        for name, all_ in self._entries.items():
            ours = [one for one in all_ if _distribution(one) == OURS]
            if ours and len(ours) < len(all_):
                self.shadowed[name] = [one for one in all_ if one not in ours]
                self._entries[name] = ours
        self._loaded: dict[str, Mapper] = {}
        self._broken: dict[str, InvalidSettings] = {}

    @classmethod
    def installed(cls) -> Self:
        """All mappers of the installed distributions, none of them imported yet."""
        return cls(importlib.metadata.entry_points(group=GROUP))

    def names(self) -> tuple[str, ...]:
        """Names of all mappers, working or not."""
        return tuple(sorted(self._entries))

    def only(self, name: str) -> Registry:
        """The same, as if no other mapper were installed."""
        return Registry(self._entries.get(name, ()))

    def without(self, names: Iterable[str]) -> Registry:
        """The same, as if these were not installed."""
        left_out = frozenset(names)
        return Registry(one for name, all_ in self._entries.items() if name not in left_out for one in all_)

    def is_plugin(self, name: str) -> bool:
        """Whether a mapper is another distribution's; found out without an import. An unknown one is not."""
        return any(_distribution(entry) not in (OURS, "") for entry in self._entries.get(name, ()))

    def is_ambiguous(self, name: str) -> bool:
        """Whether several packages offer a mapper of this name; none of them is imported then."""
        return len(self._entries.get(name, ())) > 1

    def checked(self, name: str) -> LocalMapper:
        """What checks settings of this mapper. Raises as ``find`` does."""
        return LocalMapper(self.find(name))

    def speaking(self, protocol: str) -> LocalMapper | None:
        """What checks settings of the mapper for a KubeEdge protocolName; see ``by_protocol``."""
        alias = self.by_protocol(protocol)
        return LocalMapper(alias.mapper) if alias else None

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
        if name not in self._entries:
            message = f"mapper {name!r} is not installed; installed are {', '.join(self.names()) or 'none'}"
            raise InvalidSettings(message, remedy=f"Install the package that offers it in the group {GROUP}.")
        entry, *others = self._entries[name]
        if others:
            places = ", ".join(f"{one.value} of {package_of(one)}" for one in (entry, *others))
            text = f"mapper {name!r} is offered more than once: {places}"
            raise self._broke(name, text, "Uninstall all but one of these packages.")
        try:
            found = entry.load()
        except (Exception, SystemExit) as error:  # the boundary to plugins: their import may raise anything
            log.debug("import of mapper %s failed", name, exc_info=True)
            text = f"{type(error).__name__}: {error}{_place_of(error)}"
            raise self._broke(name, f"mapper {name!r} ({entry.value}) cannot be imported: {text}") from error
        if not isinstance(found, Mapper):
            text = f"mapper {name!r} ({entry.value}) is a {type(found).__name__}, not a mappers.sdk.Mapper"
            raise self._broke(name, text)
        if found.name != name:
            text = f"mapper {name!r} ({entry.value}) calls itself {found.name!r}"
            raise self._broke(name, text, "Give its entry point and its Mapper the same name.")
        return found

    def _broke(
        self, name: str, message: str, remedy: str = "Mend or update the package of this mapper."
    ) -> InvalidSettings:
        self._broken[name] = InvalidSettings(message, remedy=remedy)
        return self._broken[name]


def package_of(entry: Entry) -> str:
    """Name and version of the distribution that brings an entry; empty if it is not known."""
    distribution = getattr(entry, "dist", None)
    return f"{distribution.name} {distribution.version}" if distribution is not None else ""


def _distribution(entry: Entry) -> str:
    distribution = getattr(entry, "dist", None)
    return str(distribution.name).lower() if distribution is not None else ""


def _place_of(error: BaseException) -> str:
    """File and line where it was raised, unless that is the machinery of imports."""
    if isinstance(error, SyntaxError):
        return ""  # its text has them
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if not frame.filename.startswith("<frozen")]
    last = next((frame for frame in reversed(frames) if Path(frame.filename).parent.name != "importlib"), None)
    own = last is None or Path(last.filename) == Path(__file__) or last.filename == importlib.metadata.__file__
    return "" if own or last is None else f" ({Path(last.filename).name}, line {last.lineno})"
