"""The twin of an alarm, ``alarm/<namespace>/<rule>.<subject>``: what its gateway says of it, and what people answer.

reported  AlarmTwin                  by the gateway: how the alarm stands
desired   acknowledged, note         by people, here or in the cloud: which firing they have seen

    pending ──for so long──> firing ──acknowledged──> acknowledged ──over──> resolved
       └──over──> resolved      └───────────────over──────────────────────────^
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Final

from pydantic import Field

from twin.errors import Refused
from twin.model import Access, PropertySpec, Value, ValueType
from twin.wire.api import TwinBody
from twin.wire.messages import Millis, Wire

MAX_NOTE: Final = 500
"""Characters of a note."""


class AlarmState(StrEnum):
    """How an alarm stands."""

    PENDING = "pending"  # its condition holds, and not yet for as long as the rule asks
    FIRING = "firing"
    ACKNOWLEDGED = "acknowledged"  # it fires, and somebody has seen it
    RESOLVED = "resolved"

    @property
    def fires(self) -> bool:
        """Whether what it tells of is still so."""
        return self in (AlarmState.FIRING, AlarmState.ACKNOWLEDGED)


class Severity(StrEnum):
    """How bad it is."""

    INFO = "info"
    WARNING = "warning"
    CRITICAL = "critical"


class AlarmTwin(Wire):
    """What the twin of an alarm reports, a property for each key."""

    state: AlarmState
    since: Annotated[Millis, Field(description="since when its condition holds, or held last; names the firing")]
    severity: Severity = Severity.WARNING
    value: Annotated[bool | int | float | str | None, Field(description="what was compared")] = None
    message: Annotated[str, Field(description="a sentence for people")] = ""
    rule: Annotated[str, Field(description="namespace/name of the AlarmRule, or of the gateway's own rule")] = ""
    subject: Annotated[str, Field(description="kind/namespace/name of what it is about")] = ""
    acknowledged: Annotated[int, Field(description="the `since` that was acknowledged last; 0: none")] = 0
    acknowledged_by: Annotated[str, Field(description="the account of who did it")] = ""
    note: Annotated[str, Field(description="what they wrote to it")] = ""


class RuleBody(Wire):
    """A rule of alarms as the gateway's own twin tells of it, in ``alarm_rules``."""

    rule: Annotated[str, Field(description="namespace/name")]
    about: Annotated[str, Field(description="kind/namespace/name and labels of what it looks at; * is any")]
    when: Annotated[str, Field(description="what has to hold")]
    for_s: Annotated[float, Field(description="for how long, before it fires")] = 0.0
    keep_s: Annotated[float, Field(description="how long it must be over, before the alarm is")] = 0.0
    severity: Severity = Severity.WARNING
    enabled: bool = True
    own: Annotated[bool, Field(description="whether every gateway has it without a document")] = False


RULES: Final = "alarm_rules"
"""The property of a gateway's own twin that lists its rules."""
ACKNOWLEDGED: Final = "acknowledged"
NOTE: Final = "note"
DESIRABLE: Final = {
    ACKNOWLEDGED: PropertySpec(ACKNOWLEDGED, ValueType.INT, Access.READ_WRITE, minimum=0),
    NOTE: PropertySpec(NOTE, ValueType.STRING, Access.READ_WRITE),
}
"""What may be desired of an alarm, on both sites."""
_TYPES: Final = {"since": ValueType.INT, "value": ValueType.JSON}
PROPERTIES: Final = {
    name: PropertySpec(name, _TYPES.get(name, ValueType.STRING)) for name in AlarmTwin.model_fields
} | DESIRABLE


def alarm_of(body: TwinBody) -> AlarmTwin:
    """What the twin of an alarm reports. Raises ValidationError if it is none, or has not come whole yet."""
    known = {name: leaf.value for name, leaf in body.reported.items() if name in AlarmTwin.model_fields}
    return AlarmTwin.model_validate(known)


def acknowledgement(name: str, alarm: AlarmTwin, note: str) -> dict[str, Value]:
    """What has to be desired of an alarm to acknowledge how it stands now. Raises Refused if it does not fire."""
    if not alarm.state.fires:
        message = f"{name} is {alarm.state}, there is nothing to acknowledge"
        raise Refused(message, remedy="`edgetwin alarms` lists those that fire.")
    if len(note) > MAX_NOTE:
        message = f"the note has {len(note)} characters, more than {MAX_NOTE}"
        raise Refused(message, remedy="Make it shorter.")
    return {ACKNOWLEDGED: alarm.since, NOTE: note}
