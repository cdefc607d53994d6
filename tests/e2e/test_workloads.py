"""The cloud's own pods on two real gateways: placed, moved or kept when one is lost, never twice when it is back."""

import asyncio
import base64
import contextlib
import hashlib
import json
import os
import signal
import stat
import time
from pathlib import Path

import pytest

from cloudsync.ask.session import cloud_client
from edgehub.pods.records import try_lock
from edgehub.state import StateFolder
from tests.cloudsync.process import CloudProcess, free_ports
from tests.e2e.rig import Hub
from twin.errors import LinkError, RequestTimeout
from twin.wire.cloud_api import WorkloadsRequest

GATEWAYS = ("gw-1", "gw-2")
CANARY = "c4n4ry-of-the-clouds-secret"
SHOP = """
apiVersion: apps/v1
kind: Deployment
metadata: {namespace: plant, name: shop}
spec:
  replicas: 2
  selector: {matchLabels: {app: shop}}
  template:
    metadata: {labels: {app: shop}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
        - name: app
          image: host
          command: [sh, -c, 'echo $LEVEL $(printf %s "$WORD" | sha256sum | cut -c1-8); exec sleep 1000']
          envFrom: [{configMapRef: {name: env}}, {secretRef: {name: word}}]
---
apiVersion: v1
kind: ConfigMap
metadata: {namespace: plant, name: env}
data: {LEVEL: debug}
---
apiVersion: v1
kind: Secret
metadata: {namespace: plant, name: word}
stringData: {WORD: CANARY}
""".replace("CANARY", CANARY)
SECRET = SHOP.rpartition("---")[2]
SINGLE = """
apiVersion: v1
kind: Pod
metadata: {namespace: plant, name: NAME, annotations: {edgetwin.dev/WORD}}
spec:
  terminationGracePeriodSeconds: 1
  nodeSelector: {hall: north}
  containers: [{name: app, image: host, command: [sleep, "1000"]}]
"""
NORTH = """
apiVersion: edgetwin.dev/v1
kind: Gateway
metadata: {name: NAME, labels: {hall: north}}
"""
MOVES = SINGLE.replace("NAME", "moves").replace("WORD", "move-after: 3s")
STAYS = SINGLE.replace("NAME", "stays").replace("WORD", "when-cut-off: keep")


class Plant:
    """A cloud and its gateways."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.cloud = CloudProcess(folder / "cloud")
        self.hubs = {name: self._hub(name) for name in GATEWAYS}

    def _hub(self, name):
        environment = {
            **{key: value for key, value in self.cloud.environment.items() if not key.startswith("EDGETWIN_")},
            "EDGETWIN_STATE": str(self.folder / name),
            "EDGETWIN_BROKER_PORT": str(free_ports(1)[0]),
            "EDGETWIN_GATEWAY_NAME": name,
            "EDGETWIN_CLOUD_FIRST_DELAY": "0s",
            "EDGETWIN_CLOUD_RETRY_CAP": "1s",
            "EDGETWIN_PODS_STOP_WITH_HUB": "true",
        }
        return Hub(StateFolder(self.folder / name), environment, log=self.folder / f"{name}.log")

    def __enter__(self):
        with contextlib.ExitStack() as stack:
            self.cloud.run("cloud", "init")
            self.cloud.start()
            stack.callback(lambda: self.cloud.running and self.cloud.stop())
            for name, hub in self.hubs.items():
                token = self.cloud.json("cloud", "token", "create", "--gateway", name)["token"]
                joined = hub.run("join", token)
                assert joined.returncode == 0, joined.stderr
                hub.start()
                stack.callback(lambda hub=hub: hub.running and hub.stop())
            ends_s = time.monotonic() + 30
            while len(self.cloud.json("cloud", "get", "--kind", "gateway")["twins"]) < len(GATEWAYS):
                assert time.monotonic() < ends_s
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_):
        for hub in self.hubs.values():
            if not hub.running:
                hub.start()  # it ends the pods that a killed one has left
        for hub in self.hubs.values():
            self.settled_hub(hub)
        self._stack.close()

    def settled_hub(self, hub):
        ends_s = time.monotonic() + 20
        while hub.run("status").returncode not in (0, 1) and time.monotonic() < ends_s:
            time.sleep(0.1)

    def apply(self, *texts, verb="apply"):
        path = self.folder / "apply.yaml"
        path.write_text("\n---\n".join(texts))
        return self.cloud.run("cloud", verb, "-f", str(path))

    def shop(self):
        """Have the Deployment run; the cloud's pods."""
        self.apply(SHOP, *(NORTH.replace("NAME", name) for name in GATEWAYS))
        return self.until(lambda found: len(shops(found)) == 2 and ready(*shops(found))(found))

    def pods(self):
        """The cloud's pods by name; None while nobody answers."""

        async def ask():
            async with cloud_client(self.cloud.folder / "admin.json", timeout_s=3) as client:
                return (await client.workloads(WorkloadsRequest())).pods

        try:
            return {one.pod.removeprefix("plant/"): one.model_dump() for one in asyncio.run(ask())}
        except (RequestTimeout, LinkError):  # asked of a worker that was killed
            return None

    def until(self, fits, within_s=30.0):
        """Wait until the cloud's pods are so; what they are."""
        ends_s = time.monotonic() + within_s
        while (found := self.pods()) is None or not fits(found):
            time.sleep(0.1)
            if time.monotonic() > ends_s:
                logs = "".join(path.read_text()[-1500:] for path in self.folder.glob("*.log"))
                raise AssertionError(f"{json.dumps(found, indent=1)}\n{logs}")
        return found

    def running(self):
        """What really runs at each gateway: the pods whose program is alive."""
        found = {}
        for name in GATEWAYS:
            for record in (self.folder / name / "pods").glob("*/pod.json"):
                pod = json.loads(record.read_text())["name"]
                if any(_lives(started.parent) for started in record.parent.glob("c/*/started.json")):
                    found.setdefault(pod, []).append(name)
        return found


def _lives(container):
    """Its shim holds a lock for as long as it lives."""
    fd = try_lock(container)
    if fd is not None:
        os.close(fd)
    return fd is None


@pytest.fixture(scope="module")
def plant(tmp_path_factory):
    with Plant(tmp_path_factory.mktemp("plant")) as made:
        yield made


def ready(*names):
    return lambda found: all(name in found and found[name]["ready"] for name in names)


def shops(found):
    return {name: one["gateway"] for name, one in found.items() if name.startswith("shop-")}


def test_replicas_run_on_both_gateways_with_what_they_need(plant):
    found = plant.shop()
    assert sorted(shops(found).values()) == list(GATEWAYS)
    assert plant.running() == {name: [there] for name, there in shops(found).items()}
    for name, there in shops(found).items():
        said = plant.hubs[there].run("logs", f"plant/{name}").stdout
        assert said == f"debug {hashlib.sha256(CANARY.encode()).hexdigest()[:8]}\n"
    (deployment,) = plant.cloud.json("cloud", "deployments")["deployments"]
    assert (deployment["replicas"], deployment["ready"], deployment["placed"]) == (2, 2, 2)


def test_the_secret_is_in_plain_in_no_file_of_the_cloud_or_of_a_gateway(plant):
    plant.shop()
    plain = (CANARY.encode(), base64.b64encode(CANARY.encode()))
    (plant.folder / "apply.yaml").unlink()
    files = [path for path in plant.folder.rglob("*") if path.is_file()]
    assert {"registry.json", "cloud.db", "gw-1.log", "cloud.log", "secrets.key"} <= {path.name for path in files}
    assert [str(path) for path in files if any(one in path.read_bytes() for one in plain)] == []
    assert stat.S_IMODE((plant.cloud.folder / "secrets.key").stat().st_mode) == 0o600
    refused = plant.hubs["gw-1"].run("delete", "-f", "-", stdin=SECRET.encode())
    assert "was given by the cloud" in refused.stderr


def test_a_pod_that_fits_nowhere_says_why_and_a_deployment_is_refused_at_a_gateway(plant):
    big = SINGLE.replace("NAME", "big").replace("WORD", "when-cut-off: keep").replace("north", "west")
    plant.apply(big)
    found = plant.until(lambda found: found.get("big", {}).get("reason", "").startswith("0/"))
    assert found["big"]["reason"] == "0/2 gateways fit: 2 have not the label hall: west"
    assert "0/2 gateways fit" in plant.cloud.run("cloud", "pods").stdout
    plant.apply(big, verb="delete")
    refused = plant.hubs["gw-1"].run("apply", "-f", "-", stdin=SHOP.encode())
    assert refused.returncode == 4
    assert "a Deployment is for the cloud" in refused.stderr


def test_a_lost_gateways_pods_move_or_stay_and_nothing_runs_twice_when_it_is_back(plant):
    plant.shop()
    plant.apply(MOVES)
    first = plant.until(ready("moves"))["moves"]["gateway"]
    other = next(name for name in GATEWAYS if name != first)
    plant.apply(STAYS.replace("nodeSelector: {hall: north}", f"nodeSelector: {{kubernetes.io/hostname: {first}}}"))
    before = plant.until(ready("moves", "stays", *shops(plant.pods())))
    plant.hubs[first].kill()
    moved = plant.until(lambda found: found["moves"]["gateway"] == other and found["moves"]["ready"])
    assert moved["moves"]["may_run_at"] == [first]
    assert moved["stays"]["gateway"] == first
    assert moved["stays"]["cut_off"]
    assert shops(moved) == shops(before)
    assert plant.running()["moves"] == sorted(GATEWAYS)  # pods outlive their hub: this is what the record is for
    plant.hubs[first].start()
    back = plant.until(
        lambda found: (
            ready("moves", "stays", *shops(before))(found) and not any(one["may_run_at"] for one in found.values())
        )
    )
    assert {name: one["gateway"] for name, one in back.items()} == {
        **{name: one["gateway"] for name, one in before.items()},
        "moves": other,
    }
    assert plant.running() == {name: [one["gateway"]] for name, one in back.items()}
    log = plant.cloud.json("cloud", "audit", "--account", "scheduler")["entries"]
    assert any("it may run there until it is back" in one["what"] for one in log)


@pytest.mark.torture
def test_a_new_template_replaces_all_and_a_killed_worker_is_no_matter(plant):
    before = shops(plant.shop())
    plant.apply(SHOP.replace("$LEVEL", "two"))
    worker = next(pid for name, pid in plant.cloud.children().items() if name.startswith("worker"))
    os.kill(worker, signal.SIGKILL)
    plant.until(
        lambda found: (
            len(shops(found)) == 2 and not before.keys() & shops(found).keys() and ready(*shops(found))(found)
        ),
        within_s=60,
    )
    plant.apply(SHOP, verb="delete")
    plant.until(lambda found: not shops(found), within_s=60)
    assert not [name for name in plant.running() if name.startswith("shop-")]
