"""What the mesh keeps beside the twins: addresses that were given, names that were asked for."""

from __future__ import annotations

import logging
from typing import Final

from twin.engine import TwinEngine
from twin.errors import StoreError

log = logging.getLogger(__name__)

NOTES: Final = "mesh"
"""Their owner."""


def notes_of(engine: TwinEngine) -> dict[str, str]:
    """All of them; none if the store does not give them, which must not keep a gateway from starting."""
    try:
        return engine.notes(NOTES)
    except StoreError as error:
        log.warning("the mesh begins without its notes, addresses of services may be others: %s", error)
        return {}
