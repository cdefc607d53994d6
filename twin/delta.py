"""What is desired and not yet reported. Computed, never stored."""

from __future__ import annotations

from collections.abc import Mapping

from twin.deadband import same
from twin.document import DELETED, Leaf, Slot
from twin.merge import standing, value_of
from twin.model import ConflictPolicy, PropertySpec, Value


def delta(
    desired: Mapping[str, Leaf], reported: Mapping[str, Slot], properties: Mapping[str, PropertySpec]
) -> dict[str, Slot]:
    """The standing desired slots that reported does not equal, by property."""
    found = {}
    for name, leaf in desired.items():
        spec = properties.get(name)
        slot = standing(leaf, spec.conflict if spec else ConflictPolicy.LATEST)
        if slot is not None and not met(value_of(slot), reported.get(name), spec.tolerance if spec else 0.0):
            found[name] = slot
    return found


def met(desired: Value, reported: Slot | None, tolerance: float) -> bool:
    """Whether the reported value equals the desired one; numbers may differ by the tolerance."""
    if reported is None or reported.value is DELETED:
        return False
    return same(value_of(reported), desired, tolerance)
