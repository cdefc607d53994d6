"""How often a worker looks for garbage that refers to itself; all other garbage goes at once."""

from __future__ import annotations

import gc
from typing import Final

_THRESHOLDS: Final = (50_000, 20, 100)


def relax() -> None:
    """Look for it less often, and never among what is there now: modules, models, compiled schemas.

    A worker makes and drops some 100 000 small tuples and dicts when all documents of many gateways change. With
    Python's thresholds a quarter of its time went into looks that found nothing. What may pile up meanwhile is some MB.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_THRESHOLDS)
