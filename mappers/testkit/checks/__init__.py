"""All checks of the contract, in the order in which they are run."""

from __future__ import annotations

from typing import Final

from mappers.testkit.checks import (
    cancelling,
    connecting,
    discovering,
    faults,
    planning,
    reading,
    serving,
    settings,
    telling,
    writing,
)
from mappers.testkit.promise import Promise

__all__ = ["PROMISES"]

PROMISES: Final[tuple[Promise, ...]] = tuple(
    promise
    for module in (settings, planning, connecting, reading, writing, faults, cancelling, telling, discovering, serving)
    for promise in module.ALL.promises
)
"""Every promise of a mapper."""
