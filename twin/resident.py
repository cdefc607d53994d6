"""One twin as the engine keeps it in memory: its leaves, and its rules made ready for many checks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from twin.deadband import equal
from twin.document import DELETED, Leaf, Slot, SlotValue
from twin.errors import shown
from twin.merge import standing
from twin.model import (
    PROPERTY,
    PROPERTY_RULE,
    Access,
    ConflictPolicy,
    Keep,
    PropertySpec,
    TwinSpec,
    Value,
    ValueType,
)
from twin.store import TwinRow
from twin.validate import Rule

_ANY: Final = Rule(PropertySpec("any", ValueType.JSON, Access.READ_WRITE))


class Rules(dict[str, Rule]):
    """What a device model asks of the properties, made ready for many checks; shared by the twins of one model."""

    __slots__ = ("__weakref__", "kept", "properties")

    def __init__(self, properties: dict[str, PropertySpec]) -> None:
        super().__init__((name, Rule(one)) for name, one in properties.items())
        self.properties = properties
        self.kept = {
            name: one.history.keep is Keep.ALL for name, one in properties.items() if one.history.keep is not Keep.OFF
        }


class ResidentTwin:
    """One twin in memory. ``said`` is what its documents desire as far as that is on disk.

    ``kept`` names the properties with history, and whether unchanged readings are kept too. ``reports`` counts those
    with a value since the start.
    """

    __slots__ = (
        "any_rule",
        "delta_touched",
        "desired",
        "documented",
        "id",
        "kept",
        "reported",
        "reports",
        "rules",
        "said",
        "spec",
        "version",
    )

    def __init__(self, row: TwinRow, rules: Rules) -> None:
        self.id = row.id
        self.version = row.version
        self.documented = row.documented
        self.desired: dict[str, Leaf] = {}
        self.reported: dict[str, Slot] = {}
        self.reports = 0
        self.delta_touched = True
        self.said: Mapping[str, Value] = {}
        self.respec(row.spec, rules)

    def respec(self, spec: TwinSpec, rules: Rules) -> None:
        """Follow the documents. ``rules`` are those of the spec's properties."""
        self.spec = spec if spec.properties is rules.properties else replace(spec, properties=rules.properties)
        self.rules = rules
        self.kept = rules.kept
        self.any_rule = _ANY if spec.open else None
        """The rule of properties that the spec does not name; None if there may be none."""

    @property
    def row(self) -> TwinRow:
        """What the store keeps of it beside its leaves."""
        return TwinRow(self.id, self.spec, self.version, self.documented)

    def forget(self) -> None:
        """Drop all leaves, to have them read back from the store."""
        self.desired.clear()
        self.reported.clear()
        self.delta_touched = True

    def violation(self, name: str, value: Value) -> str:
        """Why the property cannot have the value; empty if it can."""
        rule = self.rules.get(name, self.any_rule)
        if rule is None:
            return f"{name}: {self._unknown_property()}"
        if rule is _ANY and PROPERTY.fullmatch(name) is None:
            return f"{shown(name, 60)} is no name of a property; use {PROPERTY_RULE}"
        broken = rule.violation(value)
        return f"{name}: {broken}" if broken else ""

    def not_settable(self, name: str, value: SlotValue) -> str:
        """Why the value cannot be desired of the property, or its desired value not be unset; empty if it can."""
        rule = self.rules.get(name, self.any_rule)
        if rule is None:
            return f"{name}: {self._unknown_property()}"
        if rule.spec.access is Access.READ_ONLY:
            return f"{name}: it is ReadOnly"
        if value is DELETED:
            return "" if self._stands(name) else f"{name}: nothing is desired of it"
        return self.violation(name, value)

    def not_reportable(self, name: str, value: SlotValue) -> str:
        """Why the value cannot be reported of the property, or what was reported not be deleted; empty if it can."""
        if value is DELETED:
            return "" if name in self.reported else f"{name}: nothing is reported of it"
        return self.violation(name, value)

    def _stands(self, name: str) -> bool:
        spec = self.spec.properties.get(name)
        policy = spec.conflict if spec else ConflictPolicy.LATEST
        return standing(self.desired.get(name, Leaf()), policy) is not None

    def _unknown_property(self) -> str:
        return f"model {self.spec.model!r} has no such property" if self.spec.model else "there is no such property"


def newly_said(spec: TwinSpec, said: Mapping[str, Value]) -> dict[str, Value]:
    """What a document desires beyond what is ``said`` already."""
    return {name: value for name, value in spec.desired.items() if name not in said or not equal(said[name], value)}
