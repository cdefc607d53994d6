"""Events: what is asked of each, and one as a JSON value."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from asyncua import ua
from asyncua.ua.attribute_ids import AttributeIds

from mappers.opcua.notification import Change
from mappers.sdk import Value

LEAST_QUEUE: Final = 100
"""Events that the server keeps for us at least: they come in bursts, and none replaces another."""

_FIELDS: Final = {
    "time": "Time",
    "source": "SourceName",
    "message": "Message",
    "severity": "Severity",
    "type": "EventType",
}
_TIME: Final = list(_FIELDS).index("time")
_BASE: Final = ua.NodeId(ua.Int32(2041))  # BaseEventType; OPC 10000-5, 6.4.2


def event_filter(min_severity: int) -> ua.EventFilter:
    """Ask for the fields of every event that is at least so severe."""
    where = ua.ContentFilter()
    if min_severity:
        severity = ua.ContentFilterElement()
        severity.FilterOperator = ua.FilterOperator.GreaterThanOrEqual
        severity.FilterOperands = [
            _field("Severity"),
            ua.LiteralOperand(Value=ua.Variant(min_severity, ua.VariantType.UInt16)),
        ]
        where.Elements = [severity]
    return ua.EventFilter(SelectClauses=[_field(name) for name in _FIELDS.values()], WhereClause=where)


def event_of(change: Change) -> tuple[Value, int]:
    """An event as an object, and its time in milliseconds since 1970, 0 if it tells none."""
    fields = change.value if isinstance(change.value, Sequence) else ()
    event: Value = {name: value for name, value in zip(_FIELDS, fields, strict=False) if value is not None}
    time = fields[_TIME] if len(fields) > _TIME else None
    try:
        return event, int(datetime.fromisoformat(str(time)).timestamp() * 1000)
    except (ValueError, OverflowError):
        return event, 0


def _field(name: str) -> ua.SimpleAttributeOperand:
    path = [ua.QualifiedName(ua.String(name), ua.UInt16(0))]
    return ua.SimpleAttributeOperand(TypeDefinitionId=_BASE, BrowsePath=path, AttributeId=AttributeIds.Value)
