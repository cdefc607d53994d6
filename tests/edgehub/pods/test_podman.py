"""What podman alone promises: networks of their own, images that are fetched, and no end that is missed."""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import urllib.request
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from edgehub.pods.cri_log import PlainText
from edgehub.pods.model import Launch, LogLimits, Mount, Phase, PodPlan
from edgehub.pods.podman.bodies import Names
from edgehub.pods.podman.conf import digest
from edgehub.pods.podman.disk import keep_log
from edgehub.pods.podman.engine import PodmanEngine
from edgehub.pods.podman.http import ServiceAway
from edgehub.pods.podman.service import PodmanChoice
from edgehub.pods.records import StartRecord, read
from edgehub.pods.runtime import Ended
from edgehub.pods.spec import CannotStart
from edgehub.pods.within import command_within, run_bounded
from tests.edgehub.pods.own_podman import IMAGE, OwnPodman
from twin.manifest.kube_fields import PullPolicy

STEADY = "trap 'exit 9' TERM; echo up; while :; do sleep 0.05; done"
SERVE = "mkdir /w; echo $NAME > /w/index.html; httpd -p 8080 -h /w; echo up; while :; do sleep 0.05; done"


@dataclass
class Site:
    """A folder of pods, a podman, and what engines over them have told."""

    folder: Path
    plan: PodPlan
    podman: OwnPodman
    ends: asyncio.Queue[Ended] = field(default_factory=asyncio.Queue)

    @asynccontextmanager
    async def engine(
        self, limits: LogLimits | None = None, *, own_service: bool = False
    ) -> AsyncIterator[PodmanEngine]:
        engine = self.podman.engine(self.folder, limits, choice=PodmanChoice() if own_service else None)
        self.found = await engine.adopt(self.ends.put_nowait)
        if not self.found:
            await engine.prepare(self.plan)
        try:
            yield engine
        finally:
            await engine.close()

    async def end(self) -> Ended:
        async with asyncio.timeout(30):
            return await self.ends.get()

    def launch(self, script: str = STEADY, *, name: str = "app", run: int = 1, **what: Any) -> Launch:
        said = {"pod": self.plan.id, "container": name, "run": run, "crashes": 0, "image": IMAGE, "args": ()}
        said |= {"pull": PullPolicy.IF_NOT_PRESENT, "command": ("sh", "-c", script), "env": {"NAME": name}}
        return Launch(**(said | {"cwd": "", "mounts": (), "cpu_milli": 0, "memory_bytes": 0} | what))

    def started(self, name: str = "app") -> StartRecord:
        record = read(StartRecord, self.folder / f"u-1/c/{name}/started.json")
        assert record is not None
        return record

    async def said(self, text: str, name: str = "app") -> None:
        log = self.folder / f"u-1/c/{name}/log"
        await becomes(lambda: text in PlainText().feed(log.read_bytes()).decode())

    def containers(self) -> list[str]:
        return self.podman.run("ps", "--all", "--format", "{{.Names}}", "--filter", self.own).split()

    def pods(self) -> list[str]:
        return self.podman.run("pod", "ps", "--quiet", "--filter", self.own).split()

    @property
    def own(self) -> str:
        return f"label={Names(digest(str(self.folder))).label}"


async def becomes(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110  # other processes make it so
            await asyncio.sleep(0.02)


def lives(pid: int) -> bool:
    try:
        return ") Z " not in Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False


@pytest.fixture
def site(plan_of: Callable[..., PodPlan], tmp_path: Path, podman: OwnPodman) -> Iterator[Site]:
    spec = {"hostNetwork": True, "containers": [{"name": "app", "image": IMAGE}]}
    (tmp_path / "pods").mkdir()
    yield Site(tmp_path / "pods", plan_of(spec), podman)
    podman.run("pod", "rm", "--all", "--force", "--time", "0")
    podman.run("rm", "--all", "--force", "--time", "0")


def fetched(url: str) -> str:
    with urllib.request.urlopen(url, timeout=5) as reply:
        return str(reply.read().decode().strip())


@pytest.fixture
def host_port(free_port: Callable[[], int]) -> int:
    return free_port()


async def test_containers_of_a_pod_share_a_network_of_their_own(
    site: Site, plan_of: Callable[..., PodPlan], host_port: int
) -> None:
    ports = [{"containerPort": 8080, "hostPort": host_port}]
    site.plan = plan_of(
        {"containers": [{"name": "app", "image": IMAGE, "ports": ports}, {"name": "other", "image": IMAGE}]}
    )
    async with site.engine() as engine:
        await engine.start(site.launch(SERVE))
        await site.said("up")
        await engine.start(
            site.launch("wget -q -O - http://127.0.0.1:8080/; hostname; ls /sys/class/net", name="other")
        )
        assert (await site.end()).code == 0
        said = PlainText().feed((site.folder / "u-1/c/other/log").read_bytes()).decode().split()
        assert (said[:2], {"lo", "eth0"} <= set(said)) == (["app", "web"], True)
        address = await engine.address(site.plan.id)
        assert address.startswith("10.87.")
        assert await asyncio.to_thread(fetched, f"http://{address}:8080/") == "app"
        assert await asyncio.to_thread(fetched, f"http://127.0.0.1:{host_port}/") == "app"
        # Whatever ends the network, its containers start again with one.
        holder = json.loads(site.podman.run("pod", "inspect", *site.pods()))
        infra = json.loads(site.podman.run("inspect", holder["InfraContainerID"]))[0]
        os.kill(infra["State"]["Pid"], signal.SIGKILL)
        ended = await site.end()
        assert (ended.container, ended.reason, ended.message) == ("app", "ContainerLost", "the pod's network has ended")
        await engine.start(site.launch(SERVE.replace("echo up", "echo again"), run=2))
        await site.said("again")
        assert await asyncio.to_thread(fetched, f"http://127.0.0.1:{host_port}/") == "app"
    async with site.engine() as engine:
        assert site.found[0].containers["app"].phase is Phase.RUNNING
        assert (await engine.address(site.plan.id)).startswith("10.87.")
        await engine.stop(site.plan.id, "app", 0.1)
        await site.end()
        await engine.remove(site.plan.id)
        assert site.containers() == []
        assert site.pods() == []


async def test_a_service_that_is_killed_loses_neither_container_nor_end(site: Site) -> None:
    async with site.engine(own_service=True) as engine:
        await engine.start(site.launch())
        await engine.start(site.launch(name="other"))
        pids = [site.started(name).pid for name in ("app", "other")]
        service = await service_of(site.podman)
        os.kill(service, signal.SIGSTOP)  # it is away, and for how long nobody knows
        os.kill(pids[0], signal.SIGKILL)
        stopping = asyncio.create_task(engine.stop(site.plan.id, "other", 10))
        await becomes(lambda: not lives(pids[1]))
        assert site.ends.empty()
        os.kill(service, signal.SIGKILL)
        ends = [await site.end(), await site.end()]
        assert {one.container: one.code for one in ends} == {"app": 137, "other": 9}
        await stopping
        assert await service_of(site.podman) != service
        await engine.start(site.launch(run=2))
        assert lives(site.started().pid)
        os.kill(await service_of(site.podman), signal.SIGKILL)
        assert (await engine.execute(site.plan.id, "app", ["echo", "well"], 20)).output == "well\n"
        assert lives(site.started().pid)


async def service_of(podman: OwnPodman) -> int:
    """The process of an engine's own service, as soon as there is one."""
    async with asyncio.timeout(30):
        while True:
            found = [
                pid for pid, words in commands() if f"unix://{podman.place.socket}" in words and "podman" in words[0]
            ]
            if found:
                return found[0]
            await asyncio.sleep(0.02)


def commands() -> Iterator[tuple[int, list[str]]]:
    for place in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            yield int(place.parent.name), place.read_bytes().decode(errors="replace").split("\0")


async def holder_of(engine: PodmanEngine, plan: PodPlan) -> int:
    """The process that holds a pod's network; 0 if it has ended."""
    async with asyncio.timeout(30):
        while True:
            with suppress(ServiceAway, CannotStart):  # it was the victim before
                holder = await engine._made.network_of(plan.id)
                return holder.state.pid if holder is not None else 0
            await asyncio.sleep(0.02)


@pytest.mark.parametrize(
    "kills",
    [pytest.param(6, id="6"), pytest.param(150, id="150", marks=[pytest.mark.torture, pytest.mark.timeout(1800)])],
)
async def test_kill_9_of_anything_at_random(
    site: Site, plan_of: Callable[..., PodPlan], tmp_path: Path, kills: int
) -> None:
    """Whatever is killed, the other pod is not disturbed, and each end is told once."""
    draw = random.Random(7)
    calm = Site(tmp_path / "calm", site.plan, site.podman)
    calm.folder.mkdir()
    site.plan = plan_of({"containers": [{"name": "app", "image": IMAGE}]})
    async with calm.engine() as engine:
        await engine.start(calm.launch())
        calm_pid = calm.started().pid
    run, up = 0, False
    while kills:
        async with site.engine(own_service=True) as engine:
            up = site.found[0].containers["app"].phase is Phase.RUNNING if site.found and run else False
            for _ in range(draw.randint(1, 4)):
                if not up:
                    run, up = run + 1, True
                    await engine.start(site.launch(run=run))
                victim = draw.choice(["program", "conmon", "network", "service"])
                kills = max(kills - 1, 0)
                if victim == "service":
                    os.kill(await service_of(site.podman), signal.SIGKILL)
                    continue
                record = site.started()
                pid = await holder_of(engine, site.plan) if victim == "network" else 0
                pid = {"program": record.pid, "conmon": record.shim, "network": pid}[victim]
                if pid:
                    with suppress(ProcessLookupError):  # it was the victim before
                        os.kill(pid, signal.SIGKILL)
                if draw.random() < 0.3:
                    break  # and the engine goes before it has seen it
                ended = await site.end()
                assert (ended.run, ended.code) == (run, 137), victim
                up = False
        while not site.ends.empty():
            assert site.ends.get_nowait().run == run
    assert lives(calm_pid)
    async with calm.engine():
        assert calm.found[0].containers["app"].phase is Phase.RUNNING
    assert calm.started().pid == calm_pid


async def test_a_conmon_that_is_killed_while_no_engine_looks_is_noticed(site: Site) -> None:
    async with site.engine() as engine:
        await engine.start(site.launch())
    os.kill(site.started().shim, signal.SIGKILL)
    await becomes(lambda: not lives(site.started().shim))
    async with site.engine() as engine:
        known = site.found[0].containers["app"]
        assert (known.phase, known.exit_code, known.reason) == (Phase.EXITED, 137, "ContainerLost")
        pid = site.started().pid
        await engine.start(site.launch(run=2))
        assert not lives(pid)
        assert lives(site.started().pid)


async def test_a_command_enters_what_a_named_service_runs(site: Site) -> None:
    async with site.engine() as engine:
        await engine.start(site.launch(cwd="/tmp"))
        place = site.folder / "u-1/c/app"
        within = command_within(place, ["sh", "-c", "echo $NAME $PWD; exit 6"])
        assert "--remote" in within.argv
        result = await run_bounded(within, 20)
        assert (result.code, result.output) == (6, "app /tmp\n")
        await engine.stop(site.plan.id, "app", 0.1)
        with pytest.raises(CannotStart, match="does not run"):
            command_within(place, ["true"])


async def test_a_start_that_no_engine_has_written_down_is_found(site: Site) -> None:
    async with site.engine() as engine:
        await engine.start(site.launch())
        pid = site.started().pid
    (site.folder / "u-1/c/app/started.json").unlink()
    async with site.engine():
        assert site.found[0].containers["app"].phase is Phase.RUNNING
        assert site.started().pid == pid


async def test_pods_are_found_again_where_podman_has_been_removed(site: Site) -> None:
    async with site.engine() as engine:
        await engine.start(site.launch())
    engine = gone(site)
    (state,) = await engine.adopt(site.ends.put_nowait)
    assert state.containers["app"].phase is Phase.RUNNING
    with pytest.raises(CannotStart, match="/nowhere/podman, which is not installed") as caught:
        await engine.start(site.launch(name="other"))
    assert "apt install podman" in caught.value.remedy
    await engine.close()


def gone(site: Site) -> PodmanEngine:
    """An engine whose podman is not there."""
    return site.podman.engine(site.folder, choice=PodmanChoice(program="/nowhere/podman"))


async def test_a_pod_that_podman_never_knew_is_removed_without_it(site: Site) -> None:
    engine = gone(site)
    await engine.adopt(site.ends.put_nowait)
    await engine.prepare(site.plan)
    with pytest.raises(CannotStart):
        await engine.start(site.launch())
    await engine.remove(site.plan.id)
    assert not (site.folder / "u-1").exists()
    await engine.close()


async def test_what_is_removed_by_hand_is_noticed(site: Site) -> None:
    async with site.engine() as engine:
        await engine.start(site.launch())
        (name,) = site.containers()
        await asyncio.to_thread(site.podman.run, "rm", "--force", "--time", "0", name)
        assert (await site.end()).code == 137
        await engine.start(site.launch(run=2))


async def test_a_container_of_no_pod_is_removed(site: Site, tmp_path: Path) -> None:
    async with site.engine() as engine:
        await engine.start(site.launch())
    pid = site.started().pid
    (site.folder / "u-1/pod.json").unlink()  # as a power cut may leave it
    site.plan = replace(site.plan, id=replace(site.plan.id, uid="u-2"))
    async with site.engine() as engine:
        await engine.start(site.launch(run=1))
        assert not lives(pid)
        assert len(site.containers()) == 1


async def test_a_paused_container_is_stopped_all_the_same(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgehub.pods.podman.engine.KILL_S", 0.2)
    async with site.engine() as engine:
        await engine.start(site.launch())
        await asyncio.to_thread(site.podman.run, "pause", site.containers()[0])
        pid = site.started().pid
        await engine.stop(site.plan.id, "app", 0.1)
        assert (await site.end()).code == 137
        await becomes(lambda: not lives(pid))


async def test_logs_are_put_aside_and_bounded(site: Site) -> None:
    limits = LogLimits(max_bytes=4096, files=2)
    place = site.folder / "u-1/c/app"
    async with site.engine(limits) as engine:
        line = "0123456789" * 5
        for run, words in ((1, ("first", "second")), (2, ("third", "fourth"))):
            script = f"trap 'for i in $(seq 50); do echo {words[1]} {line}; done; echo end' TERM; "
            script += f"for i in $(seq 50); do echo {words[0]} {line}; done; echo up; while :; do sleep 0.05; done"
            await engine.start(site.launch(script, run=run))
            await site.said("up")
            keep_log(place / "log", site.started().shim, limits)
            await becomes(lambda: (place / "log").exists() and (place / "log").stat().st_size == 0)
            os.kill(site.started().pid, signal.SIGTERM)
            await site.said("end")
            assert words[0] in (place / "log.1").read_text()
            assert words[1] in (place / "log").read_text()
            await engine.stop(site.plan.id, "app", 0)
            await site.end()
        assert sorted(one.name for one in place.glob("log*")) == ["log", "log.1"]
        # While nobody puts it aside podman begins it anew, at twice its size.
        await engine.start(site.launch("i=0; while [ $i -lt 4000 ]; do echo line $i; i=$((i+1)); done", run=3))
        await site.end()
        assert (place / "log").stat().st_size <= 2 * limits.max_bytes
        assert PlainText().feed((place / "log").read_bytes()).endswith(b"line 3999\n")


async def test_images_that_are_missing_say_which_and_why(site: Site) -> None:
    async with site.engine() as engine:
        for image, pull, reason, said in (
            ("localhost/none:1", PullPolicy.IF_NOT_PRESENT, "ErrImagePull", "localhost/none:1 is not on this gateway"),
            ("none:1", PullPolicy.NEVER, "ErrImageNeverPull", "docker.io/library/none:1 is not on this gateway"),
        ):
            with pytest.raises(CannotStart, match=said) as caught:
                await engine.start(site.launch(image=image, pull=pull))
            assert caught.value.reason == reason
        with pytest.raises(CannotStart, match='workdir "/nowhere" does not exist'):
            await engine.start(site.launch(cwd="/nowhere"))
        with pytest.raises(CannotStart, match="no such file or directory"):
            await engine.start(site.launch(mounts=(Mount("/nowhere/at/all", "/mnt", True),)))
        await engine.remove(site.plan.id)
    assert site.containers() == []


class Registry(BaseHTTPRequestHandler):
    """As much of a registry as a pull asks for, over what `podman save` has laid down."""

    def __init__(self, folder: Path, *rest: Any) -> None:
        self.folder = folder
        super().__init__(*rest)

    def do_GET(self) -> None:
        kind, _, what = self.path.rpartition("/")
        if kind.endswith("/manifests"):
            index = json.loads((self.folder / "index.json").read_text())
            self.answer(self.blob(index["manifests"][0]["digest"]), index["manifests"][0]["mediaType"])
        elif kind.endswith("/blobs"):
            self.answer(self.blob(what), "application/octet-stream")
        else:
            self.answer(b"{}", "application/json")

    do_HEAD = do_GET  # noqa: N815  # the library's way to name them

    def blob(self, digest: str) -> bytes:
        return (self.folder / "blobs" / digest.replace(":", "/")).read_bytes()

    def answer(self, body: bytes, kind: str) -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


@contextmanager
def registry(folder: Path, port: int) -> Iterator[None]:
    with ThreadingHTTPServer(("127.0.0.1", port), partial(Registry, folder)) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        try:
            yield
        finally:
            server.shutdown()
            thread.join()


async def test_an_image_is_pulled_from_its_registry_as_its_policy_says(
    site: Site, tmp_path: Path, host_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    conf = tmp_path / "registries.conf"
    conf.write_text(f'[[registry]]\nlocation = "127.0.0.1:{host_port}"\ninsecure = true\n')
    monkeypatch.setenv("CONTAINERS_REGISTRIES_CONF", str(conf))
    image, saved = f"127.0.0.1:{host_port}/plant/app:1", tmp_path / "saved"
    site.podman.run("save", "--format", "oci-dir", "-o", str(saved), IMAGE)
    async with site.engine(own_service=True) as engine:
        with registry(saved, host_port):
            await engine.start(site.launch("exit 3", image=image))
            assert (await site.end()).code == 3
        await engine.start(site.launch("exit 4", image=image, run=2))  # it is here now
        assert (await site.end()).code == 4
        with pytest.raises(CannotStart, match="connection refused") as caught:
            await engine.start(site.launch(image=image, run=3, pull=PullPolicy.ALWAYS))
        assert caught.value.reason == "ErrImagePull"
    site.podman.run("rmi", "--force", image)
