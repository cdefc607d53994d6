"""One twin as the engine keeps it in memory: its leaves, and its rules made ready for many checks."""

from __future__ import annotations

from collections.abc import Mapping

from twin.document import DELETED, Leaf, Slot, SlotValue
from twin.merge import standing
from twin.model import Access, ConflictPolicy, Keep, TwinSpec, Value
from twin.store import TwinRow
from twin.validate import Rule


class ResidentTwin:
    """One twin in memory. ``said`` is what its documents desire as far as that is on disk.

    ``kept`` names the properties with history, and whether unchanged readings are kept too.
    """

    __slots__ = ("delta_touched", "desired", "id", "kept", "reported", "rules", "said", "spec", "version")

    def __init__(self, row: TwinRow) -> None:
        self.id = row.id
        self.version = row.version
        self.desired: dict[str, Leaf] = {}
        self.reported: dict[str, Slot] = {}
        self.delta_touched = True
        self.said: Mapping[str, Value] = {}
        self.respec(row.spec)

    def respec(self, spec: TwinSpec) -> None:
        """Follow the documents."""
        self.spec = spec
        self.rules = {name: Rule(one) for name, one in spec.properties.items()}
        self.kept = {
            name: one.history.keep is Keep.ALL
            for name, one in spec.properties.items()
            if one.history.keep is not Keep.OFF
        }

    def forget(self) -> None:
        """Drop all leaves, to have them read back from the store."""
        self.desired.clear()
        self.reported.clear()
        self.delta_touched = True

    def violation(self, name: str, value: Value) -> str:
        """Why the property cannot have the value; empty if it can."""
        rule = self.rules.get(name)
        if rule is None:
            return f"{name}: {self._unknown_property()}"
        broken = rule.violation(value)
        return f"{name}: {broken}" if broken else ""

    def not_settable(self, name: str, value: SlotValue) -> str:
        """Why the value cannot be desired of the property, or its desired value not be unset; empty if it can."""
        rule = self.rules.get(name)
        if rule is None:
            return f"{name}: {self._unknown_property()}"
        if rule.spec.access is Access.READ_ONLY:
            return f"{name}: it is ReadOnly"
        if value is DELETED:
            return "" if self._stands(name) else f"{name}: nothing is desired of it"
        return self.violation(name, value)

    def _stands(self, name: str) -> bool:
        spec = self.spec.properties.get(name)
        policy = spec.conflict if spec else ConflictPolicy.LATEST
        return standing(self.desired.get(name, Leaf()), policy) is not None

    def _unknown_property(self) -> str:
        return f"model {self.spec.model!r} has no such property" if self.spec.model else "there is no such property"
