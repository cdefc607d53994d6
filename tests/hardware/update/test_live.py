"""Releases for real: environments of their own, signed bundles, and a hub that is started from them; without root."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.hardware.update import service, wheels
from tests.hardware.update.wheels import TREE

BROKEN = "raise SystemExit('this release was broken on purpose')\n"
pytestmark = pytest.mark.timeout(600)  # releases are laid out and tried, which a loaded machine takes minutes for

DEVICES = """apiVersion: edgetwin.dev/v1
kind: DeviceModel
metadata: {name: boiler}
spec:
  properties:
    - name: temperature
      type: FLOAT
      visitors: {protocolName: modbus, configData: {register: HoldingRegister, offset: 0}}
---
apiVersion: edgetwin.dev/v1
kind: Connection
metadata: {name: line}
spec: {mapper: modbus, simulate: true, config: {host: 127.0.0.1}}
---
apiVersion: edgetwin.dev/v1
kind: Device
metadata: {name: tank}
spec: {deviceModelRef: {name: boiler}, connection: line, address: {unit: 1}}
"""


@dataclass
class Plant:
    """A machine with a gateway that is installed without releases, and whose updates somebody signs."""

    place: Path
    keys: Path
    libraries: Path

    @property
    def environment(self) -> dict[str, str]:
        return {
            **{key: value for key, value in os.environ.items() if not key.startswith(("EDGETWIN_", "PYTHON"))},
            "EDGETWIN_STATE": str(self.place / "state"),
            "EDGETWIN_CONFIG": str(self.place / "edgetwin.yaml"),
        }

    def command(self, *words: str, trial: str = "90s", check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a command of the release that was confirmed last; before the first, of the one that is installed."""
        proven = self.place / "opt/proven/bin/edgetwin"
        program = proven if proven.exists() else self.place / "edgetwin"
        environment = {**self.environment, "EDGETWIN_UPDATES_TRIAL": trial}
        return subprocess.run(
            [program, *words], env=environment, cwd="/", capture_output=True, text=True, timeout=240, check=check
        )

    def report(self) -> dict[str, object]:
        return json.loads(self.command("hardware", "update", "status", "--json").stdout)

    def bundle(self, version: str, changed: dict[str, str] | None = None) -> Path:
        folder = self.place / f"wheels-{version}"
        folder.mkdir()
        for one in self.libraries.iterdir():
            (folder / one.name).symlink_to(one)
        wheels.own_wheel(version, folder, changed or {})
        out = self.place / f"{version}.edgetwin"
        self.command("hardware", "bundle", "create", str(out), "--keys", str(self.keys), "--wheels", str(folder))
        return out

    def twin(self) -> dict[str, object]:
        shown = self.command("get", "gateway/default/hall-7", "--json").stdout
        (twin,) = json.loads(shown)["twins"]
        return twin["reported"]


@pytest.fixture(scope="module")
def libraries(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("libraries")
    for one in wheels.needed():
        wheels.installed_wheel(one, folder)
    return folder


@pytest.fixture
def plant(tmp_path, libraries, free_port):
    program = tmp_path / "edgetwin"
    code = f"import os, sys\nos.environ['PYTHONPATH'] = {str(TREE)!r}\nsys.path.insert(0, {str(TREE)!r})\n"
    program.write_text(f"#!{sys.executable} -sP\n{code}from edgehub.cli import main\n\nmain()\n")
    program.chmod(0o755)
    start = tmp_path / "start"
    first = f'[ -e "{tmp_path}/opt/current" ] || exec "{program}" run\nexec "{tmp_path}/opt/current/bin/edgetwin" run\n'
    start.write_text(f"#!/bin/sh\n{first}")
    start.chmod(0o755)
    (tmp_path / "command").write_text(str(start))
    restart = shlex.join([sys.executable, service.__file__, str(tmp_path)])
    (tmp_path / "edgetwin.yaml").write_text(
        f"gateway: {{name: hall-7}}\nbroker: {{port: {free_port()}}}\n"
        f"updates: {{ca: {tmp_path}/keys/ca.pem, backend: releases, releases: {tmp_path}/opt, settle: 1s,"
        f" restart: '{restart}'}}\n"
    )
    plant = Plant(tmp_path, tmp_path / "keys", libraries)
    plant.command("hardware", "keys", "create", str(plant.keys))
    subprocess.run([sys.executable, service.__file__, str(tmp_path)], env=plant.environment, check=True)
    try:
        wait_for(lambda: plant.command("status", "--json", check=False).returncode == 0)
        yield plant
    finally:
        service.stop(tmp_path)


def wait_for(what, limit_s: float = 60) -> None:
    until = time.monotonic() + limit_s
    while not what():
        assert time.monotonic() < until, "it did not come"
        time.sleep(0.2)


def test_a_release_is_installed_tried_and_kept_and_a_broken_one_goes_with_its_reason(plant):
    documents = plant.place / "devices.yaml"
    documents.write_text(DEVICES)
    plant.command("apply", "-f", str(documents))
    good = plant.bundle("7.1.0")
    dry = plant.command("hardware", "update", "install", str(good), "--dry-run")
    assert "7.1.0" in dry.stdout
    assert not (plant.place / "opt").exists()
    done = plant.command("hardware", "update", "install", str(good), "--json")
    report = json.loads(done.stdout)
    assert (report["state"], report["version"], report["tries"]) == ("healthy", "7.1.0", 1)
    assert json.loads(plant.command("status", "--json").stdout)["version"] == "7.1.0"
    wait_for(lambda: plant.twin().get("update", {}).get("value", {}).get("state") == "healthy")

    broken = plant.bundle("7.2.0", {"edgehub/hub.py": BROKEN})
    done = plant.command("hardware", "update", "install", str(broken), "--json", trial="3s", check=False)
    assert done.returncode == 1, done.stderr
    report = json.loads(done.stdout)
    assert (report["state"], report["version"], report["wanted"]) == ("rolled_back", "7.1.0", "7.2.0")
    assert report["tries"] == 3
    assert "does not answer" in report["reason"]
    wait_for(lambda: plant.command("status", "--json", check=False).returncode == 0)
    assert json.loads(plant.command("status", "--json").stdout)["version"] == "7.1.0"
    wait_for(lambda: plant.twin()["update"]["value"]["state"] == "rolled_back")
    assert plant.twin()["update"]["value"]["reason"] == report["reason"]

    older = plant.command("hardware", "update", "install", str(broken), "--older", "7.2.0", "--dry-run")
    assert older.returncode == 0
    back = plant.command("hardware", "update", "rollback", "--yes", "--json")
    assert json.loads(back.stdout)["state"] == "rolled_back"
    wait_for(lambda: plant.command("status", "--json", check=False).returncode == 0)
    version = json.loads(plant.command("status", "--json").stdout)["version"]
    assert version != "7.1.0"
    refused = plant.command("hardware", "update", "install", str(plant.bundle("0.0.1")), check=False)
    assert (refused.returncode, "older than" in refused.stderr) == (4, True)
