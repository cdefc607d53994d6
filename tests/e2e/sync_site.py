"""A cloud, a line and a gateway that has joined over it: all of them processes and sockets as a user has them."""

import contextlib
import json
import time
from pathlib import Path

from cloudsync.ask.session import cloud_client
from cloudsync.store.opening import open_store
from edgehub.state import StateFolder
from tests.cloudsync.process import CloudProcess, free_ports
from tests.e2e.line import Line
from tests.e2e.rig import Hub
from twin.clock import SystemClock
from twin.errors import RequestTimeout

DOCUMENTS = """
apiVersion: edgetwin.dev/v1
kind: DeviceModel
metadata: {namespace: plant, name: tank}
spec:
  properties:
    - {name: valve, type: INT, accessMode: ReadWrite}
    - {name: mode, type: INT, accessMode: ReadWrite}
    - {name: level, type: FLOAT, history: {keep: all}}
"""
DEVICE = """
---
apiVersion: edgetwin.dev/v1
kind: Device
metadata: {namespace: plant, name: NAME}
spec: {deviceModelRef: {name: tank}, gateway: gw-1}
"""


def devices(*names):
    return DOCUMENTS + "".join(DEVICE.replace("NAME", name) for name in names)


class SyncSite:
    def __init__(self, folder: Path, **cloud_settings: str):
        self.folder = folder
        (self.gateways_port,) = free_ports(1)
        self.cloud = CloudProcess(folder / "cloud", **cloud_settings)
        self.line = Line(self.cloud.gateways_port)
        environment = {
            **{name: value for name, value in self.cloud.environment.items() if not name.startswith("EDGETWIN_")},
            "EDGETWIN_STATE": str(folder / "gateway"),
            "EDGETWIN_BROKER_PORT": str(free_ports(1)[0]),
            "EDGETWIN_GATEWAY_NAME": "gw-1",
            "EDGETWIN_CLOUD_FIRST_DELAY": "0s",
            "EDGETWIN_CLOUD_RETRY_CAP": "1s",
            "EDGETWIN_PODS_STOP_WITH_HUB": "true",
            "EDGETWIN_MESH_ENABLED": "off",  # it would take addresses of the machine's
        }
        self.hub = Hub(StateFolder(folder / "gateway"), environment, log=folder / "hub.log")

    def __enter__(self):
        with contextlib.ExitStack() as stack:
            stack.enter_context(self.line)
            self.cloud.environment["EDGETWIN_CLOUD_PUBLIC_GATEWAYS_PORT"] = str(self.line.port)
            self.cloud.run("cloud", "init")
            self.cloud.start()
            stack.callback(lambda: self.cloud.running and self.cloud.stop())
            token = self.cloud.json("cloud", "token", "create", "--gateway", "gw-1")["token"]
            joined = self.hub.run("join", token)
            assert joined.returncode == 0, joined.stderr
            self.hub.start()
            stack.callback(lambda: self.hub.running and self.hub.stop())
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_):
        self._stack.close()

    def apply(self, text):
        done = self.hub.run("apply", "-f", "-", stdin=text.encode())
        assert done.returncode == 0, done.stderr

    def apply_in_cloud(self, text):
        path = self.folder / "cloud-apply.yaml"
        path.write_text(text)
        return self.cloud.run("cloud", "apply", "-f", str(path))

    @contextlib.asynccontextmanager
    async def users(self):
        """Clients of both sides: the gateway's and the cloud's."""
        async with self.hub.client() as edge, cloud_client(self.cloud.folder / "admin.json", timeout_s=2.0) as cloud:
            yield edge, cloud

    def sync(self):
        """What status says of the session; None while nobody answers."""
        done = self.hub.run("status", "--json")
        return json.loads(done.stdout)["sync"] if done.returncode in (0, 1) else None

    def live(self, within_s=30.0):
        ends_s = time.monotonic() + within_s
        found = None
        while time.monotonic() < ends_s:
            found = self.sync()
            if found and found["state"] == "live" and not found["unsent"]:
                return found
        raise AssertionError(
            f"not live: {found}\n{self.hub.log.read_text()[-2000:]}\n{self.cloud.log.read_text()[-2000:]}"
        )


def shown(twin):
    """What both sites must agree on."""
    return (
        twin.uid,
        twin.labels,
        {name: (leaf.value, leaf.by) for name, leaf in twin.desired.items()},
        {name: (leaf.value, leaf.by, leaf.at) for name, leaf in twin.reported.items()},
    )


async def all_twins(client):
    kinds = ("device", "pod", "route")
    return {twin.twin: shown(twin) for kind in kinds async for twin in client.list(kind=kind)}


@contextlib.asynccontextmanager
async def in_cloud(site):
    """A transaction on the gateway's rows in the cloud, as later parts make them."""
    store = open_store(f"sqlite:///{site.cloud.folder / 'cloud.db'}", SystemClock())
    await store.open()
    try:
        async with store.transaction("gw-1") as tx:
            yield tx
    finally:
        await store.close()


def unlabelled(twins):
    """Without the labels of pods, which are those of their documents and not of their twins in the cloud."""
    return {key: (one[0], *one[2:]) if key.startswith("pod/") else one for key, one in twins.items()}


async def equal(edge, cloud, within_s=5.0):
    """Wait until both sites show the same twins; how long that took."""
    began_s = time.monotonic()
    ours, theirs = {}, {"nothing": None}
    while True:
        with contextlib.suppress(RequestTimeout):  # asked of a worker that was killed
            ours, theirs = unlabelled(await all_twins(edge)), unlabelled(await all_twins(cloud))
        took_s = time.monotonic() - began_s
        if ours == theirs:
            return took_s
        if took_s > within_s:
            differ = {key: (ours.get(key), theirs.get(key)) for key in ours.keys() | theirs.keys()}
            raise AssertionError({key: both for key, both in differ.items() if both[0] != both[1]})
