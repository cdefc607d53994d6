"""Pods of images on a whole gateway, run by a podman of the hub's own."""

import asyncio
import os
import signal
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import kr8s.asyncio
import pytest

from edgehub.pods.podman.conf import PodmanPlace
from tests.e2e.rig import Hub, until
from tests.e2e.test_pods import alive, apply, becomes, starts
from tests.edgehub.pods.own_podman import IMAGE, busybox_image, missing, removed
from twin.errors import InvalidDocuments
from twin.wire.api import ApplyMode

POD = """
apiVersion: v1
kind: Pod
metadata: {name: NAME}
spec:
  terminationGracePeriodSeconds: 5
  volumes: [{name: page, emptyDir: {}}, {name: login, secret: {secretName: login}}]
  initContainers:
  - name: prepare
    image: IMAGE
    command: [sh, -c, 'echo hello from $NAME > /page/index.html']
    env: [{name: NAME, valueFrom: {fieldRef: {fieldPath: metadata.name}}}]
    volumeMounts: [{name: page, mountPath: /page}]
  containers:
  - name: app
    image: IMAGE
    command: [sh, -c]
    args: ['trap "exit 0" TERM; httpd -p 8080 -h /page; echo up; while :; do sleep 0.1; done']
    ports: [{name: http, containerPort: 8080}]
    readinessProbe: {httpGet: {port: http, path: /index.html}, periodSeconds: 1}
    volumeMounts: [{name: page, mountPath: /page}, {name: login, mountPath: /login}]
---
apiVersion: v1
kind: Secret
metadata: {name: login}
stringData: {password: hunter2}
"""


SERVICE = """
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {app: web}, ports: [{port: 80, targetPort: http}]}
"""
HOST_POD = """
apiVersion: v1
kind: Pod
metadata: {name: host}
spec:
  hostNetwork: true
  automountServiceAccountToken: true
  terminationGracePeriodSeconds: 1
  containers: [{name: app, image: IMAGE, command: [sh, -c, 'trap "exit 0" TERM; while :; do sleep 0.1; done']}]
""".replace("IMAGE", IMAGE)


def pod(name: str) -> str:
    return POD.replace("NAME}", f"{name}}}", 1).replace("IMAGE", IMAGE)


@pytest.fixture
async def podman_hub(stopped_hub: Hub) -> AsyncIterator[Hub]:
    """A gateway with an image, whose podman goes with the test."""
    if why := missing():
        pytest.skip(why)
    place = PodmanPlace.of(stopped_hub.folder.podman)
    place.make()
    podman(place, "import", "-", IMAGE, data=busybox_image())
    stopped_hub.environment["EDGETWIN_PODS_PODMAN_SUBNET"] = "10.86.250.0/24"
    stopped_hub.start()
    await stopped_hub.ready()
    yield stopped_hub
    if stopped_hub.running:
        stopped_hub.stop()
    podman(place, "pod", "rm", "--all", "--force", "--time", "0")
    podman(place, "rm", "--all", "--force", "--time", "0")
    removed(place)


def podman(place: PodmanPlace, *words: str, data: bytes = b"") -> str:
    environment = {**os.environ, **place.environment}
    done = subprocess.run(["podman", *words], env=environment, input=data, capture_output=True, check=True)
    return done.stdout.decode()


async def test_a_pod_of_an_image_on_a_gateway(podman_hub: Hub) -> None:
    await apply(podman_hub, pod("web"))
    await becomes(podman_hub, "web", ready=True)  # the probe has reached the pod's own address
    (record,) = running(podman_hub)
    assert podman_hub.run("logs", "web", "-c", "app").stdout == "up\n"
    done = podman_hub.run("exec", "web", "-c", "app", "--", "sh", "-c", "cat /page/index.html /login/password; exit 9")
    assert (done.returncode, done.stdout) == (9, "hello from web\nhunter2")
    held = [one for one in podman_hub.folder.path.rglob("*") if one.is_file() and b"hunter2" in one.read_bytes()]
    assert held == []

    service = service_of(podman_hub)
    os.kill(service, signal.SIGKILL)
    podman_hub.kill()
    podman_hub.start()
    await podman_hub.ready()
    await becomes(podman_hub, "web", ready=True, restarts=0)
    assert running(podman_hub) == [record]
    assert podman_hub.run("exec", "web", "-c", "app", "--", "true").returncode == 0

    os.kill(record.pid, signal.SIGKILL)
    await becomes(podman_hub, "web", ready=True, restarts=1)
    assert not alive(record)

    await apply(podman_hub, pod("web"), mode=ApplyMode.DELETE)
    await until(lambda: None if starts(podman_hub) else True, 20)
    place = PodmanPlace.of(podman_hub.folder.podman)
    assert podman(place, "ps", "--all", "--quiet") == podman(place, "pod", "ps", "--quiet") == ""


async def test_the_kubernetes_api_knows_the_address_of_a_pod_and_one_in_the_gateways_network_finds_it(
    podman_hub: Hub, free_port
) -> None:
    podman_hub.stop()
    port = free_port()
    podman_hub.environment["EDGETWIN_KUBE_API_LISTEN"] = f"127.0.0.1:{port}"
    podman_hub.start()
    await podman_hub.ready()
    await apply(podman_hub, pod("web").replace("{name: web}", "{name: web, labels: {app: web}}"), SERVICE, HOST_POD)
    await becomes(podman_hub, "web", ready=True)
    await becomes(podman_hub, "host", ready=True)
    inside = podman_hub.run("exec", "host", "--", "cat", "/var/run/secrets/kubernetes.io/serviceaccount/namespace")
    assert inside.stdout == "default"
    assert podman_hub.run("exec", "host", "--", "sh", "-c", "echo $KUBERNETES_SERVICE_PORT").stdout == f"{port}\n"
    api = await kr8s.asyncio.api(kubeconfig=str(podman_hub.folder.kube_api / "kubeconfig"))
    try:
        async with asyncio.timeout(30):
            while True:
                (found,) = [one async for one in api.get("endpoints", "web")]
                if found.raw["subsets"] and "addresses" in found.raw["subsets"][0]:
                    break
                await asyncio.sleep(0.05)
        (address,) = found.raw["subsets"][0]["addresses"]
        assert address["ip"].startswith("10.86.250.")
        (shown,) = [one async for one in api.get("pods", "web")]
        assert shown.raw["status"]["podIP"] == address["ip"]
        assert shown.raw["status"]["hostIP"] != address["ip"]
    finally:
        await api._session.aclose()


def running(hub: Hub) -> list:
    return [record for place, record in starts(hub).items() if place.endswith("/app")]


def service_of(hub: Hub) -> int:
    socket = f"unix://{PodmanPlace.of(hub.folder.podman).socket}"
    found = [int(one.parent.name) for one in Path("/proc").glob("[0-9]*/cmdline") if socket in words(one)]
    assert len(found) == 1
    return found[0]


def words(cmdline: Path) -> list[str]:
    try:
        return cmdline.read_bytes().decode(errors="replace").split("\0")
    except OSError:
        return []


async def test_a_gateway_without_podman_says_what_to_install_and_runs_the_rest(
    stopped_hub: Hub,
) -> None:
    stopped_hub.environment["EDGETWIN_PODS_PODMAN_PROGRAM"] = "/nowhere/podman"
    stopped_hub.environment["EDGETWIN_PODS_STOP_WITH_HUB"] = "true"
    stopped_hub.start()
    await stopped_hub.ready()
    await apply(
        stopped_hub,
        pod("web"),
        "apiVersion: v1\nkind: Pod\nmetadata: {name: own}\nspec:\n"
        "  containers: [{name: app, image: host, command: [sh, -c, 'sleep 1000']}]\n  terminationGracePeriodSeconds: 1",
    )
    told = await becomes(stopped_hub, "web", phase="Pending", reason="CreateContainerError")
    if os.geteuid() == 0:
        assert "the program /nowhere/podman, which is not installed" in str(told["message"])
    await becomes(stopped_hub, "own", ready=True)
    with pytest.raises(InvalidDocuments, match=r"spec.initContainers\[0\].image"):
        await apply(stopped_hub, pod("web").replace("spec:\n", "spec:\n  runtimeClassName: process\n", 1))
    assert stopped_hub.stop() == 0
    assert starts(stopped_hub) == {}


MESH_NETWORK = "10.87.251.0/24"


async def test_a_pod_with_a_network_of_its_own_asks_the_mesh_for_names_and_reaches_services(podman_hub: Hub) -> None:
    podman_hub.stop()
    podman_hub.environment |= {
        "EDGETWIN_MESH_ENABLED": "auto",
        "EDGETWIN_MESH_PLANE": "userspace",
        "EDGETWIN_MESH_ADDRESSES": MESH_NETWORK,
    }
    podman_hub.start()
    await podman_hub.ready()
    try:
        await apply(podman_hub, SERVICE)
        text = pod("web").replace("name: web}", "name: web, labels: {app: web}}", 1)
        await apply(podman_hub, text)
        await becomes(podman_hub, "web", ready=True)

        def inside(command: str) -> str:
            return podman_hub.run("exec", "web", "-c", "app", "--", "sh", "-c", command).stdout

        settings = await asyncio.to_thread(inside, "cat /etc/resolv.conf")
        assert "nameserver 10.87.251.10" in settings
        assert "search default.svc.cluster.local svc.cluster.local cluster.local" in settings
        address = (await asyncio.to_thread(inside, "echo $WEB_SERVICE_HOST")).strip()
        assert address.startswith("10.87.251.")
        found = await asyncio.to_thread(inside, "nslookup web.default.svc.cluster.local")
        assert address in found, found
        fetch = f"printf 'GET /index.html HTTP/1.0\\r\\n\\r\\n' | nc {address} 80"
        told = await asyncio.to_thread(inside, fetch)
        assert told.endswith("hello from web\n"), (told, podman_hub.run("mesh", "routes", "--endpoints").stdout)
    finally:
        await asyncio.to_thread(subprocess.run, ["ip", "route", "del", "local", MESH_NETWORK, "dev", "lo"], check=False)
