"""Pods on a whole gateway: they outlive their hub, come back from disk, and say what is wrong with them."""

import asyncio
import contextlib
import json
import os
import random
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from edgehub.pods.records import StartRecord, read
from tests.e2e.rig import Hub, until
from twin.client import TwinClient
from twin.errors import EdgetwinError, InvalidDocuments
from twin.wire.api import ApplyMode, DocumentSource

POD = """
apiVersion: v1
kind: Pod
metadata: {name: NAME}
spec:
  terminationGracePeriodSeconds: 5
  restartPolicy: RESTART
  containers:
  - name: app
    image: host
    command: [sh, -c, 'SCRIPT']
"""
STEADY = "echo up; while :; do sleep 0.1; done"
KILLS = [
    pytest.param(4, id="4"),
    pytest.param(60, id="60", marks=[pytest.mark.torture, pytest.mark.timeout(1200)]),
]


def pod(name: str, script: str = STEADY, *, restart: str = "Always") -> str:
    return POD.replace("NAME", name).replace("SCRIPT", script).replace("RESTART", restart)


async def apply(hub: Hub, *texts: str, mode: ApplyMode = ApplyMode.APPLY) -> None:
    async with hub.client() as client:
        await client.apply([DocumentSource(name="pods.yaml", text="\n---\n".join(texts))], mode=mode)


async def reported(client: TwinClient, name: str) -> dict[str, object]:
    twin = await client.get(f"pod/default/{name}")
    return {key: leaf.value for key, leaf in twin.reported.items()}


async def becomes(hub: Hub, name: str, **wanted: object) -> dict[str, object]:
    """Wait until the pod's twin says all of this."""
    last: dict[str, object] = {}
    async with asyncio.timeout(30), hub.client() as client:
        while not wanted.items() <= last.items():
            last = await reported(client, name)
            await asyncio.sleep(0.05)
    return last


def starts(hub: Hub) -> dict[str, StartRecord]:
    """What the shims wrote down, by container folder."""
    found = {str(path.parent): read(StartRecord, path) for path in hub.folder.pods.glob("*/c/*/started.json")}
    return {place: record for place, record in found.items() if record is not None}


def alive(record: StartRecord) -> bool:
    return Path(f"/proc/{record.pid}").exists()


@pytest.fixture
async def pod_hub(stopped_hub: Hub) -> AsyncIterator[Hub]:
    """A running gateway whose pods are ended with the test."""
    stopped_hub.start()
    await stopped_hub.ready()
    yield stopped_hub
    if stopped_hub.running:
        stopped_hub.kill()
    while shims := shims_of(stopped_hub):  # one may have been on its way
        for pid in shims:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        await asyncio.sleep(0.05)


def shims_of(hub: Hub) -> list[int]:
    """The shims of this gateway, by the folder in their command line."""
    mark = str(hub.folder.pods).encode() + b"/"
    found = []
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if entry.name.isdigit() and mark in (entry / "cmdline").read_bytes():
                found.append(int(entry.name))
    return found


async def test_pods_outlive_a_killed_hub_and_are_found_again_unchanged(pod_hub: Hub) -> None:
    await apply(pod_hub, *(pod(f"p{number}") for number in range(5)))
    for number in range(5):
        await becomes(pod_hub, f"p{number}", phase="Running", ready=True)
    before = starts(pod_hub)
    assert len(before) == 5
    pod_hub.kill()
    assert all(alive(record) for record in before.values())
    pod_hub.start()
    await pod_hub.ready()
    await apply(pod_hub, *(pod(f"p{number}") for number in range(5)))
    for number in range(5):
        assert (await becomes(pod_hub, f"p{number}", phase="Running", ready=True))["restarts"] == 0
    assert starts(pod_hub) == before
    assert all(alive(record) for record in before.values())


async def test_a_container_that_ends_while_no_hub_looks_is_started_again(pod_hub: Hub) -> None:
    await apply(pod_hub, pod("web"))
    await becomes(pod_hub, "web", ready=True)
    (record,) = starts(pod_hub).values()
    pod_hub.kill()
    os.kill(record.pid, signal.SIGKILL)
    pod_hub.start()
    await pod_hub.ready()
    await becomes(pod_hub, "web", ready=True, restarts=1)


async def test_pods_come_back_from_disk_before_the_broker_does(pod_hub: Hub) -> None:
    await apply(pod_hub, pod("web"))
    await becomes(pod_hub, "web", ready=True)
    ((place, record),) = starts(pod_hub).items()
    pod_hub.kill()
    os.kill(record.shim, signal.SIGKILL)  # as a power cut: nothing of it runs any more, and the machine is another
    (Path(place) / "started.json").write_text(record.model_copy(update={"boot": "before"}).model_dump_json())
    pod_hub.environment["EDGETWIN_BROKER_URL"] = "mqtt://127.0.0.1:1"  # a network that does not answer
    pod_hub.start()
    again = await until(lambda: next((one for one in starts(pod_hub).values() if one.run == 2), None), 20)
    assert alive(again)


async def test_a_pod_is_changed_and_deleted(pod_hub: Hub) -> None:
    await apply(pod_hub, pod("web"))
    await becomes(pod_hub, "web", ready=True)
    (first,) = starts(pod_hub).values()
    await apply(pod_hub, pod("web", "echo changed; exec sleep 1000"))
    await until(lambda: [one for one in starts(pod_hub).values() if one.pid != first.pid] or None, 20)
    assert not alive(first)
    await becomes(pod_hub, "web", ready=True)
    (second,) = starts(pod_hub).values()
    await apply(pod_hub, pod("web"), mode=ApplyMode.DELETE)
    await until(lambda: None if starts(pod_hub) else True, 20)
    assert not alive(second)
    async with pod_hub.client() as client:
        with pytest.raises(EdgetwinError, match="not known"):
            await client.get("pod/default/web")


async def test_jobs_end_and_crashes_wait_and_images_are_missed(pod_hub: Hub) -> None:
    absent = pod("absent").replace("image: host", "image: file:///nowhere/root.tar")
    documents = (pod("job", "exit 0", restart="OnFailure"), pod("failed", "exit 3", restart="Never"))
    await apply(pod_hub, *documents, pod("crash", "exit 1"), absent)
    await becomes(pod_hub, "job", phase="Succeeded")
    await becomes(pod_hub, "failed", phase="Failed")
    await becomes(pod_hub, "crash", phase="Running", reason="CrashLoopBackOff", restarts=1)
    missed = await becomes(pod_hub, "absent", phase="Pending", reason="ErrImagePull")
    assert "/nowhere/root.tar cannot be read" in str(missed["message"])


async def test_bad_manifests_change_nothing(pod_hub: Hub) -> None:
    big = "\n".join(f"  k{number}: {'x' * 100_000}" for number in range(12))
    for text, said in (
        (pod("web").replace("containers:", "containrs:"), "Did you mean containers"),
        (pod("web").replace("5\n", "five\n"), "terminationGracePeriodSeconds"),
        (pod("edgetwin-web"), "is reserved"),
        (pod("web").replace("image: host", "image: nginx\n    imagePullPolicy: Sometimes"), "imagePullPolicy"),
        ("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: big}\ndata:\n" + big, "over the 1048576"),
    ):
        with pytest.raises(InvalidDocuments, match=said):
            await apply(pod_hub, pod("good"), text)
    file = pod_hub.log.parent / "big.yaml"
    file.write_text("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: big}\ndata:\n  a: " + "x" * 10_000_000)
    refused = pod_hub.run("apply", "-f", str(file))
    assert (refused.returncode, "over the" in refused.stderr) == (4, True)
    async with pod_hub.client() as client:
        assert [one async for one in client.list(kind="pod")] == []


async def test_commands(pod_hub: Hub) -> None:
    secret = "apiVersion: v1\nkind: Secret\nmetadata: {name: login}\nstringData: {password: hunter2}\n"
    env = "    env: [{name: PASSWORD, valueFrom: {secretKeyRef: {name: login, key: password}}}]\n"
    await apply(pod_hub, pod("web") + env, secret)
    await becomes(pod_hub, "web", ready=True)
    listed = pod_hub.run("pods")
    assert (listed.returncode, listed.stderr) == (0, "")
    assert listed.stdout.splitlines()[1].split() == ["default/web", "1/1", "Running", "0"]
    (body,) = json.loads(pod_hub.run("pods", "--json").stdout)["pods"]
    assert body["reported"]["phase"]["value"] == "Running"
    assert pod_hub.run("logs", "web").stdout == "up\n"
    assert pod_hub.run("logs", "default/web", "-c", "app", "--tail", "1").stdout == "up\n"
    done = pod_hub.run("exec", "web", "--", "sh", "-c", "echo $PASSWORD; exit 9")
    assert (done.returncode, done.stdout) == (9, "hunter2\n")
    described = pod_hub.run("describe", "web").stdout
    assert "Ready=true" in described
    assert "Started" in described
    assert json.loads(pod_hub.run("describe", "web", "--json").stdout)["twin"] == "pod/default/web"
    for words in (("logs", "web", "-c", "absent"), ("exec", "web", "-c", "absent", "--", "true"), ("describe", "none")):
        missed = pod_hub.run(*words)
        assert missed.returncode in (4, 5), words
        assert missed.stderr.count("\n") == 2, words
    held = [path for path in pod_hub.folder.path.rglob("*") if path.is_file() and b"hunter2" in path.read_bytes()]
    assert held == []
    await apply(pod_hub, pod("crash", "exit 1"))
    await becomes(pod_hub, "crash", reason="CrashLoopBackOff")
    assert pod_hub.run("pods").returncode == 1
    pod_hub.kill()
    assert "how it left them" in pod_hub.run("pods").stderr
    assert pod_hub.run("logs", "web").stdout == "up\n"


async def test_stop_pods_ends_them_with_the_hub(pod_hub: Hub) -> None:
    await apply(pod_hub, pod("web"))
    await becomes(pod_hub, "web", ready=True)
    pod_hub.kill()
    pod_hub.environment["EDGETWIN_PODS_STOP_WITH_HUB"] = "true"  # what run --stop-pods sets
    pod_hub.start()
    await pod_hub.ready()
    (record,) = starts(pod_hub).values()
    assert alive(record)
    assert pod_hub.stop() == 0
    assert not alive(record)


@pytest.mark.parametrize("kills", KILLS)
async def test_kill_9_of_hub_shims_and_programs_at_random(pod_hub: Hub, kills: int) -> None:
    """Whatever is killed, in the end each pod runs once, and none that was spared has been disturbed."""
    draw = random.Random(20)
    await apply(pod_hub, *(pod(f"p{number}") for number in range(4)), pod("spared"))
    for name in ("p0", "p1", "p2", "p3", "spared"):
        await becomes(pod_hub, name, ready=True)
    async with pod_hub.client() as client:
        spared = (await client.get("pod/default/spared")).uid
    calm = next(record for place, record in starts(pod_hub).items() if spared in place)
    for _ in range(kills):
        victims = [record for place, record in starts(pod_hub).items() if spared not in place and alive(record)]
        for record in draw.sample(victims, k=min(2, len(victims))):
            with contextlib.suppress(ProcessLookupError):  # its shim was the victim before
                os.kill(draw.choice([record.shim, record.pid]), signal.SIGKILL)
        if draw.random() < 0.5:
            pod_hub.kill()
            await asyncio.sleep(draw.random() * 0.2)
            pod_hub.start()
        await asyncio.sleep(draw.random() * 0.3)
    await pod_hub.ready()
    assert alive(calm)
    assert next(record for place, record in starts(pod_hub).items() if spared in place) == calm
    async with pod_hub.client() as client:
        for name in ("p0", "p1", "p2", "p3", "spared"):
            phase = (await reported(client, name))["phase"]
            assert phase == "Running", name
    programs = [record for record in starts(pod_hub).values() if alive(record)]
    assert len({record.pid for record in programs}) == len(programs)
