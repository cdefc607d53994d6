"""What deploys a cloud, looked at by the programs that it is for."""

import os
import re
import shutil
import subprocess
import sys

import pytest

from cloudsync.settings import load_settings
from twin.settings_file import InvalidSettings


@pytest.fixture(scope="module")
def deploy(request):
    return request.config.rootpath / "cloudsync" / "deploy"


def run(*words, **environment):
    return subprocess.run(words, capture_output=True, text=True, timeout=60, env={**os.environ, **environment})


@pytest.mark.parametrize("name", ["main", "shard"])
def test_the_sample_settings_are_good_once_their_secret_is_there(deploy, name):
    with pytest.raises(InvalidSettings, match="password"):
        load_settings(deploy / f"{name}.yaml", {})
    secret = {"EDGETWIN_CLOUD_BROKER_PASSWORD": "x", "EDGETWIN_CLOUD_STORE_URL": "postgresql://a:b@h/d"}
    servers = load_settings(deploy / f"{name}.yaml", secret).settings.servers
    assert (servers.url, servers.gateways_port, servers.apps_port) == ("https://cloud.example:8443", 8883, 8884)


@pytest.mark.parametrize("name", ["edgetwin-cloud", "edgetwin-broker"])
def test_systemd_takes_the_units_and_finds_little_exposed(deploy, name):
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed")
    unit = deploy / f"{name}.service"
    said = run("systemd-analyze", "verify", str(unit))
    lines = [line for line in said.stderr.splitlines() if unit.name in line and "is not executable" not in line]
    assert lines == []
    level = re.search(
        r"exposure level.*?: ([\d.]+)", run("systemd-analyze", "security", "--offline=yes", str(unit)).stdout
    )
    assert float(level[1]) < 2.0


def test_haproxy_takes_its_settings(deploy):
    program = shutil.which("haproxy", path=os.environ["PATH"] + ":/usr/sbin")
    if program is None:
        pytest.skip("haproxy is not installed; tools/haproxy.sh does it")
    places = {"EDGETWIN_GATEWAYS": "127.0.0.1:1", "EDGETWIN_SHARD_1": "127.0.0.1:2", "EDGETWIN_SHARD_2": "127.0.0.1:3"}
    done = run(program, "-c", "-f", str(deploy / "haproxy.cfg"), EDGETWIN_MAXCONN="100", **places)
    assert done.returncode == 0, done.stderr


@pytest.mark.torture
@pytest.mark.timeout(300)
def test_two_brokers_behind_haproxy_serve_gateways_and_one_may_die(request):
    if shutil.which("haproxy", path=os.environ["PATH"] + ":/usr/sbin") is None:
        pytest.skip("haproxy is not installed; tools/haproxy.sh does it")
    words = [sys.executable, "-m", "tests.bench.scale_demo", "--gateways", "12"]
    done = subprocess.run(words, cwd=request.config.rootpath, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stdout + done.stderr
    first, second = re.findall(r"shard 1 has (\d+), shard 2 has (\d+)", done.stdout)
    assert sum(map(int, first)) == 12
    assert min(map(int, first)) > 0
    assert second == ("0", "12")
