"""What a mapper's own models say of settings that people wrote, by a seam that a mapper in another process fits too."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Protocol

from pydantic import BaseModel, ValidationError

from mappers.sdk.driver import Mapper
from twin.model import ValueType

if TYPE_CHECKING:  # a mapper host reads no documents; their reader is not to cost it memory
    from twin.manifest.mistakes import Mistake


class Part(StrEnum):
    """Which of a mapper's models reads a part of a document."""

    CONNECTION = "connection"
    DEVICE = "device"
    POINT = "point"


class CheckedMapper(Protocol):
    """One mapper, asked about settings. Every method raises InvalidSettings if the mapper itself fails."""

    @property
    def name(self) -> str:
        """Its name."""
        ...

    def split(self, config: Mapping[str, object]) -> tuple[dict[str, object], dict[str, object]]:
        """KubeEdge's one map as the keys of the connection and those of the device."""
        ...

    def mistakes(self, part: Part, given: Mapping[str, Any]) -> Sequence[Mistake]:
        """What is wrong with one part."""
        ...

    def mismatch(self, visitor: Mapping[str, Any], value_type: ValueType) -> str:
        """Why a property of that type cannot be read by a visitor without mistakes; empty if it can."""
        ...


class CheckedMappers(Protocol):
    """The mappers that are installed, asked about settings."""

    def names(self) -> tuple[str, ...]:
        """All of them, working or not."""
        ...

    def is_plugin(self, name: str) -> bool:
        """Whether it is another distribution's."""
        ...

    def checked(self, name: str) -> CheckedMapper:
        """One of them. Raises InvalidSettings if it is unknown or broken."""
        ...

    def speaking(self, protocol: str) -> CheckedMapper | None:
        """The one for a KubeEdge protocolName; None if no working one has that alias."""
        ...


@dataclass(frozen=True, slots=True)
class LocalMapper:
    """A mapper of this process."""

    mapper: Mapper

    @property
    def name(self) -> str:
        """Its name."""
        return self.mapper.name

    def split(self, config: Mapping[str, object]) -> tuple[dict[str, object], dict[str, object]]:
        """KubeEdge's one map as the keys of the connection and those of the device."""
        return self.mapper.split(config)

    def mistakes(self, part: Part, given: Mapping[str, Any]) -> Sequence[Mistake]:
        """What is wrong with one part."""
        from twin.manifest.mistakes import worded

        model = self._model(part)
        try:
            model.model_validate(dict(given))
        except ValidationError as error:
            return list(worded(error, model))
        return ()

    def mismatch(self, visitor: Mapping[str, Any], value_type: ValueType) -> str:
        """Why a property of that type cannot be read by a visitor without mistakes; empty if it can."""
        return self.mapper.point.model_validate(dict(visitor)).mismatch(value_type)

    def _model(self, part: Part) -> type[BaseModel]:
        models = {Part.CONNECTION: self.mapper.connection, Part.DEVICE: self.mapper.device}
        return models.get(part, self.mapper.point)
