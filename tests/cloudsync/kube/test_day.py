"""Hours of virtual time: a cluster, a cloud and gateways that change while the lines between them come and go."""

import asyncio
import random

import pytest

from cloudsync.kube.client import Event, Listing
from cloudsync.kube.errors import Absent, Busy, Conflict, Expired, Rejected, Unreachable
from cloudsync.kube.objects import read_object
from tests.cloudsync.kube.rig import Rig
from tests.cloudsync.kube.test_bridge import MODEL, device, pod
from tests.kube_server.errors import ApiError
from tests.kube_server.rules import Cluster
from tests.kube_server.selectors import matcher
from tests.kube_server.store import TooOld
from tests.sim.virtual import SimClock, VirtualLoop
from tests.sim.watched import SqlCloudStore
from twin.errors import UnknownTwin
from twin.model import Kind, TwinKey

ERRORS = {404: Absent, 409: Conflict, 410: Expired, 429: Busy}
MINUTE_S, HOUR_S = 60.0, 3600.0


class MemoryClient:
    """A KubeClient without a network: the rules of the tests' API server at once. ``up`` is whether it answers."""

    def __init__(self, cluster):
        self.cluster = cluster
        self.up = True
        self.writes = []
        self.cut = asyncio.Event()

    def interrupt(self):
        self.cut.set()
        self.cut = asyncio.Event()

    def _ask(self, work, *args, **more):
        if not self.up:
            raise Unreachable("no answer")
        try:
            return work(*args, **more)
        except ApiError as error:
            raise ERRORS.get(error.code, Rejected)(error.message) from None

    def _resource(self, resource):
        return self.cluster.find(resource.group, resource.version, resource.plural)

    def _fits(self, resource, fields, labels):
        return matcher(resource.kind, fields, labels)

    async def listed(self, resource, namespace="", *, fields="", labels=""):
        self._ask(self._resource, resource)
        fits = self._fits(resource, fields, labels)
        found = [one for one in self.cluster.store.all(resource.group, resource.plural, namespace) if fits(one)]
        return Listing(tuple(read_object(one, resource) for one in found), str(self.cluster.store.revision))

    async def version_now(self, resource, namespace=""):
        self._ask(self._resource, resource)
        return str(self.cluster.store.revision)

    async def watch(self, resource, namespace, version, *, fields="", labels=""):
        fits, position, store = self._fits(resource, fields, labels), int(version), self.cluster.store
        while True:
            self._ask(self._resource, resource)
            news, cut = store.news, self.cut
            try:
                later = store.since(position)
            except TooOld:
                raise Expired("too old") from None
            for change in later:
                position = change.revision
                key, before, after = change.key, change.before, change.after
                if (key.group, key.plural) != (resource.group, resource.plural):
                    continue
                if (after and fits(after)) or (before and fits(before)):
                    one = read_object(change.last, resource)
                    yield Event(str(position), one, gone=after is None or not fits(after))
            waits = [asyncio.ensure_future(one.wait()) for one in (news, cut)]
            await asyncio.wait(waits, timeout=MINUTE_S, return_when=asyncio.FIRST_COMPLETED)
            for one in waits:
                one.cancel()
            if cut.is_set():
                raise Unreachable("cut")
            if not news.is_set():
                yield Event(str(store.revision))
                position = store.revision

    async def get(self, resource, place):
        return read_object(self._ask(self.cluster.get, self._resource(resource), *place), resource)

    async def create(self, resource, namespace, body):
        return self._written(resource, self._ask(self.cluster.create, self._resource(resource), namespace, body, "us"))

    async def merge(self, resource, place, patch, sub=""):
        made = self._ask(self.cluster.patch, self._resource(resource), *place, "merge", patch, "us", part=sub)
        return self._written(resource, made)

    async def delete(self, resource, place, *, uid, grace_s=None):
        options = {"preconditions": {"uid": uid}}
        options |= {} if grace_s is None else {"gracePeriodSeconds": grace_s}
        self._ask(self.cluster.delete, self._resource(resource), *place, options)

    async def serves(self, resource, sub=""):
        return resource.plural in {one.plural for one in self.cluster.resources()} and not sub

    def _written(self, resource, made):
        self.writes.append((asyncio.get_running_loop().time(), resource.plural))
        return read_object(made, resource)


class Day:
    """What happens, drawn from one seed."""

    def __init__(self, rig, client, seed):
        self.rig = rig
        self.client = client
        self.cluster = client.cluster
        self.rng = random.Random(seed)
        self.edges = [rig.edge(f"gw-{number}") for number in (1, 2)]
        self.line = dict.fromkeys((edge.name for edge in self.edges), True)
        self.begun = 0

    def pods(self):
        return {one["metadata"]["name"]: one for one in self.cluster.store.all("", "pods")}

    def find(self, plural):
        return next(one for one in self.cluster.resources() if one.plural == plural)

    async def step(self):
        happens = [self.create, self.create, self.remove, self.device, self.cut_line, self.heal_line]
        happens += [self.api_away, self.compact, self.edit_config, self.values, self.cut_watch]
        await self.rng.choice(happens)()
        for edge in self.edges:
            if self.line[edge.name]:
                edge.restarts += self.rng.random() < 0.1
                await edge.sync()

    async def create(self):
        name = f"p{self.rng.randrange(6)}"
        if name in self.pods():
            return
        wanted = pod(name, self.rng.choice(self.edges).name, restartPolicy=self.rng.choice(["Always", "Never"]))
        if self.rng.random() < 0.3:
            wanted["spec"]["containers"][0]["envFrom"] = [{"configMapRef": {"name": "app"}}]
        self.cluster.create(self.find("pods"), "default", wanted)
        self.begun += 1

    async def remove(self):
        if pods := list(self.pods()):
            self.cluster.delete(self.find("pods"), "default", self.rng.choice(pods), {})

    async def device(self):
        devices, name = self.find("devices"), f"d{self.rng.randrange(3)}"
        there = [one["metadata"]["name"] for one in self.cluster.store.all(devices.group, "devices")]
        if name in there:
            self.cluster.delete(devices, "default", name, {})
        else:
            self.cluster.create(devices, "default", device(name, self.rng.choice(self.edges).name))

    async def values(self):
        for number in range(3):
            for edge in self.edges:
                key = TwinKey(Kind.DEVICE, "default", f"d{number}")
                try:
                    if self.line[edge.name] and await self.rig.store.gateway_of(key) == edge.name:
                        await edge.report(key, {"level": self.rng.randrange(100)})
                except UnknownTwin:
                    continue

    async def edit_config(self):
        patch = {"data": {"x": str(self.rng.random())}}
        self.cluster.patch(self.find("configmaps"), "default", "app", "merge", patch)

    async def cut_line(self):
        edge = self.rng.choice(self.edges)
        self.line[edge.name] = False
        await edge.leave()

    async def heal_line(self):
        self.line = dict.fromkeys(self.line, True)

    async def cut_watch(self):
        self.client.interrupt()

    async def api_away(self):
        self.client.up = not self.client.up
        self.client.interrupt()

    async def compact(self):
        self.cluster.store.compact()

    def settled(self):
        """Whether cluster and gateways say the same."""
        wanted = {}
        for one in self.pods().values():
            if "deletionTimestamp" in one["metadata"] or one["status"].get("phase") != "Running":
                return False
            wanted.setdefault(one["spec"]["nodeName"], {})[one["metadata"]["name"]] = one["metadata"]["uid"]
        if any(edge.pods() != wanted.get(edge.name, {}) for edge in self.edges):
            return False
        group = "devices.kubeedge.io"
        devices = {one["metadata"]["name"] for one in self.cluster.store.all(group, "devices")}
        served = {ref.name for edge in self.edges for ref, row in edge.rows.items() if ref.kind == "Device" and row.raw}
        return devices == served


async def live(folder, loop, seed, hours):
    clock = SimClock(loop)
    cluster = Cluster()
    from tests.cloudsync.kube.test_server import CRDS, yaml  # the definitions as they are shipped

    for path in sorted(CRDS.glob("*.yaml")):
        cluster.create(
            cluster.find("apiextensions.k8s.io", "v1", "customresourcedefinitions"),
            "",
            yaml.safe_load(path.read_text()),
        )
    client = MemoryClient(cluster)
    rig = Rig(folder, SqlCloudStore(folder / "cloud.db"), clock, seed)
    async with rig.opened():
        day = Day(rig, client, seed)
        cluster.create(day.find("devicemodels"), "default", MODEL)
        cluster.create(day.find("configmaps"), "default", {"metadata": {"name": "app"}, "data": {"x": "0"}})
        for edge in day.edges:
            await edge.sync()
        ends_s = loop.time() + hours * HOUR_S
        while loop.time() < ends_s:
            async with rig.bridge(client) as task:  # the child is killed, and another takes its place
                for _ in range(day.rng.randrange(1, 20)):
                    await day.step()
                    await asyncio.sleep(day.rng.uniform(0, MINUTE_S))
                assert not task.done(), task.exception()
        client.up = True
        await day.heal_line()
        async with rig.bridge(client):
            for _ in range(120):
                for edge in day.edges:
                    await edge.sync()
                await asyncio.sleep(1.0)
                if day.settled():
                    break
            assert day.settled(), (day.pods(), [edge.pods() for edge in day.edges])
            lives = {edge.name: len(edge.ran) for edge in day.edges}
            cluster.store.compact()
            client.interrupt()
            await asyncio.sleep(600)
            for edge in day.edges:
                await edge.sync()
            assert lives == {edge.name: len(edge.ran) for edge in day.edges}, "nothing new, so nothing is made anew"
    return day


@pytest.mark.parametrize(
    ("seed", "hours"),
    [
        (1, 1),
        *[pytest.param(seed, 24, marks=[pytest.mark.torture, pytest.mark.timeout(900)]) for seed in range(2, 8)],
    ],
)
def test_after_hours_of_cuts_cluster_and_gateways_agree_and_no_pod_ran_twice(tmp_path, seed, hours):
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        day = runner.run(live(tmp_path, runner.get_loop(), seed, hours))
    assert day.begun > 4 * hours
    times = [at_s for at_s, plural in day.client.writes if plural in ("pods", "devices", "devicestatuses")]
    for first, at_s in enumerate(times):
        last = next((index for index in range(first, len(times)) if times[index] > at_s + 10), len(times))
        assert last - first <= 10 * 8 + 9
