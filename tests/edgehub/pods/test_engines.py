"""Each pod goes to its engine, and back to the one that has run it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from edgehub.pods.engines import Engines
from edgehub.pods.found import record_of
from edgehub.pods.model import PodPlan, PodState
from edgehub.pods.records import PodFolders
from edgehub.pods.runtime import Ended, OnEnd
from tests.edgehub.pods.test_kubelet import MemoryRuntime
from twin.manifest.kube_fields import Engine

pytestmark = pytest.mark.fast


def engines(folder: Path, found: dict[Engine, list[PodState]]) -> tuple[Engines, dict[Engine, MemoryRuntime]]:
    made: dict[Engine, MemoryRuntime] = {}

    def maker(engine: Engine) -> Callable[[], MemoryRuntime]:
        def make() -> MemoryRuntime:
            made[engine] = MemoryRuntime(lambda: 0.0)
            made[engine].found = found.get(engine, [])
            return made[engine]

        return make

    return Engines(PodFolders(folder), {engine: maker(engine) for engine in Engine}), made


async def test_an_engine_is_made_with_the_first_pod_that_it_runs(
    tmp_path: Path, plan_of: Callable[..., PodPlan]
) -> None:
    both, made = engines(tmp_path, {})
    ends: list[Ended] = []
    assert await both.adopt(ends.append) == []
    assert made == {}
    await both.prepare(plan_of({"containers": [{"name": "app", "image": "host", "command": ["a"]}]}))
    assert list(made) == [Engine.PROCESS]
    image = plan_of({"containers": [{"name": "app", "image": "nginx"}]}, uid="u-2")
    await both.prepare(image)
    assert made[Engine.PODMAN].log == ["prepare u-2"]
    heard: list[OnEnd] = [one.on_end for one in made.values()]
    assert heard == [ends.append, ends.append]
    await both.remove(image.id)
    assert made[Engine.PODMAN].log[-1] == "remove u-2"
    assert "remove u-2" not in made[Engine.PROCESS].log


async def test_a_pod_whose_engine_has_changed_is_ended_by_the_one_that_runs_it(
    tmp_path: Path, plan_of: Callable[..., PodPlan]
) -> None:
    plan = plan_of({"containers": [{"name": "app", "image": "nginx"}]})
    PodFolders(tmp_path).write_record(record_of(plan, Engine.PROCESS))  # as an earlier release decided
    state = PodState(plan.id, "f", plan.spec)
    both, made = engines(tmp_path, {Engine.PROCESS: [state]})
    assert await both.adopt(lambda _: None) == [state]
    await both.remove(plan.id)
    assert made[Engine.PROCESS].log == ["remove u-1"]
    assert Engine.PODMAN not in made
