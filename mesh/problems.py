"""What is wrong with a route or service that was accepted as a document: values, for conditions and for people."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias

from mesh.model.routes import RouteKey
from mesh.model.services import ServiceKey

Subject: TypeAlias = RouteKey | ServiceKey
"""What a problem is about."""


class Condition(StrEnum):
    """The condition that a problem makes false; Gateway API's names."""

    ACCEPTED = "Accepted"
    RESOLVED_REFS = "ResolvedRefs"
    PROGRAMMED = "Programmed"


class Reason(StrEnum):
    """Why; Gateway API's names where it has one."""

    NO_MATCHING_PARENT = "NoMatchingParent"
    UNSUPPORTED_VALUE = "UnsupportedValue"
    CONFLICTED = "Conflicted"
    TARGET_NOT_FOUND = "TargetNotFound"
    BACKEND_NOT_FOUND = "BackendNotFound"
    LOOP = "Loop"
    ADDRESS_TAKEN = "AddressTaken"
    PLANE_UNSUITED = "PlaneUnsuited"
    PLANE_FAILED = "PlaneFailed"

    @property
    def condition(self) -> Condition:
        """The condition that it makes false."""
        return _CONDITIONS.get(self, Condition.ACCEPTED)


_CONDITIONS = {
    Reason.BACKEND_NOT_FOUND: Condition.RESOLVED_REFS,
    Reason.ADDRESS_TAKEN: Condition.PROGRAMMED,
    Reason.PLANE_UNSUITED: Condition.PROGRAMMED,
    Reason.PLANE_FAILED: Condition.PROGRAMMED,
}


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """One thing that is wrong: what, where, and what to do about it. The rest works on."""

    reason: Reason
    text: str


Problems: TypeAlias = Mapping[Subject, tuple[Problem, ...]]
"""What is wrong, by the route or service that it is about."""
