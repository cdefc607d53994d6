"""What changes at a gateway: what the cluster wants and nothing else, nothing unchanged, also over a bad line."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from cloudsync.kube.client import Event, Listing
from cloudsync.kube.marks import cluster_of
from cloudsync.kube.mirror import Mirror
from cloudsync.kube.objects import CONFIG_MAPS, DEVICE_MODELS, DEVICES, PODS, SECRETS
from cloudsync.kube.plan import planned
from cloudsync.kube.settling import is_gone
from cloudsync.kube.view import ClusterView
from cloudsync.sets import known_rows, read_set, row_after
from tests.cloudsync.kube.words import CLUSTER, container, device, model, pod
from twin.exchange import DocumentRow
from twin.manifest.agreement import Take, joined, summary, unknown
from twin.manifest.catalog import Action, applied, deleted
from twin.manifest.document import DocumentKind, Ref
from twin.manifest.read import read_parsed
from twin.manifest.yaml import Parsed
from twin.model import Site

pytestmark = pytest.mark.fast

WEB = Ref(DocumentKind.POD, "default", "web")
PUMP = Ref(DocumentKind.DEVICE, "default", "pump")
TANK = Ref(DocumentKind.DEVICE_MODEL, "default", "tank")


def view_of(*objects):
    view = ClusterView("")
    for resource in (PODS, CONFIG_MAPS, SECRETS, DEVICES, DEVICE_MODELS):
        found = tuple(one for one in objects if one.raw["kind"] == resource.kind)
        view.mirror(resource, "").take_listing(Listing(found, "1"))
    return view


def wanted(*objects, gateway="gw-1"):
    return view_of(*objects).desired(gateway, CLUSTER).wanted


class Set:
    """The set of one gateway, changed as Placing changes it."""

    def __init__(self):
        self.rows = {}
        self.count = 0

    @property
    def view(self):
        return read_set(self.rows)

    @property
    def gone(self):
        return {Ref(DocumentKind(ref.kind), ref.namespace, ref.name): row.state.gone for ref, row in self.rows.items()}

    def uid(self):
        self.count += 1
        return f"u-{self.count}"

    def do(self, plan, want):
        put = {one.ref: one for one in plan.put}
        _, made = applied(self.view, list(put.values()), self.uid, want.uids)
        self._write(made, put)
        _, ended = deleted(self.view, plan.delete)
        self._write(ended, {})

    def _write(self, outcome, documents):
        for change in outcome.changed:
            document = None if change.action is Action.DELETED else documents[change.ref]
            row = row_after(known_rows(self.rows)(change.ref), change, document)
            self.rows[row.state.ref] = row

    def settle(self, want):
        plan = planned(self.view, want, CLUSTER, self.gone)
        self.do(plan, want)
        return plan

    def write(self, raw):
        """Somebody else's document."""
        document = read_parsed([Parsed("x", raw)]).documents[0]
        _, outcome = applied(self.view, [document], self.uid)
        self._write(outcome, {document.ref: document})


def local(kind="Pod", name="mine"):
    spec = {"containers": [container()]} if kind == "Pod" else None
    return {"apiVersion": "v1", "kind": kind, "metadata": {"name": name}, **({"spec": spec} if spec else {})}


POD_SPECS = st.sampled_from([{}, {"restartPolicy": "Never"}, {"containers": [container(args=["x"])]}])
OBJECTS = st.lists(
    st.one_of(
        st.builds(
            lambda name, spec, life: pod(name, uid=f"{name}-{life}", **spec),
            st.sampled_from("abc"),
            POD_SPECS,
            st.integers(1, 2),
        ),
        st.builds(
            lambda name, value: device(name, desired=value),
            st.sampled_from("de"),
            st.sampled_from(["1", "2", "no number"]),
        ),
        st.builds(model),
    ),
    unique_by=lambda one: (one.raw["kind"], one.place),
    max_size=6,
)


@given(st.lists(OBJECTS, min_size=1, max_size=4))
def test_after_each_plan_the_gateway_has_what_is_wanted_and_the_next_plan_does_nothing(steps):
    held = Set()
    held.write(local())
    mine = held.view.stored[Ref(DocumentKind.POD, "default", "mine")]
    for objects in steps:
        want = wanted(*objects)
        plan = held.settle(want)
        has = {ref for ref, one in held.view.stored.items() if cluster_of(one.document) == CLUSTER}
        asked = want.documents.keys() - plan.refused.keys()
        assert asked <= has
        assert not (has - want.documents.keys() - {TANK})  # a model stays while a device that was refused needs it
        for ref in asked:
            one = held.view.stored[ref]
            assert one.document.raw == want.documents[ref].raw
            assert want.uids.get(ref, one.uid) == one.uid
        again = planned(held.view, want, CLUSTER, held.gone)
        assert (again.put, again.delete) == ((), ())
        assert held.view.stored[Ref(DocumentKind.POD, "default", "mine")] == mine


@given(OBJECTS, OBJECTS)
def test_what_has_not_changed_keeps_its_life_and_generation(before, after):
    held = Set()
    held.settle(wanted(*before))
    first = dict(held.view.stored)
    want = wanted(*after)
    held.settle(want)
    for ref, one in held.view.stored.items():
        old = first.get(ref)
        if old is not None and old.document.raw == one.document.raw and want.uids.get(ref, old.uid) == old.uid:
            assert (one.uid, one.generation) == (old.uid, old.generation)


def test_a_pod_of_the_same_name_and_another_life_is_another_document():
    held = Set()
    held.settle(wanted(pod(uid="first")))
    held.settle(wanted(pod(uid="second")))
    assert held.view.stored[WEB].uid == "second"
    assert held.gone[WEB] == {"first"}


def test_somebody_elses_document_is_not_overwritten():
    held = Set()
    held.write(local(name="web"))
    plan = held.settle(wanted(pod()))
    assert "already" in plan.refused[WEB]
    assert cluster_of(held.view.stored[WEB].document) == ""


def test_a_pod_that_was_deleted_at_its_gateway_does_not_come_back():
    held = Set()
    want = wanted(pod(uid="first"))
    held.settle(want)
    _, ended = deleted(held.view, [WEB])
    held._write(ended, {})
    assert planned(held.view, want, CLUSTER, held.gone).refused == {WEB: "it was deleted at the gateway"}


def test_a_device_that_does_not_fit_is_refused_alone_and_what_was_there_of_it_stays():
    held = Set()
    held.settle(wanted(model(), device(desired="7")))
    plan = held.settle(wanted(model(), device(desired="no number"), pod()))
    assert "not a whole number" in plan.refused[PUMP]
    assert held.view.stored[PUMP].document.spec.properties[0].desired.value == "7"
    assert WEB in held.view.stored


def test_a_model_that_a_gateways_own_device_needs_stays():
    held = Set()
    held.settle(wanted(model(), device()))
    held.write(
        {
            "apiVersion": "edgetwin.dev/v1",
            "kind": "Device",
            "metadata": {"name": "own"},
            "spec": {"deviceModelRef": {"name": "tank"}, "gateway": "gw-1"},
        }
    )
    held.settle(wanted())
    assert set(held.view.stored) == {TANK, Ref(DocumentKind.DEVICE, "default", "own")}


@pytest.mark.parametrize(
    ("said", "gone"),
    [
        ({"there": {}}, True),
        ({"there": {"default/web": "first"}}, False),
        ({"there": {"default/web": "second"}}, True),
        ({"there": {}, "seen": "something older"}, False),
        ({}, False),
    ],
)
def test_a_pod_is_gone_when_its_gateway_knows_of_it_and_has_nothing_left(said, gone):
    held = Set()
    held.settle(wanted(pod(uid="first")))
    held.settle(wanted())
    seen = summary(row.state for row in held.rows.values())
    told = {"seen": seen, **said} if said else {}
    assert is_gone(pod(uid="first"), held.rows, told) is gone
    assert is_gone(pod(uid="never sent"), held.rows, {})


class Line(RuleBasedStateMachine):
    """A cluster, the cloud's set of one gateway, and the gateway's own, with a line that is there now and then."""

    def __init__(self):
        super().__init__()
        self.view = view_of()
        self.pods = {}
        self.lives = 0
        self.cloud, self.edge = Set(), {}
        self.ran = {}
        """Every life that the gateway ever started, with what it was started from."""

    @rule(name=st.sampled_from("abc"), spec=POD_SPECS)
    def create(self, name, spec):
        if name not in self.pods:
            self.lives += 1
            self.pods[name] = pod(name, uid=f"life-{self.lives}", **spec)

    @rule(name=st.sampled_from("abc"))
    def remove(self, name):
        self.pods.pop(name, None)

    @rule()
    def relist(self):
        """As after a restart, a 410, a day without an answer."""
        self.view = view_of(*self.pods.values())
        self.cloud.settle(self.view.desired("gw-1", CLUSTER).wanted)

    @rule()
    def told_twice(self):
        self.relist()
        plan = self.cloud.settle(self.view.desired("gw-1", CLUSTER).wanted)
        assert (plan.put, plan.delete) == ((), ())

    @rule()
    def line(self):
        """Both sides exchange all documents."""
        for ref in {*self.cloud.rows, *self.edge}:
            mine = self.cloud.rows.get(ref, DocumentRow(unknown(ref), None))
            theirs = self.edge.get(ref, DocumentRow(unknown(ref), None))
            agreed = joined(theirs.state, mine.state, site=Site.EDGE)
            raw = {Take.OWN: theirs.raw, Take.THEIRS: mine.raw, Take.NONE: None}[agreed.take]
            self.edge[ref] = DocumentRow(agreed.state, raw)
            self.cloud.rows[ref] = self.edge[ref]
            if agreed.state.uid:
                assert self.ran.setdefault(agreed.state.uid, raw) == raw, "a pod is never run from two texts"

    @rule()
    def settled(self):
        self.relist()
        self.line()
        has = {row.state.uid for row in self.edge.values() if row.state.uid}
        assert has == {one.uid for one in self.pods.values()}

    @invariant()
    def no_life_comes_back(self):
        for row in self.edge.values():
            assert row.state.uid not in row.state.gone


TestLine = Line.TestCase
TestLine.settings = settings(max_examples=60, stateful_step_count=20)


def test_a_mirror_takes_a_listing_and_events_in_any_order_of_repetition():
    mirror = Mirror()
    first, second = pod("a", uid="1"), pod("b", uid="2")
    assert mirror.take_listing(Listing((first, second), "5")) == [(None, first), (None, second)]
    assert mirror.take_event(Event("6", None)) == []
    assert mirror.version == "6"
    changed = pod("a", uid="1", status={"phase": "Running"})
    assert mirror.take_event(Event(changed.version, changed)) == [(first, changed)]
    assert mirror.take_event(Event(changed.version, changed)) == []
    assert mirror.take_event(Event("9", second, gone=True)) == [(second, None)]
    assert mirror.take_listing(Listing((second,), "10")) == [(changed, None), (None, second)]
    later = pod("b", uid="2", status={"phase": "Running"})
    assert mirror.take_listing(Listing((later,), "11")) == [(second, later)]
    assert not mirror.take_written(pod("never", uid="3"))
    assert [one.place.name for one in mirror] == ["b"]
