"""The twin of a push: how it is, for everyone who looks. Pure."""

from __future__ import annotations

from typing import Final

from edgehub.push.plan import PlannedPush
from twin.model import PropertySpec, TwinSpec, Value, ValueType
from twin.outbound import Waiting
from twin.sqlite_progress import Progress

TYPES: Final = {
    "type": ValueType.STRING,
    "target": ValueType.STRING,
    "state": ValueType.STRING,
    "why": ValueType.STRING,
    "since": ValueType.INT,
    "waiting": ValueType.INT,
    "waiting_bytes": ValueType.INT,
    "lag_s": ValueType.INT,
    "sent": ValueType.INT,
    "dropped": ValueType.INT,
    "aside": ValueType.INT,
    "last_sent": ValueType.INT,
    "gaps": ValueType.JSON,
}
COUNTERS: Final = frozenset({"waiting", "waiting_bytes", "lag_s", "sent", "last_sent"})
"""What changes all the time, and is told now and then."""


def push_spec(push: PlannedPush, gateway: str) -> TwinSpec:
    """What its twin has."""
    properties = {name: PropertySpec(name, type_) for name, type_ in TYPES.items()}
    labels = (("type", push.type),)
    return TwinSpec(push.key, uid="", gateway=gateway, labels=labels, properties=properties)


def push_report(push: PlannedPush, progress: Progress, waiting: Waiting, now_ms: int) -> dict[str, Value]:
    """What its twin says."""
    gaps: list[Value] = [
        {"why": gap.why.value, "first": gap.first, "last": gap.last, "readings": gap.readings} for gap in waiting.gaps
    ]
    return {
        "type": push.type,
        "target": target_of(push),
        "state": progress.state,
        "why": progress.why,
        "since": progress.since_ms,
        "waiting": waiting.readings,
        "waiting_bytes": waiting.size_bytes,
        "lag_s": max(0, now_ms - waiting.since_ms) // 1000 if waiting.readings else 0,
        "sent": progress.sent,
        "dropped": waiting.dropped + progress.lost,
        "aside": progress.aside,
        "last_sent": progress.last_ms,
        "gaps": gaps,
    }


def target_of(push: PlannedPush) -> str:
    """Where it goes, as people know it; addresses hold no logins."""
    url = push.config.get("url")
    return url if isinstance(url, str) else push.type


def push_alarms(push: PlannedPush, said: dict[str, Value]) -> list[str]:
    """What a person has to see to."""
    found = []
    if said["state"] in ("waiting", "broken"):
        found.append(f"{push.key} delivers nothing to {said['target']}: {said['why']}; {said['waiting']} readings wait")
    if said["dropped"]:
        found.append(f"{push.key} has dropped {said['dropped']} readings before they were delivered, see its gaps")
    return found
