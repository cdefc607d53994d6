"""A cloud of processes on PostgreSQL, which goes away and comes back."""

import time
from pathlib import Path

import pytest

from tests.cloudsync.postgres_server import PASSWORD, PostgresServer
from tests.cloudsync.process import CloudProcess, descendants
from twin.wire.enrolment import JoinToken


def wait_for(condition, timeout_s=30.0):
    ends_s = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < ends_s
        time.sleep(0.1)


@pytest.mark.torture
def test_a_cloud_lives_through_a_database_that_is_away(tmp_path):
    with PostgresServer() as server:
        cloud = CloudProcess(
            tmp_path / "state", EDGETWIN_CLOUD_STORE_URL=server.url(), EDGETWIN_CLOUD_LOG_LEVEL="debug"
        )
        cloud.run("cloud", "init")
        cloud.start()
        try:
            cloud.run("cloud", "token", "create")
            server.stop()
            wait_for(lambda: any("store" in alarm for alarm in cloud.json_status()["alarms"]))
            status, answer = cloud.fetch_json("/identity/join", b'{"secret": "x", "gateway": "gw", "csr": "x"}')
            assert (status, answer["code"]) == (400, "invalid_message")  # what needs no store is answered
            assert cloud.run("cloud", "token", "create", check=False).returncode == 5
            server.start()
            wait_for(lambda: cloud.json_status()["alarms"] == [])
            token = cloud.run("cloud", "token", "create").stdout.strip()
            joined = cloud.run("join", token, EDGETWIN_STATE=str(tmp_path / "gw"), EDGETWIN_GATEWAY_NAME="gw-1")
            assert "gw-1 has joined" in joined.stdout
            texts = [cloud.log.read_bytes(), (cloud.folder / "run" / "health.json").read_bytes()]
            for pid in descendants(cloud.process.pid):
                texts += [Path(f"/proc/{pid}/{name}").read_bytes() for name in ("cmdline", "environ")]
            canaries = [PASSWORD, PASSWORD.replace(" ", "%20"), JoinToken.read(token).secret]
            assert [one for one in canaries for text in texts if one.encode() in text] == []
        finally:
            assert cloud.stop() == 0
        assert PASSWORD not in cloud.log.read_text()
