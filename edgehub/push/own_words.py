"""The config of a target as one reading has it: a route of KubeEdge's ``pushMethod`` says some of it otherwise."""

from __future__ import annotations

import json
from typing import Final, Generic, TypeVar

from pydantic import BaseModel

C = TypeVar("C", bound=BaseModel)
MAX_KNOWN: Final = 10_000


class OwnWords(Generic[C]):
    """Remembers what each route makes of a config."""

    def __init__(self, config: C) -> None:
        self._config = config
        self._known: dict[str, C] = {}

    def of(self, route: str) -> C:
        """The config for a reading with this route."""
        if not route:
            return self._config
        found = self._known.get(route)
        if found is None:
            if len(self._known) >= MAX_KNOWN:
                self._known.clear()
            whole = {**self._config.model_dump(by_alias=True, exclude_unset=True), **json.loads(route)}
            found = self._known[route] = type(self._config).model_validate(whole)
        return found
