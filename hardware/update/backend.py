"""The one interface to whatever lays out releases: folders of the program (releases), or slots of the image (RAUC).

install puts a release beside what runs; activate says what the next start takes; restart starts it; confirm ends the
trial; again is another try of what runs. Each may be repeated after a crash: what was done already is done.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from hardware.update.manifest import BundleManifest

Told = Callable[[int, int], None]
"""How many bytes are done, and of how many."""


@dataclass(frozen=True, slots=True)
class Standing:
    """What runs, by what is on disk and what was booted."""

    version: str
    slot: str
    """Where it is, for people: ``A``, or the name of a folder."""
    confirmed: bool
    """Whether it is proven, and is what starts next."""
    before: str
    """The release to which one can go back; empty: none."""
    boot: str
    """Names the start of the machine: another one after each."""
    proven: bool = True
    """Whether its trial is over; its starts are counted no more then."""
    program: str = ""
    """What a hub of it says as its version; empty: an image may be named as one likes."""


class Backend(Protocol):
    """Lays out releases. All raise UpdateFailed; ``check`` raises BundleRefused too."""

    @property
    def name(self) -> str:
        """``releases`` or ``rauc``."""

    def check(self, bundle: Path, older: str = "") -> BundleManifest:
        """What a bundle says of itself, once its signature is proven and it is known to fit. Changes nothing.

        ``older`` is the one older version that is taken all the same.
        """

    def standing(self) -> Standing:
        """What runs now."""

    def install(self, bundle: Path, told: Told) -> None:
        """Lay a checked bundle out beside what runs; what runs, and what starts next, stay as they are."""

    def activate(self, version: str) -> None:
        """Have the next start take this release, which is installed."""

    def restart(self) -> None:
        """Start what is active. The machine may go down, and this process with it: it need not return."""

    def again(self) -> None:
        """Start the hub of what runs once more; the machine, which came up, stays up."""

    def confirm(self) -> None:
        """What runs stays: tries are counted no more. What ran before is kept, what is older than that goes."""
