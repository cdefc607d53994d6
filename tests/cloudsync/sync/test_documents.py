"""Documents between edge and cloud, what twins follow from them, and the cloud's own verb apply."""

import itertools
import json
from pathlib import Path

import pytest

from cloudsync.applying import Applying
from tests.cloudsync.sync.rig import frame, report
from twin.exchange import Ask, DocumentDigests, DocumentRef, DocumentRow, Documents, DocumentState, Frame
from twin.manifest.agreement import summary
from twin.manifest.catalog import content_hash
from twin.manifest.problems import InvalidManifest
from twin.model import Kind, TwinKey
from twin.sealing import Sealer
from twin.wire.api import ApplyMode, ApplyRequest, DocumentSource

pytestmark = pytest.mark.fast

MODEL = {
    "apiVersion": "edgetwin.dev/v1",
    "kind": "DeviceModel",
    "metadata": {"namespace": "plant", "name": "pump"},
    "spec": {
        "properties": [
            {"name": "speed", "type": "INT", "accessMode": "ReadWrite", "minimum": 0, "maximum": 100},
            {"name": "flow", "type": "FLOAT", "accessMode": "ReadOnly"},
        ]
    },
}
PUMP = TwinKey(Kind.DEVICE, "plant", "pump-1")


def device(gateway="gw", speed=None):
    spec = {"deviceModelRef": {"name": "pump"}, **({"gateway": gateway} if gateway else {})}
    if speed is not None:
        spec["properties"] = [{"name": "speed", "desired": {"value": speed}}]
    about = {"namespace": "plant", "name": "pump-1"}
    return {"apiVersion": "edgetwin.dev/v1", "kind": "Device", "metadata": about, "spec": spec}


def row(raw, uid="d1", generation=1, gone=()):
    ref = DocumentRef(raw["kind"], raw["metadata"]["namespace"], raw["metadata"]["name"])
    return DocumentRow(DocumentState(ref, uid, generation, content_hash(raw), frozenset(gone)), raw)


def given(session, *rows):
    return Documents(session, rows)


def kept(cloud, gateway="gw"):
    async def read():
        async with cloud.store.transaction(gateway) as tx:
            return await tx.documents()

    return cloud.run(read())


def twins(cloud):
    return {one.spec.key for one in cloud.run(cloud.store.twins(limit=100))}


def test_the_cloud_asks_for_what_it_lacks_and_defines_twins_of_what_comes(cloud):
    session = cloud.session()
    rows = [row(MODEL, "m1"), row(device(), "d1")]
    (answer,) = cloud.say(DocumentDigests(session, tuple(one.state for one in rows)))
    assert sorted(answer.wanted) == sorted(one.state.ref for one in rows)
    assert answer.rows == ()
    assert cloud.say(given(session, *rows)) == []
    document = cloud.document(PUMP)
    assert (document.spec.uid, document.spec.gateway, document.spec.model) == ("d1", "gw", "pump")
    assert document.spec.properties["speed"].maximum == 100
    assert cloud.say(DocumentDigests(session, tuple(one.state for one in rows))) == [Documents(session)]


def test_rows_that_came_before_their_document_are_seen_with_it(cloud):
    session = cloud.session()
    cloud.say(frame(session, 0, report(10, 7.5, "flow", uid="d1", key=PUMP)))
    assert PUMP not in twins(cloud)
    cloud.say(given(session, row(MODEL, "m1"), row(device(), "d1")))
    assert cloud.document(PUMP).reported["flow"].value == 7.5


def test_a_wiped_edge_gets_its_documents_back(cloud):
    session = cloud.session()
    rows = [row(MODEL, "m1"), row(device(), "d1")]
    cloud.say(given(session, *rows))
    (answer,) = cloud.say(DocumentDigests(session, ()))
    assert sorted(answer.rows) == sorted(rows)


def test_a_document_that_was_deleted_at_the_edge_takes_its_twin_with_it(cloud):
    session = cloud.session()
    cloud.say(given(session, row(MODEL, "m1"), row(device(), "d1")))
    ref = row(device()).state.ref
    cloud.say(given(session, DocumentRow(DocumentState(ref, "", 0, "", frozenset({"d1"})), None)))
    assert PUMP not in twins(cloud)
    (answer,) = cloud.say(given(session, row(device(), "d1")))  # an old one does not bring it back
    assert answer.rows[0].state.gone == {"d1"}
    assert PUMP not in twins(cloud)


def test_a_change_of_the_model_changes_the_twins_of_its_devices(cloud):
    session = cloud.session()
    cloud.say(given(session, row(MODEL, "m1"), row(device(), "d1")))
    wider = {**MODEL, "spec": {"properties": [{**MODEL["spec"]["properties"][0], "maximum": 200}]}}
    cloud.say(given(session, row(wider, "m1", 2)))
    assert cloud.document(PUMP).spec.properties["speed"].maximum == 200


def test_a_device_of_another_gateway_is_kept_and_makes_no_twin(cloud, caplog):
    session = cloud.session()
    cloud.say(given(session, row(MODEL, "m1"), row(device("other"), "d1")))
    assert row(device("other")).state.ref in kept(cloud)
    assert PUMP not in twins(cloud)
    assert "names another gateway" in caplog.text


def test_a_key_that_another_gateway_has_is_not_taken_away(cloud, caplog):
    cloud.say(given(cloud.session("gw"), row(MODEL, "m1"), row(device("gw"), "d1")))
    other = cloud.session("other")
    cloud.say(given(other, row(MODEL, "m2"), row(device(""), "d2")), gateway="other")
    assert cloud.document(PUMP).spec.gateway == "gw"
    assert "is a twin of gateway gw" in caplog.text


def test_documents_of_kinds_that_are_not_known_are_kept_and_carried(cloud):
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"namespace": "plant", "name": "web"}, "spec": {"x": 1}}
    session = cloud.session()
    cloud.say(given(session, row(pod, "p1")))
    (answer,) = cloud.say(DocumentDigests(session, ()))
    assert answer.rows == (row(pod, "p1"),)


def test_twins_that_the_edge_makes_itself_go_when_it_names_them_no_more(cloud):
    session = cloud.session()
    mapper, gateway = TwinKey(Kind.MAPPER, "default", "modbus"), TwinKey(Kind.GATEWAY, "default", "gw")
    cloud.say(frame(session, 0, report(10, key=mapper, uid=""), report(11, key=gateway, uid="")))
    assert {mapper, gateway} <= twins(cloud)
    cloud.say(DocumentDigests(session, (), own=((gateway, ""),)))
    assert mapper not in twins(cloud)
    assert gateway in twins(cloud)


POD = TwinKey(Kind.POD, "plant", "web")
WEB = {"apiVersion": "v1", "kind": "Pod", "metadata": {"namespace": "plant", "name": "web"}, "spec": {}}


def agree(cloud, session, gateway="gw"):
    """The edge says that it has all as it is here."""
    states = [one.state for one in kept(cloud, gateway).values()]
    return cloud.say(DocumentDigests(session, (), summary=summary(states)), gateway=gateway)


def test_a_gateway_agrees_until_documents_change_here(cloud):
    session = cloud.session()
    assert not cloud.state().agreed
    agree(cloud, session)
    assert cloud.state().agreed
    apply(cloud, MODEL, device())
    assert not cloud.state().agreed
    agree(cloud, session)
    assert cloud.state().agreed
    cloud.session(runs=("e1", "e2"))
    assert not cloud.state().agreed


def test_a_pod_that_moved_has_its_twin_where_it_is_though_its_former_gateway_reports_it_late(cloud):
    old, new = cloud.session(), cloud.session("gw-2", runs=("f1",))
    cloud.say(given(new, row(WEB, "p2")), gateway="gw-2")
    cloud.say(frame(old, 0, report(10, key=POD, uid="p1", name="phase")))
    cloud.say(frame(new, 0, report(11, key=POD, uid="p2", name="phase")), gateway="gw-2")
    assert cloud.document(POD).spec.gateway == "gw"
    agree(cloud, old)
    agree(cloud, new, "gw-2")
    assert (cloud.document(POD).spec.gateway, cloud.document(POD).spec.uid) == ("gw-2", "p2")
    assert cloud.document(POD).reported["phase"].value == 1


def test_the_desired_values_of_an_edges_document_are_the_edges_to_write(cloud):
    session = cloud.session()
    cloud.say(given(session, row(MODEL, "m1"), row(device(speed=40), "d1")))
    assert cloud.document(PUMP).desired == {}


# -- apply -------------------------------------------------------------------------------------------------------


def yaml_of(*documents):
    return "\n---\n".join(json.dumps(one) for one in documents)


def apply(cloud, *documents, mode=ApplyMode.APPLY, dry_run=False):
    numbers = itertools.count(1)
    sealer = Sealer(Path("nowhere"))
    applying = Applying(cloud.hub, cloud.store, known=cloud._known, new_uid=lambda: f"a{next(numbers)}", sealer=sealer)
    source = DocumentSource(name="plant.yaml", text=yaml_of(*documents))
    request = ApplyRequest(sources=[source], mode=mode, dry_run=dry_run)
    began = len(cloud.sent)
    reply = cloud.run(applying.apply(request, by="ann"))
    return reply, [message for _, message in cloud.sent[began:]]


def test_apply_puts_a_device_with_its_model_into_the_set_of_its_gateway_and_sends_it(cloud):
    session = cloud.session()
    reply, sent = apply(cloud, MODEL, device())
    assert sorted((one.document, one.action) for one in reply.changes) == [
        ("Device plant/pump-1 at gw", "created"),
        ("DeviceModel plant/pump at gw", "created"),
    ]
    (documents,) = [one for one in sent if isinstance(one, Documents)]
    assert documents.session == session
    assert {one.state.ref.kind for one in documents.rows} == {"Device", "DeviceModel"}
    assert cloud.document(PUMP).spec.gateway == "gw"
    assert [one.account for one in cloud.run(cloud.store.audit_log())] == ["ann", "ann"]


def test_apply_again_changes_nothing(cloud):
    cloud.session()
    apply(cloud, MODEL, device())
    reply, sent = apply(cloud, MODEL, device())
    assert {one.action for one in reply.changes} == {"unchanged"}
    assert not [one for one in sent if isinstance(one, Documents)]


def test_what_an_applied_document_desires_is_written_in_the_clouds_slot(cloud):
    session = cloud.session()
    _, sent = apply(cloud, MODEL, device(speed=40))
    leaf = cloud.document(PUMP).desired["speed"]
    assert (leaf.edge, leaf.cloud.value, leaf.cloud.by) == (None, 40, "ann")
    assert any(isinstance(one, Frame) and one.session == session for one in sent)
    tick = leaf.cloud.tick
    apply(cloud, MODEL, device(speed=40))
    assert cloud.document(PUMP).desired["speed"].cloud.tick == tick


def test_a_dry_run_and_a_diff_change_nothing(cloud):
    cloud.session()
    reply, sent = apply(cloud, MODEL, device(), dry_run=True)
    assert {one.action for one in reply.changes} == {"created"}
    reply, _ = apply(cloud, MODEL, device(), mode=ApplyMode.DIFF)
    assert "+kind: Device" in "".join(one.diff for one in reply.changes)
    assert (kept(cloud), sent) == ({}, [])


@pytest.mark.parametrize(
    ("documents", "text"),
    [
        ([MODEL, device("")], "names no gateway"),
        ([MODEL, device("nobody")], "no gateway nobody has joined"),
        ([device()], "needs the DeviceModel plant/pump"),
        ([MODEL, device(speed=400)], "outside the limits 0 to 100"),
    ],
)
def test_a_problem_is_told_with_file_and_line_and_changes_nothing(cloud, documents, text):
    cloud.unknown.add("nobody")
    other = {**device(), "metadata": {"namespace": "plant", "name": "other"}, "spec": {**device()["spec"]}}
    with pytest.raises(InvalidManifest, match=text) as caught:
        apply(cloud, *documents, {**other, "spec": {**other["spec"], "gateway": "gw2"}})
    assert caught.value.problems[0].source == "plant.yaml"
    assert kept(cloud) == kept(cloud, "gw2") == {}


def test_a_device_is_not_taken_from_the_gateway_that_has_it(cloud):
    apply(cloud, MODEL, device("gw"))
    with pytest.raises(InvalidManifest, match="is a twin of gateway gw"):
        apply(cloud, MODEL, device("gw2"))


def test_a_model_alone_goes_to_every_gateway_that_has_it(cloud):
    apply(cloud, MODEL, device("gw"))
    wider = {**MODEL, "spec": {"properties": [{**MODEL["spec"]["properties"][0], "maximum": 200}]}}
    reply, _ = apply(cloud, wider)
    assert [(one.document, one.action) for one in reply.changes] == [("DeviceModel plant/pump at gw", "updated")]
    assert cloud.document(PUMP).spec.properties["speed"].maximum == 200
    lonely = {**MODEL, "metadata": {"namespace": "plant", "name": "lonely"}}
    reply, _ = apply(cloud, lonely)
    assert "is used by no device" in reply.warnings[0]


def test_delete_takes_the_twin_and_the_edge_is_told(cloud):
    cloud.session()
    apply(cloud, MODEL, device())
    with pytest.raises(InvalidManifest, match="needs the DeviceModel"):
        apply(cloud, MODEL, mode=ApplyMode.DELETE)
    reply, sent = apply(cloud, device(), mode=ApplyMode.DELETE)
    assert [one.action for one in reply.changes] == ["deleted"]
    (documents,) = [one for one in sent if isinstance(one, Documents)]
    assert documents.rows[0].state.gone
    assert PUMP not in twins(cloud)


def test_both_sides_come_to_the_same_documents_whoever_changed_them(cloud):
    """Made at both sites during one outage: the cloud's life goes on, the edge's ends."""
    apply(cloud, MODEL, device())
    session = cloud.session()
    edge = row(device(), "e9")
    (answer,) = cloud.say(DocumentDigests(session, (edge.state,)))
    told = {one.state.ref.kind: one.state for one in answer.rows}
    assert told["Device"].uid.startswith("a")
    assert told["Device"].gone == {"e9"}
    assert kept(cloud)[edge.state.ref].state == told["Device"]
    states = tuple(one.state for one in kept(cloud).values())
    assert cloud.say(DocumentDigests(session, states)) == [Documents(session)]
    assert cloud.say(DocumentDigests(session, (), (), summary(states))) == [Documents(session)]
    assert cloud.say(DocumentDigests(session, (), (), summary(states[:1]))) == [Ask(session, documents=True)]
