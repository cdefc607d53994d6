"""Puts an updater together from the settings of this machine: the only place that makes its parts."""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import ssl
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from edgehub.cloud_keys import CloudKeys
from edgehub.settings import UpdateSettings, load_settings, state_folder
from edgehub.state import StateFolder
from hardware.update import hub
from hardware.update.backend import Backend
from hardware.update.bundle import Trust
from hardware.update.fetch import BundleFolder
from hardware.update.machine import Record
from hardware.update.rauc import SYSTEM_CONF, Machine, Rauc
from hardware.update.records import Records
from hardware.update.releases import Place, Releases
from hardware.update.signing import read_authorities
from hardware.update.updater import Patience, Updater, World
from twin.clock import SystemClock
from twin.setting_types import seconds


@dataclass(frozen=True, slots=True)
class Site:
    """The updates of this machine."""

    folder: StateFolder
    settings: UpdateSettings

    @classmethod
    def here(cls, config: Path | None = None) -> Site:
        """By the settings file and the state folder. Raises InvalidSettings."""
        return cls(StateFolder(state_folder(os.environ)), load_settings(config, os.environ).settings.updates)

    @property
    def records(self) -> Records:
        """Where an update is remembered."""
        return Records(self.folder.update)

    @property
    def bundles(self) -> BundleFolder:
        """Where bundles are kept while they are installed."""
        return BundleFolder(self.folder.update / "bundles", self.tls)

    @property
    def given(self) -> BundleFolder:
        """Where a bundle is fetched to of which nothing is known but its address."""
        return BundleFolder(self.folder.update / "given", self.tls)

    def backend(self) -> Backend:
        """Whatever lays out releases here."""
        said = self.settings.backend
        if said == "rauc" or (said == "auto" and SYSTEM_CONF.exists()):
            return Rauc(Machine())
        program = Path(shutil.which(sys.argv[0]) or sys.argv[0]).absolute()
        place = Place(Path(self.settings.releases), shlex.split(self.settings.restart), program, version("edgetwin"))
        return Releases(place, self.trust)

    def trust(self) -> Trust:
        """Whose bundles are taken. Raises InvalidKey if nobody's are."""
        return Trust(read_authorities(Path(self.settings.ca)), datetime.now(UTC))

    def updater(self, backend: Backend, told: Callable[[Record, int, int], None]) -> Updater:
        """An updater; the caller holds the lock of ``records``."""
        patience = Patience(seconds(self.settings.trial), seconds(self.settings.settle))
        world = World(self.records, self.bundles, hub.probe, SystemClock(), time.sleep, told, _alive)
        return Updater(backend, world, patience)

    def tls(self) -> ssl.SSLContext:
        """The gateway's certificate and its cloud's CA; of a gateway without a cloud, what the system trusts."""
        keys = CloudKeys(self.folder.keys)
        if keys.connection() is None:
            return ssl.create_default_context()
        context = ssl.create_default_context(cafile=str(keys.ca))
        context.load_cert_chain(str(keys.pair))
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        return context


def _alive() -> None:
    """Say that the updater works, if it is a service: on an image something else waits for that (image/deadman.py)."""
    if folder := os.environ.get("RUNTIME_DIRECTORY"):
        with contextlib.suppress(OSError):
            Path(folder, "alive").write_text(f"{time.clock_gettime(time.CLOCK_BOOTTIME):.0f}\n", encoding="ascii")
