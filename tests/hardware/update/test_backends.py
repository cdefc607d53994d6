"""What every back end keeps: what runs is left alone until it is switched, steps may be repeated, one can go back."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest

from hardware.errors import BundleRefused, UpdateFailed
from hardware.update.backend import Backend
from hardware.update.bundle import Trust, described, write_bundle
from hardware.update.manifest import APPLICATION, BundleManifest
from hardware.update.rauc import Machine, Rauc
from hardware.update.releases import Place, Releases
from hardware.update.signing import Signer, create_keys, read_authorities
from tests.hardware.update import rauc_double
from tests.hardware.update.rauc_double import OTHER
from tests.hardware.update.wheels import small_wheel

NOW = datetime(2026, 11, 28, tzinfo=UTC)


@dataclass
class OfReleases:
    """Folders of an environment with nothing in it but what `--version` needs."""

    folder: Path
    old: str = "1.0.0"

    def __post_init__(self) -> None:
        create_keys(self.folder / "keys", "example", NOW)
        trust = Trust(read_authorities(self.folder / "keys/ca.pem"), NOW)
        program = self.folder / "edgetwin"
        program.write_text("#!/bin/sh\necho edgetwin 1.0.0\n")
        program.chmod(0o755)
        restart = ("/bin/sh", "-c", f"echo >> {self.folder}/starts")
        place = Place(self.folder / "opt", restart, program, self.old, compiled=False)
        self.backend: Backend = Releases(place, lambda: trust)

    def bundle(self, version: str, *, starts: bool = True) -> Path:
        wheel = small_wheel(version, self.folder, starts=starts)
        manifest = BundleManifest(
            version=version, compatible=APPLICATION, unpacked_bytes=10_000, files=(described(wheel),)
        )
        out = self.folder / f"{version}.edgetwin"
        write_bundle(
            out, manifest, [wheel], Signer.read(self.folder / "keys/signing.key", self.folder / "keys/signing.pem")
        )
        return out

    def damaged(self) -> Path:
        path = self.bundle("9.0.0")
        path.write_bytes(path.read_bytes()[:-1] + b"?")
        return path

    def foreign(self) -> Path:
        path = self.folder / "foreign.edgetwin"
        signer = Signer.read(self.folder / "keys/signing.key", self.folder / "keys/signing.pem")
        write_bundle(path, BundleManifest(version="9.0.0", compatible="raspberry-pi-4"), [], signer)
        return path

    def restarted(self) -> None:
        self.backend.restart()


@dataclass
class OfImages:
    """Two slots behind a double of RAUC; a restart is what GRUB makes of it."""

    folder: Path
    old: str = "1.0.0"

    def __post_init__(self) -> None:
        self._keep({"booted": "A", "order": ["A", "B"], "A": {"ok": 1, "try": 0}, "B": {"ok": 0, "try": 0}})
        (self.folder / "release").write_text("BOARD=qemu-x86-64\nRELEASE=1.0.0\n")
        rauc = (sys.executable, rauc_double.__file__, str(self.folder))
        machine = Machine(rauc, ("/bin/true",), self.folder / "release", self.folder / "boot_id", boot_s=0)
        (self.folder / "boot_id").write_text("1\n")
        self.backend: Backend = Rauc(machine)

    def bundle(self, version: str) -> Path:
        path = self.folder / f"{version}.raucb"
        path.write_text(json.dumps({"compatible": "qemu-x86-64", "version": version}))
        return path

    def damaged(self) -> Path:
        path = self.folder / "damaged.raucb"
        path.write_text(json.dumps({"damaged": True}))
        return path

    def foreign(self) -> Path:
        path = self.folder / "foreign.raucb"
        path.write_text(json.dumps({"compatible": "raspberry-pi-4", "version": "9.0.0"}))
        return path

    def restarted(self) -> None:
        state = json.loads((self.folder / "state.json").read_text())
        slot = next(name for name in state["order"] if state[name]["ok"] and state[name]["try"] < 3)
        state[slot]["try"] += 1
        state["booted"] = slot
        self._keep(state)
        version = state[slot].get("version", self.old)
        (self.folder / "release").write_text(f"BOARD=qemu-x86-64\nRELEASE={version}\n")
        (self.folder / "boot_id").write_text(f"{(self.folder / 'boot_id').read_text().strip()}1\n")

    def _keep(self, state) -> None:
        (self.folder / "state.json").write_text(json.dumps(state))


@pytest.fixture(params=[OfReleases, OfImages], ids=["releases", "rauc"])
def site(request, tmp_path):
    return request.param(tmp_path)


def tell_nobody(*_: int) -> None:
    pass


def test_what_runs_runs_on_until_another_is_activated_and_started_and_is_kept_to_go_back_to(site):
    backend = site.backend
    backend.confirm()
    assert (backend.standing().version, backend.standing().confirmed) == (site.old, True)
    bundle = site.bundle("1.1.0")
    assert backend.check(bundle).version == "1.1.0"
    for _ in range(2):  # as after a crash
        backend.install(bundle, tell_nobody)
        assert backend.standing().version == site.old
    for _ in range(2):
        backend.activate("1.1.0")
    site.restarted()
    standing = backend.standing()
    assert (standing.version, standing.confirmed) == ("1.1.0", False)
    assert standing.before
    for _ in range(2):
        backend.confirm()
    assert (backend.standing().version, backend.standing().confirmed) == ("1.1.0", True)
    backend.activate(backend.standing().before)
    site.restarted()
    assert backend.standing().version == site.old
    backend.confirm()
    assert (backend.standing().version, backend.standing().confirmed) == (site.old, True)


def test_a_trial_that_is_given_up_leads_back_to_what_was_proven(site):
    backend = site.backend
    backend.confirm()
    backend.install(site.bundle("1.1.0"), tell_nobody)
    backend.activate("1.1.0")
    site.restarted()
    backend.activate(site.old)
    site.restarted()
    assert backend.standing().version == site.old
    backend.confirm()
    assert backend.standing().confirmed


def test_what_is_damaged_foreign_or_older_is_refused_and_nothing_was_changed(site):
    before = {path: path.stat().st_mtime_ns for path in site.folder.rglob("*") if path.is_file()}
    for bundle, why in (
        (site.damaged(), "changed|not taken"),
        (site.foreign(), "it is for raspberry-pi-4"),
        (site.bundle("0.9.0"), "older than 1.0.0"),
    ):
        with pytest.raises(BundleRefused, match=why):
            site.backend.check(bundle)
    assert site.backend.check(site.bundle("0.9.0"), "0.9.0").version == "0.9.0"
    after = {path: path.stat().st_mtime_ns for path in before if path.name != "state.json"}
    assert after == {path: at for path, at in before.items() if path.name != "state.json"}
    assert site.backend.standing().version == site.old


def test_a_slot_that_never_proves_itself_is_left_by_the_boot_loader(tmp_path):
    site = OfImages(tmp_path)
    site.backend.confirm()
    site.backend.install(site.bundle("1.1.0"), tell_nobody)
    site.backend.activate("1.1.0")
    for _ in range(3):
        site.restarted()
        assert site.backend.standing().version == "1.1.0"
    site.restarted()
    standing = site.backend.standing()
    assert (standing.version, standing.slot) == (site.old, "A")
    assert not standing.confirmed  # until the updater says so, which sets the order too
    site.backend.confirm()
    assert site.backend.standing().confirmed
    assert OTHER[standing.slot] == "B"


def test_a_release_that_does_not_start_is_not_laid_out(tmp_path):
    site = OfReleases(tmp_path)
    with pytest.raises(UpdateFailed, match=r"does not start.*broken on purpose"):
        site.backend.install(site.bundle("1.1.0", starts=False), tell_nobody)
    assert [one.name for one in (tmp_path / "opt/releases").iterdir()] == ["1.0.0"]
    assert site.backend.standing().version == "1.0.0"
    with pytest.raises(UpdateFailed, match=r"no release 1\.1\.0"):
        site.backend.activate("1.1.0")


def test_a_release_of_a_package_is_proven_before_the_first_update_and_what_is_older_than_two_goes(tmp_path):
    site = OfReleases(tmp_path)
    for version in ("1.1.0", "1.2.0", "1.3.0"):
        site.backend.install(site.bundle(version), tell_nobody)
        site.backend.activate(version)
        site.backend.confirm()
    assert sorted(one.name for one in (tmp_path / "opt/releases").iterdir()) == ["1.2.0", "1.3.0"]
    (tmp_path / "opt/proven").unlink()
    (tmp_path / "opt/previous").unlink()
    site.backend.install(site.bundle("1.4.0"), tell_nobody)
    site.backend.activate("1.4.0")
    assert site.backend.standing().before == "1.3.0"


def test_a_release_that_runs_is_not_replaced_by_another_of_its_name(tmp_path):
    site = OfReleases(tmp_path)
    site.backend.install(site.bundle("1.1.0"), tell_nobody)
    site.backend.activate("1.1.0")
    site.backend.confirm()
    other = site.bundle("1.1.0")
    wheel = small_wheel("1.1.0", tmp_path, more="# another\n")
    manifest = BundleManifest(version="1.1.0", compatible=APPLICATION, unpacked_bytes=10_000, files=(described(wheel),))
    write_bundle(other, manifest, [wheel], Signer.read(tmp_path / "keys/signing.key", tmp_path / "keys/signing.pem"))
    with pytest.raises(UpdateFailed, match="is not replaced"):
        site.backend.install(other, tell_nobody)
    assert (tmp_path / "opt/current/bin/edgetwin").exists()


def test_rauc_that_is_missing_or_answers_nonsense_is_said(tmp_path):
    (tmp_path / "release").write_text("RELEASE=1.0.0\n")
    for words, why in ((("/no/rauc",), "there is no /no/rauc"), (("echo", "no"), "no JSON"), (("false",), "failed")):
        machine = Machine(words, ("/bin/true",), tmp_path / "release", tmp_path / "boot_id")
        with pytest.raises(UpdateFailed, match=why):
            Rauc(machine).standing()
