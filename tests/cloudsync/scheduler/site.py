"""A cloud with a scheduler on a virtual clock; gateways are there or not by what is written of them in its store."""

import contextlib
import itertools
import json

from cloudsync.applying import Applying
from cloudsync.placing import Placing
from cloudsync.scheduler.keeper import Scheduler
from cloudsync.scheduler.replicas import Ids
from tests.cloudsync.sync.rig import Cloud
from twin.document import Slot
from twin.errors import StoreError
from twin.exchange import DocumentRef, DocumentRow, Row
from twin.manifest.agreement import deleted, replaced, unknown
from twin.manifest.catalog import content_hash
from twin.model import Kind, Section, Site, TwinKey
from twin.sealing import Sealer
from twin.wire.api import ApplyMode, ApplyRequest, DocumentSource


class Faulty:
    """A store whose n-th write fails: before it is on disk, or after it, when nobody hears that it is."""

    def __init__(self, inner, owner):
        self._inner = inner
        self._owner = owner

    def __getattr__(self, name):
        return getattr(self._inner, name)

    @property
    def workloads(self):
        return Faulty(self._inner.workloads, self._owner)

    @contextlib.asynccontextmanager
    async def transaction(self, *words):
        self._owner.writes += 1
        fails = self._owner.writes == self._owner.fails_at
        async with self._inner.transaction(*words) as tx:
            yield tx
            if fails and not self._owner.is_late:
                message = "killed before the commit"
                raise StoreError(message)
        if fails:
            message = "killed after the commit"
            raise StoreError(message)


class SchedulerSite(Cloud):
    def __init__(self, folder, *gateways):
        folder.mkdir(exist_ok=True)
        super().__init__(folder)
        self.unknown.add("gw")  # that of the other tests
        self.writes, self.fails_at, self.is_late = 0, 0, False
        self.faulty = Faulty(self.store, self)
        self.numbers = itertools.count(1)
        self.ids = Ids(lambda: f"{next(self.numbers):04}", lambda: f"uid-{next(self.numbers)}")
        self.there = {}
        self.sealer = Sealer(folder / "secrets.key")
        self.gateways_hub = self.hub
        self.scheduler = self.new_scheduler()
        for name in gateways:
            self.join(name)

    def new_scheduler(self):
        """Another worker takes over; the one before is dead."""
        placing = Placing(self.worker(store=self.faulty), self.faulty, new_uid=self.ids.uid)
        name = f"w{next(self.names)}"
        self.scheduler = Scheduler(
            self.faulty, placing, self.sealer, name, known=self._known, clock=self.clock, ids=self.ids
        )
        return self.scheduler

    def join(self, name, **facts):
        self.there[name] = {"version": "1", "cpu": 4, "memory": 2**30, **facts}

    def cut(self, name):
        del self.there[name]

        async def cut():
            async with self.store.transaction(name) as tx:
                tx.state.online = False

        self.run(cut())

    def beat(self):
        """What gateways that are there do in a moment: say so, and agree on documents."""

        async def beat():
            for name, facts in self.there.items():
                key = TwinKey(Kind.GATEWAY, "default", name)
                async with self.gateways_hub.change(name) as turn:
                    state = turn.state
                    state.online, state.heard_at, state.agreed = True, self.clock.now_us() // 1000, True
                    if not state.cursor:
                        rows = [
                            Row(key, "", Section.REPORTED, what, Site.EDGE, Slot(value, number, 0, "hub", 1))
                            for number, (what, value) in enumerate(facts.items(), 1)
                        ]
                        await turn.merge(rows)
                        await turn.define_undocumented(rows, newest=True)
                        state.cursor = len(rows)

        self.run(beat())

    def put(self, gateway, raw):
        """Let a gateway have applied a document there."""
        ref = DocumentRef(raw["kind"], raw["metadata"]["namespace"], raw["metadata"]["name"])

        async def put():
            async with self.gateways_hub.change(gateway) as turn:
                known = (await turn.tx.documents()).get(ref)
                state = known.state if known is not None else unknown(ref)
                uid = state.uid or f"own-{next(self.numbers)}"
                new = replaced(state, uid, state.generation + 1, content_hash(raw))
                await turn.tx.put_document(DocumentRow(new, raw))

        self.run(put())

    def take(self, gateway, what):
        """Let a gateway have deleted one there."""
        state = self.documents(gateway)[what].state

        async def take():
            async with self.gateways_hub.change(gateway) as turn:
                await turn.tx.put_document(DocumentRow(deleted(state), None))

        self.run(take())

    def report(self, gateway, pod, *, tick=99, **values):
        """Let a gateway report how a pod is that it has."""
        document = self.documents(gateway)[f"Pod {pod}"]
        key = TwinKey(Kind.POD, *pod.split("/"))

        async def report():
            async with self.gateways_hub.change(gateway) as turn:
                rows = [
                    Row(key, document.state.uid, Section.REPORTED, name, Site.EDGE, Slot(value, tick, 0, "hub", 1))
                    for name, value in values.items()
                ]
                await turn.merge(rows)

        self.run(report())

    def report_own(self, gateway, *, tick=77, **values):
        """Let a gateway report something of itself."""
        key = TwinKey(Kind.GATEWAY, "default", gateway)

        async def report():
            async with self.gateways_hub.change(gateway) as turn:
                rows = [
                    Row(key, "", Section.REPORTED, name, Site.EDGE, Slot(value, tick, 0, "hub", 1))
                    for name, value in values.items()
                ]
                await turn.merge(rows)

        self.run(report())

    def tick(self):
        self.run(self.scheduler.tick())

    def settle(self, seconds=20.0, step=1):
        """Let time go on, step by step, with gateways that answer."""
        for _ in range(round(seconds / step)):
            self.wait(step)
            self.beat()
            self.tick()
            self.tick()

    def apply(self, *documents, mode=ApplyMode.APPLY, dry_run=False, known=None):
        applying = Applying(
            self.gateways_hub, self.store, known=known or self._known, new_uid=self.ids.uid, sealer=self.sealer
        )
        text = "\n---\n".join(one if isinstance(one, str) else json.dumps(one) for one in documents)
        request = ApplyRequest(sources=[DocumentSource(name="f.yaml", text=text)], mode=mode, dry_run=dry_run)
        return self.run(applying.apply(request, by="ann"))

    def documents(self, gateway):
        """What a gateway is to have, by kind and name."""

        async def read():
            async with self.store.transaction(gateway) as tx:
                return await tx.documents()

        found = self.run(read())
        return {f"{ref.kind} {ref.namespace}/{ref.name}": row for ref, row in found.items() if row.state.uid}

    def where(self):
        """Which gateways have each pod."""
        found = {}
        for name in sorted({one.gateway for one in self.run(self.store.gateways())}):
            for what in self.documents(name):
                if what.startswith("Pod "):
                    found.setdefault(what.removeprefix("Pod "), []).append(name)
        return found

    def stays(self):
        placements = self.run(self.store.workloads.placements())
        return [(f"{one.ref.namespace}/{one.ref.name}", one.gateway, one.state.name) for one in placements]

    def whys(self):
        pods = self.run(self.store.workloads.page("Pod", limit=1000))
        return {one.ref.name: one.why for one in pods}


@contextlib.contextmanager
def open_site(folder, *gateways):
    site = SchedulerSite(folder, *gateways)
    try:
        site.beat()
        yield site
    finally:
        site.close()


def pod(name="web", *, annotations=None, containers=None, **spec):
    metadata = {"namespace": "plant", "name": name}
    if annotations:
        metadata["annotations"] = annotations
    container = {"name": "app", "image": "host", "command": ["sleep", "9"], **(containers or {})}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": {"containers": [container], **spec}}


def deployment(replicas=2, *, name="shop", command="9", annotations=None, grace=30, **spec):
    container = {"name": "app", "image": "host", "command": ["sleep", command]}
    template = {"metadata": {"labels": {"app": name}}, "spec": {"containers": [container]}}
    template["spec"]["terminationGracePeriodSeconds"] = grace
    if annotations:
        template["metadata"]["annotations"] = annotations
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"namespace": "plant", "name": name},
        "spec": {"replicas": replicas, "selector": {"matchLabels": {"app": name}}, "template": template, **spec},
    }


def config(name="env", **data):
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"namespace": "plant", "name": name}, "data": data}


def secret(name="word", **data):
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"namespace": "plant", "name": name}, "stringData": data}


def gateway(name, labels=None, **spec):
    metadata = {"name": name, **({"labels": labels} if labels else {})}
    return {"apiVersion": "edgetwin.dev/v1", "kind": "Gateway", "metadata": metadata, "spec": spec}
