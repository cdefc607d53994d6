"""The local Kubernetes API of a whole gateway, with the clients that people use: kubectl, kr8s, and Python in a pod."""

import asyncio
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, suppress
from pathlib import Path
from typing import Any

import httpx
import kr8s.asyncio
import pytest
from kr8s.asyncio.objects import Pod

from tests.e2e.rig import DOCUMENTS, Device, Hub, until
from tests.e2e.test_pods import STEADY, apply, pod, shims_of
from twin.wire.api import ApplyMode

KUBECTL = [path for path in (shutil.which("kubectl"), os.environ.get("EDGETWIN_TEST_KUBECTL")) if path]
needs_kubectl = pytest.mark.skipif(not KUBECTL, reason="kubectl is not here; tools/peers.sh installs it as root")
SERVICE = """
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {app: web}, ports: [{name: http, port: 80, targetPort: 8080}]}
"""
SECRET = "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\nstringData: {password: hunter2}\n"
IN_CLUSTER = """
import json, os, ssl, urllib.request
folder = "/var/run/secrets/kubernetes.io/serviceaccount"
if "KUBECONFIG" in os.environ:
    folder = os.path.dirname(os.environ["KUBECONFIG"])
token, namespace = (open(f"{folder}/{name}").read() for name in ("token", "namespace"))
host, port = os.environ["KUBERNETES_SERVICE_HOST"], os.environ["KUBERNETES_SERVICE_PORT"]
context = ssl.create_default_context(cafile=f"{folder}/ca.crt")
request = urllib.request.Request(f"https://{host}:{port}/api/v1/namespaces/{namespace}/pods")
request.add_header("Authorization", "Bearer " + token)
found = json.load(urllib.request.urlopen(request, context=context))
print("found", *(one["metadata"]["name"] for one in found["items"]), flush=True)
import time
time.sleep(1000)
"""
LISTER = """
apiVersion: v1
kind: Pod
metadata: {name: lister}
spec:
  automountServiceAccountToken: true
  terminationGracePeriodSeconds: 1
  containers:
  - {name: app, image: host, command: [PYTHON, -c, 'exec(open("SCRIPT").read())']}
"""


@pytest.fixture
async def kube(stopped_hub: Hub, free_port: Callable[[], int]) -> AsyncIterator[Hub]:
    """A running gateway with the API; its pods are ended with the test."""
    stopped_hub.environment["EDGETWIN_KUBE_API_LISTEN"] = f"127.0.0.1:{free_port()}"
    stopped_hub.environment["EDGETWIN_PODS_STOP_WITH_HUB"] = "true"
    stopped_hub.start()
    await stopped_hub.ready()
    yield stopped_hub
    if stopped_hub.running:
        stopped_hub.stop()
    while shims := shims_of(stopped_hub):
        for pid in shims:
            with suppress(ProcessLookupError):
                os.kill(pid, 9)
        await asyncio.sleep(0.05)


@pytest.fixture(params=KUBECTL)
def kubectl(request: Any, kube: Hub) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs a kubectl with the kubeconfig of the gateway."""

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        config = str(kube.folder.kube_api / "kubeconfig")
        home = str(kube.folder.path / "home")  # it keeps what it discovers there
        environment = {**os.environ, "KUBECONFIG": config, "HOME": home}
        command = [request.param, *arguments]
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)

    return run


@pytest.fixture
async def api(kube: Hub) -> AsyncIterator[Any]:
    """kr8s on the gateway's API."""
    made = await kr8s.asyncio.api(kubeconfig=str(kube.folder.kube_api / "kubeconfig"))
    yield made
    if made._session is not None:  # it has no way to be closed
        await made._session.aclose()


def labelled(name: str, script: str = STEADY) -> str:
    return pod(name, script).replace(f"{{name: {name}}}", f"{{name: {name}, labels: {{app: web}}}}")


def plant(device: Device) -> str:
    return DOCUMENTS.replace("${PORT}", str(device.port))


async def shows(api: Any, flow: str) -> None:
    """Wait until the device v1 has this flow."""
    async with asyncio.timeout(30):
        while True:
            (one,) = [one async for one in api.get("devices.devices.kubeedge.io", "v1")]
            if f"'value': '{flow}'" in str(one.raw["status"]):
                return
            await asyncio.sleep(0.05)


async def ready(api: Any, name: str) -> None:
    async with asyncio.timeout(30):
        while True:
            found = [one async for one in api.get("pods", name)] if await has(api, name) else []
            if found and await found[0].ready():
                return
            await asyncio.sleep(0.05)


async def has(api: Any, name: str) -> bool:
    return name in [one.name async for one in api.get("pods")]


@needs_kubectl
async def test_kubectl_lists_gets_and_describes(kube, device: Device, kubectl, api) -> None:
    device.set_input(0, 17)
    await apply(kube, labelled("web"), SERVICE, SECRET, plant(device))
    await ready(api, "web")
    await shows(api, "17")
    done = kubectl("get", "pods,svc,endpoints,cm,devices,endpointslices,nodes,ns", "-A")
    assert done.returncode == 0, done.stderr
    assert re.search(r"default +pod/web +1/1 +Running +0", done.stdout)
    assert re.search(r"default +service/web +ClusterIP", done.stdout)
    assert re.search(r"endpoints/web +[0-9.]+:8080", done.stdout)
    assert re.search(r"/v1 +valve ", done.stdout)
    assert "node/gw-test" in done.stdout
    listed = json.loads(kubectl("get", "pods", "-o", "json").stdout)
    assert [one["status"]["phase"] for one in listed["items"]] == ["Running"]
    assert kubectl("get", "pods", "-l", "app in (web)", "-o", "name").stdout == "pod/web\n"
    assert kubectl("get", "pods", "--field-selector", "status.phase=Failed", "-o", "name").stdout == ""
    assert "Ready             True" in kubectl("describe", "pod", "web").stdout
    device = json.loads(kubectl("get", "devices", "v1", "-o", "json").stdout)
    twins = {one["propertyName"]: one for one in device["status"]["twins"]}
    assert twins["flow"]["reported"]["value"] == "17"
    raw = kubectl("get", "--raw", "/api/v1/namespaces/default/pods?limit=1")
    assert json.loads(raw.stdout)["items"][0]["metadata"]["name"] == "web"


@needs_kubectl
async def test_kubectl_is_told_what_is_not_served(kube, kubectl) -> None:
    await apply(kube, labelled("web"), SECRET)
    for arguments, text in (
        (("get", "secrets", "-A"), "doesn't have a resource type"),
        (("get", "--raw", "/api/v1/secrets"), "could not find the requested resource"),
        (("delete", "pod", "web"), "this API is read-only"),
        (("label", "pod", "web", "a=b"), "this API is read-only"),
        (("get", "pods", "missing"), '"missing" not found'),
        (("get", "pods", "-l", "a in (b"), "unable to parse requirement"),
        (("get", "pods", "--field-selector", "spec.x=1"), "field label not supported"),
    ):
        done = kubectl(*arguments)
        assert done.returncode != 0, arguments
        assert text in done.stderr, (arguments, done.stderr)
    wrong = kubectl("get", "pods", "--token", "wrong")
    assert "Unauthorized" in wrong.stderr or "must be logged in" in wrong.stderr


@needs_kubectl
@pytest.mark.parametrize("program", KUBECTL)
async def test_kubectl_watches(kube, program: str) -> None:
    await apply(kube, labelled("one"))
    watching = await asyncio.create_subprocess_exec(
        *(program, "get", "pods", "-w", "--kubeconfig", str(kube.folder.kube_api / "kubeconfig")),
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "HOME": str(kube.folder.path)},
    )
    try:
        assert watching.stdout is not None
        async with asyncio.timeout(60):
            assert (await watching.stdout.readline()).split()[0] == b"NAME"
            assert (await watching.stdout.readline()).split()[0] == b"one"
            await apply(kube, labelled("two"))
            while (line := (await watching.stdout.readline()).split())[:3] != [b"two", b"1/1", b"Running"]:
                assert line[0] in (b"one", b"two")
    finally:
        watching.kill()
        await watching.communicate()


@needs_kubectl
async def test_every_kubectl_line_of_the_page_runs(kube, kubectl) -> None:
    page = Path("docs/edge-kube-api.md").read_text(encoding="utf-8")
    lines = re.findall(r"^\$ kubectl (.+)$", page, re.MULTILINE)
    assert len(lines) >= 5
    assert kube.run("apply", "-f", "docs/examples/pod.yaml").returncode == 0
    assert kube.run("kubeconfig").stdout == f"{kube.folder.kube_api / 'kubeconfig'}\n"
    assert json.loads(kube.run("kubeconfig", "--show").stdout)["kind"] == "Config"
    for line in lines:
        words = shlex.split(line)
        if "--watch" in words:
            words.append("--request-timeout=1s")  # or it would not end
        done = kubectl(*words)
        assert done.returncode == 0, f"{line}\n{done.stderr}"


async def test_kr8s_lists_gets_and_watches(kube, device: Device, api) -> None:
    await apply(kube, labelled("web"), SERVICE, plant(device))
    await ready(api, "web")
    assert (await Pod.get("web", namespace="default", api=api)).raw["status"]["phase"] == "Running"
    names = [one.name async for one in api.get("pods", label_selector={"app": "web"})]
    assert names == ["web"]
    assert [one.name async for one in api.get("devices.devices.kubeedge.io")] == ["free", "v1"]
    async with asyncio.timeout(30), aclosing(api.watch("devices.devices.kubeedge.io", namespace="default")) as events:
        async for type_, one in events:
            if one.name == "v1" and type_ in ("ADDED", "MODIFIED"):
                values = {twin["propertyName"]: twin.get("reported", {}) for twin in one.raw["status"]["twins"]}
                if values.get("flow", {}).get("value") == "42":
                    break
            device.set_input(0, 42)


async def test_a_client_goes_on_after_the_hub_was_killed(kube, api) -> None:
    await apply(kube, labelled("web"), SERVICE)
    await ready(api, "web")
    seen: list[tuple[str, str]] = []

    async def follow() -> None:
        """What any informer does: list, watch, and begin anew when that ends."""
        while True:
            with suppress(httpx.TransportError, kr8s.ServerError):
                seen.extend([("LISTED", one.name) async for one in api.get("pods")])
                async with aclosing(api.watch("pods", namespace="default")) as events:
                    async for type_, one in events:
                        seen.append((type_, one.name))
            await asyncio.sleep(0.1)

    following = asyncio.create_task(follow())
    try:
        await until(lambda: seen or None, 20)
        kube.kill()
        seen.clear()
        kube.start()
        await kube.ready()
        await until(lambda: ("LISTED", "web") in seen or None, 30)
        await apply(kube, labelled("two"))
        await until(lambda: any(name == "two" for _, name in seen) or None, 30)
    finally:
        following.cancel()
        with suppress(asyncio.CancelledError):
            await following


async def test_a_program_in_a_pod_finds_the_api(kube, tmp_path) -> None:
    script = tmp_path / "in_cluster.py"
    script.write_text(IN_CLUSTER)
    await apply(kube, LISTER.replace("PYTHON", sys.executable).replace("SCRIPT", str(script)))
    said = await until(lambda: log_of(kube), 30, lambda: log_of(kube) or "")
    assert said == "found lister\n"
    async with kube.client() as asking:
        uid = (await asking.get("pod/default/lister")).uid
    token = Path(f"/dev/shm/edgetwin-{uid}/edgetwin-kube-api/token")
    good = await ask(kube, token.read_text())
    assert good == 200
    known = token.read_text()
    await apply(kube, LISTER, mode=ApplyMode.DELETE)
    assert await ask(kube, known) == 401, "its token is good as long as the pod"
    await until(lambda: None if token.exists() else True, 30)


async def test_a_pod_that_asks_for_an_api_that_is_off_says_so(stopped_hub: Hub) -> None:
    stopped_hub.environment["EDGETWIN_PODS_STOP_WITH_HUB"] = "true"
    stopped_hub.start()
    await stopped_hub.ready()
    await apply(stopped_hub, LISTER)
    async with stopped_hub.client() as asking, asyncio.timeout(30):
        while True:
            told = (await asking.get("pod/default/lister")).reported
            if "message" in told and "which is off" in str(told["message"].value):
                break
            await asyncio.sleep(0.05)
    done = stopped_hub.run("kubeconfig")
    assert done.returncode == 3
    assert "Set kube_api.listen" in done.stderr


async def test_a_port_that_is_taken_leaves_an_alarm_and_is_tried_again(stopped_hub: Hub, free_port) -> None:
    port = free_port()
    taken = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", port)
    stopped_hub.environment["EDGETWIN_KUBE_API_LISTEN"] = f"127.0.0.1:{port}"
    stopped_hub.start()
    await stopped_hub.ready()
    async with stopped_hub.client() as asking:
        assert any("Kubernetes API cannot listen" in alarm for alarm in (await asking.status()).alarms)
        taken.close()
        await taken.wait_closed()
        async with asyncio.timeout(20):
            while True:
                if not (await asking.status()).alarms:
                    break
                await asyncio.sleep(0.1)
    assert await ask(stopped_hub, (stopped_hub.folder.kube_api / "token").read_text()) == 200


def log_of(hub: Hub) -> str | None:
    for path in hub.folder.pods.glob("*/c/app/log"):
        if text := path.read_text():
            return text
    return None


async def ask(hub: Hub, token: str) -> int:
    """The code of one request with a token."""
    done = await asyncio.create_subprocess_exec(
        *("curl", "-s", "-o", "/dev/null", "-w", "%{http_code}"),
        *("--cacert", str(hub.folder.kube_api / "ca.crt"), "-H", f"Authorization: Bearer {token}"),
        f"https://{hub.environment['EDGETWIN_KUBE_API_LISTEN']}/api/v1/pods",
        stdout=asyncio.subprocess.PIPE,
    )
    out, _ = await done.communicate()
    return int(out)
