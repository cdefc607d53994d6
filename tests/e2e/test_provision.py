"""A provisioning file, a real cloud, and a gateway that nobody touches otherwise."""

import json
import os
import subprocess
import sys
from contextlib import ExitStack

from cloudsync.ask.session import cloud_client
from edgehub.state import StateFolder
from tests.cloudsync.process import CloudProcess, free_ports
from tests.e2e.rig import Hub
from tests.e2e.sync_site import all_twins, devices, equal


def provision(environment, *words):
    line = [sys.executable, "-c", "from edgehub.cli import main; main()", "hardware", "provision", *map(str, words)]
    return subprocess.run(line, env=environment, capture_output=True, text=True, timeout=60, check=False)


async def test_one_file_makes_a_machine_a_gateway_whose_device_is_in_the_cloud(tmp_path):
    root, state = tmp_path / "root", tmp_path / "state"
    (root / "dev").mkdir(parents=True)
    (root / "dev/rtc0").touch()
    file = tmp_path / "edgetwin-provision.yaml"
    plain = {name: value for name, value in os.environ.items() if not name.startswith("EDGETWIN_")}
    environment = {
        **plain,
        "EDGETWIN_STATE": str(state),
        "EDGETWIN_CONFIG": str(root / "etc/edgetwin/edgetwin.yaml"),
    }
    with ExitStack() as stack:
        cloud = CloudProcess(tmp_path / "cloud")
        cloud.run("cloud", "init")
        cloud.start()
        stack.callback(cloud.stop)
        token = cloud.json("cloud", "token", "create", "--gateway", "gw-1")["token"]
        said = {
            "version": 1,
            "gateway": {"name": "gw-1"},
            "settings": {"broker": {"port": free_ports(1)[0]}, "cloud": {"first_delay": "0s"}},
            "cloud": {"token": token},
            "devices": devices("tank-1"),
        }
        file.write_text(json.dumps(said))
        first = provision(environment, file, "--root", root, "--json")
        assert first.returncode == 0, first.stdout + first.stderr
        receipt = json.loads(first.stdout)
        assert {one["step"]: one["state"] for one in receipt["steps"]} == {
            **dict.fromkeys(("identity", "settings", "devices", "cloud"), "applied"),
            **dict.fromkeys(("network", "time"), "not_said"),
        }
        assert token not in file.read_text()
        assert json.loads((tmp_path / "edgetwin-receipt.json").read_text()) == receipt
        assert (state / "edgetwin-receipt.json").stat().st_mode & 0o777 == 0o600

        again = provision(environment, file, "--root", root, "--json")
        assert again.returncode == 0, again.stdout + again.stderr
        assert {one["state"] for one in json.loads(again.stdout)["steps"]} == {"unchanged", "not_said"}

        hub = Hub(StateFolder(state), environment, log=tmp_path / "hub.log")
        hub.start()
        stack.callback(lambda: hub.running and hub.stop())
        async with hub.client() as edge, cloud_client(cloud.folder / "admin.json") as above:
            await equal(edge, above, within_s=30.0)
            assert "device/plant/tank-1" in await all_twins(above)
