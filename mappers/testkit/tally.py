"""How many promises each mapper of a test run kept, and from which it is exempt, for the summary at its end."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final


@dataclass(slots=True)
class Tally:
    """Counts by mapper."""

    _kept: dict[str, int] = field(default_factory=dict)
    _exempt: dict[str, dict[str, str]] = field(default_factory=dict)

    def kept(self, mapper: str) -> None:
        """Note a promise that was kept."""
        self._kept[mapper] = self._kept.get(mapper, 0) + 1

    def exempt(self, mapper: str, promise: str, why: str) -> None:
        """Note a promise that does not apply."""
        self._exempt.setdefault(mapper, {})[promise] = why

    def lines(self) -> Iterator[str]:
        """A table of each mapper: how many were kept, and each that was not asked for, with its reason."""
        for mapper in sorted({*self._kept, *self._exempt}):
            exempt = self._exempt.get(mapper, {})
            yield f"{mapper}: {self._kept.get(mapper, 0)} done, {len(exempt)} exempt"
            reasons: dict[str, list[str]] = {}
            for promise, why in exempt.items():
                reasons.setdefault(why, []).append(promise)
            for why, promises in reasons.items():
                yield f"  exempt: {why}: {', '.join(promises)}"


TALLY: Final = Tally()
