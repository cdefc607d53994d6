"""The loop in virtual time, with an engine in memory: backoff, probes, changes, a disk that refuses."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from edgehub.pods.kubelet import Kubelet
from edgehub.pods.model import ContainerState, Launch, Phase, PodId, PodPlan, PodState
from edgehub.pods.records import PodFolders
from edgehub.pods.runtime import Ended, ExecResult, OnEnd
from edgehub.pods.spec import CannotStart, Surroundings, Why
from edgehub.pods.volumes import Volumes
from twin.manifest.catalog import RegistryView, applied
from twin.manifest.read import read_documents
from twin.manifest.yaml import Source
from twin.sealing import Sealer

pytestmark = pytest.mark.fast

APP = {"name": "app", "image": "host", "command": ["app"]}


class MemoryRuntime:
    """Containers that run until a test ends them."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self.on_end: OnEnd = lambda _: None
        self.found: list[PodState] = []
        self.running: dict[tuple[PodId, str], int] = {}
        self.log: list[str] = []
        self.fault: Exception | None = None
        self.answers: dict[tuple[str, ...], int] = {}

    async def adopt(self, on_end: OnEnd) -> list[PodState]:
        self.on_end = on_end
        return self.found

    async def prepare(self, plan: PodPlan) -> None:
        self._refuse()
        self.log.append(f"prepare {plan.id.uid}")

    async def start(self, launch: Launch) -> float:
        self._refuse()
        self.log.append(f"start {launch.container} {launch.run}")
        self.running[launch.pod, launch.container] = launch.run
        return self._now()

    async def stop(self, pod: PodId, container: str, grace_s: float) -> None:
        self.log.append(f"stop {container} {grace_s:.0f}")
        self.end(pod, container, 143)

    async def remove(self, pod: PodId) -> None:
        assert not [one for one in self.running if one[0] == pod]
        self.log.append(f"remove {pod.uid}")

    async def execute(self, pod: PodId, container: str, command: Sequence[str], timeout_s: float) -> ExecResult:
        self.log.append(f"exec {' '.join(command)}")
        return ExecResult(self.answers.get(tuple(command), 0), "")

    async def address(self, pod: PodId) -> str:
        return "127.0.0.1"

    async def close(self) -> None:
        self.running.clear()

    def end(self, pod: PodId, container: str, code: int) -> None:
        run = self.running.pop((pod, container))
        self.on_end(Ended(pod, container, run, code, self._now()))

    def _refuse(self) -> None:
        if self.fault is not None:
            raise self.fault


@dataclass
class World:
    """A loop whose time a test moves."""

    folder: Path
    now_s: float = 1000.0
    runtime: MemoryRuntime = field(init=False)
    kubelet: Kubelet = field(init=False)

    def __post_init__(self) -> None:
        self.runtime = MemoryRuntime(lambda: self.now_s)
        volumes = Volumes(PodFolders(self.folder))
        self.kubelet = Kubelet(self.runtime, volumes, self, lambda: self.now_s)

    def now_us(self) -> int:
        return int(self.now_s * 1e6)

    def monotonic_s(self) -> float:
        return self.now_s

    @property
    def around(self) -> Surroundings:
        return Surroundings(RegistryView(), Sealer(self.folder / "key"), "gw")

    def with_settings(self, value: str) -> Surroundings:
        """Documents with one ConfigMap of one key."""
        text = f"apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: settings}}\ndata: {{key: {value}}}\n"
        view, _ = applied(RegistryView(), read_documents([Source("x", text.encode())]).documents, lambda: "u")
        return Surroundings(view, Sealer(self.folder / "key"), "gw")

    def desire(self, *plans: PodPlan) -> None:
        self.kubelet.desire(plans, self.around)

    async def until(self, met: Callable[[], bool]) -> None:
        async with asyncio.timeout(10):
            while not met():  # noqa: ASYNC110  # it looks at the loop between its turns
                await asyncio.sleep(0)

    async def said(self, line: str) -> None:
        await self.until(lambda: line in self.runtime.log)

    async def rest(self) -> None:
        """Let everything happen that can happen without time."""
        for _ in range(30):
            await asyncio.sleep(0.001)


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    made = World(tmp_path)
    yield made
    await made.kubelet.close()


async def test_init_containers_run_one_after_the_other_and_then_all(world: World, plan_of: Any) -> None:
    plan = plan_of(
        {"initContainers": [{**APP, "name": "a"}, {**APP, "name": "b"}], "containers": [APP, {**APP, "name": "side"}]}
    )
    await world.kubelet.open([plan], world.around)
    await world.said("start a 1")
    assert world.kubelet.status(plan.id).phase == "Pending"
    world.runtime.end(plan.id, "a", 0)
    await world.said("start b 1")
    world.runtime.end(plan.id, "b", 1)
    await world.said("start b 2")
    world.runtime.end(plan.id, "b", 0)
    await world.said("start side 1")
    await world.until(lambda: world.kubelet.status(plan.id).ready)
    assert world.runtime.log == ["prepare u-1", "start a 1", "start b 1", "start b 2", "start app 1", "start side 1"]
    assert world.kubelet.status(plan.id).restarts == 1


async def test_a_pod_that_crashes_at_once_waits_longer_each_time(world: World, plan_of: Any) -> None:
    plan = plan_of({"containers": [APP]})
    await world.kubelet.open([plan], world.around)
    await world.said("start app 1")
    for run, wait_s in enumerate((0, 10, 20, 40, 80, 160, 300, 300), 2):
        await world.until(lambda: world.kubelet.status(plan.id).ready)
        world.runtime.end(plan.id, "app", 1)
        if wait_s:
            world.now_s += wait_s - 1
            world.desire(plan)  # a look, as at any event; nothing has changed
            await world.rest()
            assert f"start app {run}" not in world.runtime.log
            assert world.kubelet.status(plan.id).reason == "CrashLoopBackOff"
            world.now_s += 1
            world.desire(plan)
        await world.said(f"start app {run}")
    events = {event["reason"]: event.get("count") for event in world.kubelet.events(plan.id).told()}  # type: ignore[index,union-attr,call-overload]
    assert events["Error"] == 8


async def test_the_same_documents_again_disturb_nothing(world: World, plan_of: Any) -> None:
    plan = plan_of({"containers": [APP]})
    await world.kubelet.open([plan], world.around)
    await world.said("start app 1")
    for _ in range(3):
        world.desire(plan_of({"containers": [APP]}))
        await world.rest()
    assert world.runtime.log == ["prepare u-1", "start app 1"]


async def test_a_changed_pod_is_stopped_in_its_grace_and_made_anew(world: World, plan_of: Any) -> None:
    hook = {"preStop": {"exec": {"command": ["drain"]}}}
    before = plan_of({"containers": [{**APP, "lifecycle": hook}], "terminationGracePeriodSeconds": 7})
    await world.kubelet.open([before], world.around)
    await world.said("start app 1")
    await world.until(lambda: world.kubelet.status(before.id).ready)
    world.desire(plan_of({"containers": [APP]}, fingerprint="g"))
    await world.until(lambda: world.runtime.log.count("start app 1") == 2)
    assert world.runtime.log[2:] == ["exec drain", "stop app 7", "remove u-1", "prepare u-1", "start app 1"]


async def test_a_pod_of_the_same_name_waits_for_the_end_of_the_first(world: World, plan_of: Any) -> None:
    await world.kubelet.open([plan_of({"containers": [APP]})], world.around)
    await world.said("start app 1")
    world.desire(plan_of({"containers": [APP]}, uid="u-2"))
    await world.said("prepare u-2")
    assert world.runtime.log.index("remove u-1") < world.runtime.log.index("prepare u-2")


async def test_a_deleted_pod_is_stopped_and_removed(world: World, plan_of: Any) -> None:
    await world.kubelet.open([plan_of({"containers": [APP]})], world.around)
    await world.said("start app 1")
    world.desire()
    await world.said("remove u-1")


async def test_found_pods_run_on_and_unwanted_ones_end(world: World, plan_of: Any) -> None:
    kept, gone = plan_of({"containers": [APP]}), plan_of({"containers": [APP]}, name="old", uid="u-2")
    running = {"app": ContainerState(Phase.RUNNING, runs=4, started_at=900.0)}
    world.runtime.found = [PodState(one.id, one.fingerprint, one.spec, running) for one in (kept, gone)]
    world.runtime.running = {(kept.id, "app"): 4, (gone.id, "app"): 4}
    await world.kubelet.open([kept], world.around)
    await world.said("remove u-2")
    assert world.runtime.log == ["stop app 30", "remove u-2"]
    assert world.kubelet.status(kept.id).ready
    world.runtime.end(kept.id, "app", 1)
    await world.said("start app 5")


async def test_what_keeps_a_container_from_starting_is_said_and_tried_again(world: World, plan_of: Any) -> None:
    plan = plan_of({"containers": [{**APP, "envFrom": [{"configMapRef": {"name": "absent"}}]}]})
    await world.kubelet.open([plan], world.around)
    await world.until(lambda: world.kubelet.status(plan.id).reason == "CreateContainerConfigError")
    assert "there is no ConfigMap default/absent" in world.kubelet.status(plan.id).message
    world.runtime.fault = CannotStart(Why.IMAGE, "no image")
    world.desire(plan_of({"containers": [APP]}, name="other", uid="u-2"), plan)
    await world.rest()
    world.runtime.fault = None
    world.now_s += 301
    world.desire(plan_of({"containers": [APP]}, name="other", uid="u-2"), plan)
    await world.said("start app 1")


async def test_a_disk_that_is_full_is_asked_again_later(world: World, plan_of: Any) -> None:
    plan = plan_of({"containers": [APP]})
    world.runtime.fault = OSError(28, "No space left on device")
    await world.kubelet.open([plan], world.around)
    await world.rest()
    assert world.kubelet.status(plan.id).phase == "Pending"
    assert [event["reason"] for event in world.kubelet.events(plan.id).told()] == ["DiskRefused"]  # type: ignore[index,call-overload]
    world.runtime.fault = None
    world.now_s += 6
    world.desire(plan)
    await world.said("start app 1")


async def test_a_failing_liveness_probe_restarts_and_readiness_only_tells(world: World, plan_of: Any) -> None:
    probe = {"periodSeconds": 1, "failureThreshold": 1}
    live = {**probe, "exec": {"command": ["live"]}}
    ready = {**probe, "exec": {"command": ["ready"]}}
    plan = plan_of({"containers": [{**APP, "livenessProbe": live, "readinessProbe": ready}]})
    world.runtime.answers = {("ready",): 1}
    await world.kubelet.open([plan], world.around)
    await world.said("exec ready")
    await world.rest()
    assert not world.kubelet.status(plan.id).ready
    assert "start app 2" not in world.runtime.log
    world.runtime.answers = {("live",): 1}
    await world.said("start app 2")
    world.runtime.answers = {}
    await world.until(lambda: world.kubelet.status(plan.id).ready)
    assert "stop app 30" in world.runtime.log


async def test_a_clock_that_steps_moves_no_backoff(world: World, plan_of: Any) -> None:
    """The loop's own time is that since the machine started; the wall clock only stamps events."""
    plan = plan_of({"containers": [APP]})
    wall = [0]
    world.kubelet._clock = type("Wall", (), {"now_us": lambda _: wall[0], "monotonic_s": lambda _: 0.0})()
    await world.kubelet.open([plan], world.around)
    await world.said("start app 1")
    await world.rest()
    world.runtime.end(plan.id, "app", 1)
    await world.said("start app 2")
    await world.rest()
    world.runtime.end(plan.id, "app", 1)
    for step_us in (10**16, -(10**16), 0):
        wall[0] = step_us
        world.desire(plan)
        await world.rest()
    assert "start app 3" not in world.runtime.log
    world.now_s += 10
    world.desire(plan)
    await world.said("start app 3")


async def test_other_probes_wait_for_the_startup_probe_and_its_failure_restarts(world: World, plan_of: Any) -> None:
    probe = {"periodSeconds": 1, "failureThreshold": 1}
    begun, live = ({**probe, "exec": {"command": [word]}} for word in ("begun", "live"))
    plan = plan_of({"containers": [{**APP, "startupProbe": begun, "livenessProbe": live}]})
    world.runtime.answers = {("begun",): 1, ("live",): 1}
    await world.kubelet.open([plan], world.around)
    await world.said("start app 2")
    assert "exec live" not in world.runtime.log
    assert not world.kubelet.status(plan.id).ready
    world.runtime.answers = {}
    world.now_s += 301
    world.desire(plan)
    await world.until(lambda: world.kubelet.status(plan.id).ready)
    await world.said("exec live")


async def test_files_of_a_config_map_follow_it_while_the_pod_runs(world: World, plan_of: Any) -> None:
    volume = {"name": "config", "configMap": {"name": "settings"}}
    plan = plan_of({"containers": [APP], "volumes": [volume]})
    await world.kubelet.open([plan], world.with_settings("one"))
    await world.said("start app 1")
    file = world.folder / "u-1/volumes/config/key"
    assert file.read_text() == "one"
    world.kubelet.desire([plan], world.with_settings("two"))
    await world.until(lambda: file.read_text() == "two")
    await world.rest()
    assert world.runtime.log == ["prepare u-1", "start app 1"]
