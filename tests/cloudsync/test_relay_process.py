"""The relay of a real cloud, for gateways that joined it: a service over it, kill -9, revocation."""

import asyncio
import os
import random
import signal
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from edgehub.cloud_keys import CloudKeys
from edgehub.enrolment import join
from mesh.model.policies import Policy
from mesh.settings import TunnelFiles
from mesh.tunnel.tunnel import Tunnel
from tests.cloudsync.process import CloudProcess, free_ports
from tests.mesh.raw_rig import echo, read_all, rig, settled, until
from twin.wire.enrolment import JoinToken

KEY_WAIT_S = 20.0


@pytest.fixture
def cloud(tmp_path):
    (port,) = free_ports(1)
    made = CloudProcess(tmp_path / "state", EDGETWIN_CLOUD_RELAY_LISTEN=f"127.0.0.1:{port}")
    made.relay = f"localhost:{port}"
    made.run("cloud", "init")
    made.start()
    yield made
    assert made.stop() == 0, made.log.read_text()


async def joined(cloud, name: str, folder: Path) -> TunnelFiles:
    """A gateway of this name: what its tunnel is told."""
    token = cloud.json("cloud", "token", "create", "--gateway", name)["token"]
    keys = CloudKeys(folder / name)
    await join(JoinToken.read(token), name, keys)
    return TunnelFiles(certificate=str(keys.pair), key=str(keys.pair), authority=str(keys.ca), relay=cloud.relay)


def relay_pid(cloud) -> int:
    for child in psutil.Process(cloud.process.pid).children():
        with suppress(psutil.Error):  # it has ended in this moment
            if "cloudsync.relay_child" in child.cmdline():
                return child.pid
    return 0


async def test_gateways_meet_at_the_clouds_relay(cloud, tmp_path: Path) -> None:
    loop = asyncio.get_running_loop()
    async with rig() as mesh, rig() as there:
        at_a = Tunnel(await joined(cloud, "gw-a", tmp_path), "gw-a", mesh.upstreams, random.Random(1), loop.time)
        at_b = Tunnel(await joined(cloud, "gw-b", tmp_path), "gw-b", there.upstreams, random.Random(2), loop.time)
        assert [await at_a.open(), await at_b.open()] == ["", ""]
        mesh.raw.dialer = at_a.dialer
        endpoint = replace(await there.server(echo), node="gw-b")
        there.endpoints(endpoint)
        port = await mesh.service(replace(endpoint, via="gw-b"), policy=Policy(outlier=None))
        sent = os.urandom(1 << 20)
        await _answers(port)
        assert await read_all(port, sent) == sent

        before = relay_pid(cloud)
        os.kill(before, signal.SIGKILL)
        await until(lambda: relay_pid(cloud) not in (0, before))
        await _answers(port)
        assert await read_all(port, sent) == sent

        await asyncio.to_thread(cloud.run, "cloud", "gateway", "revoke", "gw-a")
        began_s = time.monotonic()
        await _refuses(port)
        assert time.monotonic() - began_s < 5
        await at_a.close()
        await at_b.close()
        await settled()


async def _answers(port: int) -> None:
    async with asyncio.timeout(KEY_WAIT_S):
        while True:
            try:
                assert await read_all(port, b"?") == b"?"
            except ConnectionResetError:
                continue
            return


async def _refuses(port: int) -> None:
    async with asyncio.timeout(KEY_WAIT_S):
        while True:
            try:
                await read_all(port, b"?")
            except ConnectionResetError:
                return
