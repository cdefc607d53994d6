"""A full disk takes no output and no new container, and nothing else: what runs runs on, and its end is not lost."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from edgehub.pods.model import Launch, LogLimits, Phase, PodPlan
from edgehub.pods.process import ProcessEngine
from edgehub.pods.runtime import Ended
from edgehub.pods.spec import CannotStart
from tests.edgehub.pods.own_podman import IMAGE, missing, own_podman
from twin.manifest.kube_fields import PullPolicy

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small file system needs root")

SIZE = 2 * 1024 * 1024


@pytest.fixture
def small_disk(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Path]:
    place, size = tmp_path / "disk", getattr(request, "param", SIZE)
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(place)], check=True)
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)


def fill(place: Path) -> None:
    with contextlib.suppress(OSError), (place / "filler").open("wb", buffering=0) as filler:
        while True:
            filler.write(b"x" * 4096)


async def test_a_full_disk(small_disk: Path, tmp_path: Path, plan_of: Callable[..., PodPlan]) -> None:
    go = tmp_path / "go"
    script = f"while [ ! -e {go} ]; do echo one line of many; sleep 0.01; done; echo over; exit 7"
    plan = plan_of({"containers": [{"name": "app", "image": "host", "command": ["sh"]}]})
    ends: asyncio.Queue[Ended] = asyncio.Queue()

    def launch(run: int, text: str) -> Launch:
        words, env = ("sh", "-c", text), {"PATH": "/usr/bin:/bin"}
        return Launch(plan.id, "app", run, 0, "host", PullPolicy.IF_NOT_PRESENT, words, (), env, "", (), 0, 0)

    engine = ProcessEngine(small_disk, LogLimits(), isolate=True)
    await engine.adopt(ends.put_nowait)
    await engine.prepare(plan)
    await engine.start(launch(1, script))
    fill(small_disk)
    size = (small_disk / "u-1/c/app/log").stat().st_size
    assert (await engine.execute(plan.id, "app", ["true"], 10)).code == 0
    await engine.close()
    other = ProcessEngine(small_disk, LogLimits(), isolate=True)
    (state,) = await other.adopt(ends.put_nowait)
    assert state.containers["app"].phase is Phase.RUNNING
    go.touch()
    async with asyncio.timeout(20):
        assert (await ends.get()).code == 7
    assert (small_disk / "u-1/c/app/log").stat().st_size <= size + 4096
    with pytest.raises((OSError, CannotStart), match="No space left"):
        await other.start(launch(2, "exit 0"))
    (small_disk / "filler").unlink()
    await other.start(launch(3, "exit 0"))
    async with asyncio.timeout(20):
        assert (await ends.get()).code == 0
    await other.close()


@pytest.mark.parametrize("small_disk", [24 * 1024 * 1024], indirect=True)
async def test_a_full_disk_under_podman(small_disk: Path, tmp_path: Path, plan_of: Callable[..., PodPlan]) -> None:
    if why := missing():
        pytest.skip(why)
    plan = plan_of({"hostNetwork": True, "containers": [{"name": "app", "image": IMAGE}]})
    ends: asyncio.Queue[Ended] = asyncio.Queue()
    folder = small_disk / "pods"
    folder.mkdir()

    def launch(name: str, run: int = 1) -> Launch:
        script = f"trap 'exit 7' TERM; echo run {run}; while :; do echo one line of many; sleep 0.05; done"
        words = ("sh", "-c", script)
        return Launch(plan.id, name, run, 0, IMAGE, PullPolicy.IF_NOT_PRESENT, words, (), {}, "", (), 0, 0)

    with own_podman(small_disk / "podman", "10.87.240.0/24") as podman:
        engine = podman.engine(folder)
        await engine.adopt(ends.put_nowait)
        await engine.prepare(plan)
        await engine.start(launch("app"))
        fill(small_disk)
        with pytest.raises((OSError, CannotStart), match=r"[Nn]o space left"):
            await engine.start(launch("other"))
        await engine.stop(plan.id, "app", 10)
        async with asyncio.timeout(90):
            ended = await ends.get()
        assert (ended.container, ended.code) == ("app", 7)
        (small_disk / "filler").unlink()
        await engine.start(launch("app", 2))
        async with asyncio.timeout(20):  # before that its shell knows of no signal
            while b"run 2" not in (folder / "u-1/c/app/log").read_bytes():  # noqa: ASYNC110  # another process says it
                await asyncio.sleep(0.01)
        await engine.stop(plan.id, "app", 10)
        async with asyncio.timeout(20):
            assert (await ends.get()).code == 7
        await engine.remove(plan.id)
        await engine.close()
