"""What KubeEdge's twins, changed by a message, mean for the twin in the engine; checked before anything is written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from twin.dialects.kubeedge import Twins, is_deleted, value_of
from twin.dialects.kubeedge_json import Json
from twin.dialects.kubeedge_record import ADDED, Record, property_of, value_from
from twin.document import TwinDocument
from twin.merge import standing
from twin.model import Access, PropertySpec, Value
from twin.validate import Rule

BY: Final = "kubeedge"
"""Who writes: MQTT 3.1.1 does not tell the account."""
MAX_ADDED: Final = 1000
"""Properties of one device that messages may add."""


class Refusing(Exception):
    """Why a message cannot be taken."""


@dataclass(slots=True)
class Changes:
    """What to write: values by property, and properties that are new or have a new type."""

    names: list[str] = field(default_factory=list)
    """Properties whose KubeEdge twin changed in any way."""
    desired: dict[str, Value] = field(default_factory=dict)
    unset: list[str] = field(default_factory=list)
    reported: dict[str, Value] = field(default_factory=dict)
    added: dict[str, PropertySpec] = field(default_factory=dict)


def changes_of(
    record: Record, twins: Twins, document: TwinDocument, rules: Mapping[str, Rule], *, undeclared: bool
) -> Changes:
    """Compare the record's twins with those to be stored. Raises Refusing naming property and rule."""
    changes = Changes()
    properties = document.spec.properties
    before = record.twins
    for name, twin in twins.items():
        old = before.get(name)
        if twin is old:
            continue
        changes.names.append(name)
        spec, rule = properties.get(name), rules.get(name)
        if spec is None or rule is None or spec.description == ADDED:
            made = property_of(name, twin)
            if made != spec or rule is None:
                changes.added[name] = made
                rule = Rule(made)
        _take(changes, document, name, old or {}, twin, rule)
    if changes.added:
        _check_added(changes, document, undeclared=undeclared)
    return changes


def _take(changes: Changes, document: TwinDocument, name: str, old: Json, twin: Json, rule: Rule) -> None:
    spec = rule.spec
    expected, actual = twin.get("expected"), twin.get("actual")
    if expected is not None and expected is not old.get("expected"):
        text = value_of(twin, "expected")
        if text:
            value = value_from(text, spec.type)
            if spec.access is Access.READ_ONLY:
                message = f"{document.spec.key}: {name}: it is ReadOnly"
                raise Refusing(message)
            _check(document, rule, value)
            changes.desired[name] = value
        elif (leaf := document.desired.get(name)) is not None and standing(leaf, spec.conflict) is not None:
            changes.unset.append(name)
    if actual is not None and actual is not old.get("actual"):
        text = value_of(twin, "actual")
        if text is not None:
            value = value_from(text, spec.type)
            _check(document, rule, value)
            changes.reported[name] = value
        elif is_deleted(twin) and spec.description == ADDED and name in document.reported:
            changes.reported[name] = None


def _check(document: TwinDocument, rule: Rule, value: Value) -> None:
    if rule.plain and type(value) in rule.types and rule.low <= value <= rule.high:  # type: ignore[operator]  # plain: numbers only
        return
    if broken := rule.violation(value):
        message = f"{document.spec.key}: {rule.spec.name}: {broken}"
        raise Refusing(message)


def _check_added(changes: Changes, document: TwinDocument, *, undeclared: bool) -> None:
    new = [name for name in changes.added if name not in document.spec.properties]
    if new and not undeclared:
        model = document.spec.model
        message = f"{document.spec.key}: {new[0]}: model {model!r} has no such property"
        raise Refusing(message)
    added = sum(one.description == ADDED for one in document.spec.properties.values())
    if added + len(new) > MAX_ADDED:
        message = f"{document.spec.key}: messages may add at most {MAX_ADDED} properties"
        raise Refusing(message)
