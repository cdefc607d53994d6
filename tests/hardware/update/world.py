"""A gateway made of values, whose updater ends at any moment: killed, or with the power."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from hardware.errors import UpdateFailed
from hardware.update.backend import Standing
from hardware.update.gate import Facts
from hardware.update.machine import MAX_TRIES, Record, Wanted
from hardware.update.manifest import BundleManifest
from hardware.update.updater import Patience, Updater, World
from twin.errors import LinkError

OLD, NEW = "1.0.0", "1.1.0"
MOST_STEPS = 5000
PATIENCE = Patience(trial_s=12, settle_s=2)


class Killed(BaseException):
    """The updater was killed."""


class PowerCut(BaseException):
    """The machine was."""


@dataclass
class Gateway:
    """What survives: disk and boot loader. ``runs`` is the hub's release, which only a restart changes.

    ``image``: releases are slots, a restart is one of the machine, and the boot loader counts and goes back by itself.
    """

    image: bool = False
    good: bool = True
    """Whether NEW is well."""
    boots: bool = True
    """Whether NEW comes up at all, of an image."""
    record: Record = field(default_factory=Record)
    installed: set[str] = field(default_factory=lambda: {OLD})
    active: str = OLD
    proven: str = OLD
    previous: str = ""
    loader_tries: int = 0
    runs: str = OLD
    boot: int = 1
    now_s: float = 1000.0
    steps: int = 0
    cuts: dict[int, type[BaseException]] = field(default_factory=dict)
    """At which step what happens."""
    reports: list = field(default_factory=list)
    confirmed: list[str] = field(default_factory=list)
    starts_of_new: int = 0
    bundle: bool = False
    asked: int = 0
    """How often it was asked what runs."""
    unreachable: int = 0
    """So often the bundle cannot be had."""

    def step(self) -> None:
        """Something is about to be done, or was; the moment at which it may end."""
        self.steps += 1
        assert self.steps < MOST_STEPS, "it never ends"
        if cut := self.cuts.get(self.steps):
            raise cut

    def power_on(self) -> None:
        """Boot: an image's loader tries what is active, three times until it is confirmed, then takes the other."""
        while True:
            self.boot += 1
            trial = self.active != self.proven
            if not self.image or not trial:
                self.runs = self.active
                break
            if self.loader_tries >= MAX_TRIES:
                self.runs = self.proven
                break
            self.loader_tries += 1
            self.starts_of_new += self.active == NEW
            if self.boots or self.active == OLD:
                self.runs = self.active
                break
        if not self.image:
            self.starts_of_new += self.runs == NEW != self.proven

    # -- the clock

    def now_us(self) -> int:
        return int(self.now_s * 1e6)

    def monotonic_s(self) -> float:
        return self.now_s

    def sleep(self, seconds: float) -> None:
        self.now_s += seconds
        self.step()

    # -- the back end

    name = "made of values"

    def check(self, bundle: Path, older: str = "") -> BundleManifest:
        return BundleManifest(version=NEW, compatible="edgetwin")

    def standing(self) -> Standing:
        self.asked += 1
        version = self.runs if self.image else self.active
        before = self.proven if version != self.proven else self.previous
        confirmed = version == self.proven == self.active
        return Standing(version, version, confirmed, before, str(self.boot), version == self.proven)

    def install(self, bundle: Path, told: Callable[[int, int], None]) -> None:
        assert self.bundle, "installed without a bundle"
        self.step()
        self.installed.add(NEW)
        self.step()

    def activate(self, version: str) -> None:
        assert version in self.installed
        self.step()
        if version != self.active:
            self.loader_tries = 0
        self.active = version
        self.step()

    def restart(self) -> None:
        self.step()
        if self.image:
            raise PowerCut
        self.runs = self.active
        self.starts_of_new += self.runs == NEW != self.proven
        self.step()

    def again(self) -> None:
        self.step()
        self.runs = self.active
        self.starts_of_new += self.runs == NEW != self.proven
        self.step()

    def confirm(self) -> None:
        self.step()
        version = self.standing().version
        self.confirmed.append(version)
        if self.image:
            self.active = version
        if version != self.proven:
            self.previous, self.proven = self.proven, version
        self.step()

    # -- the record and the bundle

    def load(self) -> Record:
        return self.record

    def save(self, record: Record) -> None:
        self.step()
        self.record = record
        self.step()

    def tell(self, record: Record, standing: Standing) -> None:
        self.reports.append((record, standing))

    def told(self) -> None:
        return None

    def fetch(self, wanted: Wanted, told: Callable[[int, int], None]) -> Path:
        self.step()
        if self.unreachable:
            self.unreachable -= 1
            message = "no answer"
            raise LinkError(message)
        self.bundle = True
        self.step()
        return Path("bundle")

    def path(self, wanted: Wanted) -> Path:
        if not self.bundle:
            message = "the bundle is gone"
            raise UpdateFailed(message)
        return Path("bundle")

    def clear(self) -> None:
        self.step()
        self.bundle = False

    def probe(self) -> Facts:
        well = self.runs == OLD or self.good
        return Facts(self.runs if well else "", 1, ("modbus",) if well else (), cloud=well)

    # -- lives

    def updater(self) -> Updater:
        world = World(self, self, self.probe, self, self.sleep, lambda *_: None)
        return Updater(self, world, PATIENCE)

    def live(self, begin: Callable[[Updater], object] = lambda _: None, lives: int = 200) -> Record:
        """Run updaters, a new one after each end, until there is nothing left to do."""
        for life in range(lives):
            try:
                updater = self.updater()
                if life == 0:
                    begin(updater)
                record = updater.run()
                if record.state.settled and self.standing().confirmed:
                    return record
            except Killed:
                pass
            except PowerCut:
                self.power_on()
        message = f"no end: {self.record}"
        raise AssertionError(message)
