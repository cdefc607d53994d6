"""What the gateway says of itself: its own twin, of kind ``gateway``, which its cloud and its updater read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from edgehub import accounts
from edgehub.identity import Identity
from edgehub.machine import Machine
from edgehub.sync.cloud import Cloud
from twin.alarm import RULES
from twin.clock import Clock
from twin.engine import TwinEngine
from twin.model import DEFAULT_NAMESPACE, Kind, PropertySpec, TwinKey, TwinSpec, Value, ValueType
from twin.release import RELEASE, RELEASE_SPEC, UPDATE

TYPES: Final[Mapping[str, ValueType]] = {
    "pods": ValueType.JSON,
    "mesh": ValueType.JSON,
    UPDATE: ValueType.JSON,
    RULES: ValueType.JSON,
    **Identity.TYPES,
    **Machine.TYPES,
    **Cloud.TYPES,
}

Source = Callable[[], Mapping[str, Value]]


class OwnTwin:
    """Reports what its sources say, where that has changed."""

    def __init__(self, engine: TwinEngine, gateway: str, clock: Clock) -> None:
        self.key = TwinKey(Kind.GATEWAY, DEFAULT_NAMESPACE, gateway)
        self._engine = engine
        self._clock = clock
        self._sources: tuple[Source, ...] = ()

    def asks(self, *sources: Source) -> None:
        """From now on report what these say."""
        self._sources = sources

    def spec(self) -> TwinSpec:
        """What the twin has."""
        properties = {name: PropertySpec(name, type_) for name, type_ in TYPES.items()} | {RELEASE: RELEASE_SPEC}
        return TwinSpec(self.key, uid="", gateway=self.key.name, properties=properties)

    def report(self) -> None:
        """Ask all sources; the engine keeps what is new."""
        said = {name: value for source in self._sources for name, value in source().items()}
        self._engine.report(self.key, said, {}, at=self._clock.now_us() // 1000, by=accounts.HUB)
