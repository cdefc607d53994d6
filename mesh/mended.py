"""The alarm that somebody else changed what the mesh had set up in the kernel; nobody writes a rule for it. Pure."""

from __future__ import annotations

from typing import Final

from mesh.alerts import Alert
from mesh.model.alarms import AlarmMetric, AlarmRule
from mesh.model.services import ServiceKey

ABOUT: Final = ServiceKey("mesh", "nftables")
RULE: Final = AlarmRule("mesh/table-changed", (), AlarmMetric.MENDED, severity="warning")
CALM_S: Final = 60.0
"""How long nobody must have touched it before the alarm is over."""


class Mended:
    """Whether it was mended of late."""

    def __init__(self) -> None:
        self._texts: list[str] = []
        self._began_s: float | None = None
        self._last_s = 0.0

    def took(self, text: str) -> None:
        """It was mended just now; ``text`` says what of it."""
        self._texts.append(text)

    def look(self, now_s: float) -> list[Alert]:
        """What has begun, and what is over."""
        texts, self._texts = self._texts, []
        if texts:
            self._last_s = now_s
            if self._began_s is None:
                self._began_s = now_s
            return [Alert(RULE, ABOUT, True, self._began_s, float(len(texts)), texts[-1])]
        if self._began_s is None or now_s < self._last_s + CALM_S:
            return []
        self._began_s = None
        return [Alert(RULE, ABOUT, False, now_s, 0.0, "nobody has touched it since")]
