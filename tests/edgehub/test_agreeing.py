"""The registry and documents of the cloud: joined, checked, served or kept aside, and never in the way."""

import json

import pytest

from edgehub.documents import open_documents
from edgehub.registry import Registry
from twin.exchange import DocumentRef, DocumentRow, DocumentState
from twin.manifest.catalog import content_hash
from twin.manifest.problems import InvalidManifest
from twin.manifest.read import read_documents
from twin.manifest.yaml import Source
from twin.wire.api import ApplyMode, ApplyRequest, DocumentSource

pytestmark = pytest.mark.fast

MODEL = """
apiVersion: edgetwin.dev/v1
kind: DeviceModel
metadata: {name: valve}
spec: {properties: [{name: position, type: INT, accessMode: ReadWrite, maximum: 100}]}
"""
DEVICE = """
apiVersion: edgetwin.dev/v1
kind: Device
metadata: {name: v1}
spec: {deviceModelRef: {name: valve}}
"""
ALL = f"{MODEL}---{DEVICE}"
V1 = DocumentRef("Device", "default", "v1")
VALVE = DocumentRef("DeviceModel", "default", "valve")
SERVICE = """
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {ports: [{port: 80}]}
"""
JOB = DocumentRef("Job", "plant", "web")


def documents(text):
    return read_documents([Source("test.yaml", text.encode())]).documents


def row(text, uid="c1", generation=1, gone=()):
    """A document as the cloud sends it."""
    (one,) = documents(text)
    ref = DocumentRef(one.kind.value, one.namespace, one.name)
    return DocumentRow(DocumentState(ref, uid, generation, content_hash(one.raw), frozenset(gone)), one.raw)


def gone(ref, *uids):
    return DocumentRow(DocumentState(ref, "", 0, "", frozenset(uids)), None)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "registry.json"


@pytest.fixture
def registry(path):
    with Registry(path) as opened:
        yield opened


def uid_of(registry, ref):
    return registry.books.state(ref).uid


def test_documents_of_the_cloud_are_served_with_their_uid_and_generation(registry, path):
    agreement = registry.agree([row(DEVICE, "d", 4), row(MODEL, "m", 7)])
    assert agreement.changed == {V1, VALVE}
    assert (agreement.answer, agreement.wanted) == ((), ())
    stored = registry.books.stored(V1)
    assert (stored.uid, stored.generation) == ("d", 4)
    assert registry.books.known[V1].by_cloud
    registry.close()
    with Registry(path) as again:
        assert again.states() == registry.states()
        assert again.books.known == registry.books.known


def test_a_service_of_the_cloud_is_served_changed_and_deleted(registry):
    ref = DocumentRef("Service", "default", "web")
    registry.agree([row(SERVICE, "s", 1)])
    registry.agree([row(SERVICE.replace("80", "81"), "s", 2)])
    assert registry.books.stored(ref).document.spec.ports[0].port == 81
    bad = row(SERVICE, "s", 3)
    refused = registry.agree([DocumentRow(bad.state, {**bad.raw, "spec": {"type": "LoadBalancer"}})])
    assert "spec.type" in refused.books.known[ref].aside.why
    assert registry.books.stored(ref).document.spec.ports[0].port == 81
    registry.agree([gone(ref, "s")])
    assert registry.books.stored(ref) is None


def test_the_same_rows_again_change_nothing_and_write_nothing(registry, path):
    rows = [row(MODEL, "m", 7)]
    registry.agree(rows)
    before = path.stat().st_mtime_ns
    assert registry.agree(rows).changed == frozenset()
    assert path.stat().st_mtime_ns == before


def test_a_deleted_document_does_not_come_back_by_a_late_message(registry, path):
    registry.agree([row(MODEL, "m")])
    (change,) = registry.delete([one.ref for one in documents(MODEL)]).changes
    assert change.uid == "m"
    assert registry.agree([row(MODEL, "m", 9)]).answer == (VALVE,)
    assert registry.books.stored(VALVE) is None
    registry.close()
    with Registry(path) as again:
        again.agree([row(MODEL, "m", 9)])
        assert again.books.stored(VALVE) is None
        again.apply(documents(MODEL))
        assert uid_of(again, VALVE) not in ("", "m")


def test_the_cloud_deletes_what_it_may_and_what_is_still_needed_stays_and_is_told(registry):
    registry.apply(documents(ALL))
    model, device = uid_of(registry, VALVE), uid_of(registry, V1)
    registry.agree([gone(VALVE, model)])
    assert registry.books.stored(VALVE) is not None
    assert "valve" in str(documents_refused(registry)[VALVE])
    assert uid_of(registry, VALVE) == ""
    registry.agree([gone(V1, device)])
    assert registry.books.stored(V1) is None
    assert registry.books.stored(VALVE) is None
    assert documents_refused(registry) == {}


def documents_refused(registry):
    from edgehub.agreeing import refused

    return refused(registry.books)


def test_a_document_that_a_check_refuses_is_kept_aside_and_what_was_served_stays(registry, path):
    registry.apply(documents(ALL))
    uid = uid_of(registry, V1)
    bad = row(DEVICE.replace("name: valve", "name: nosuch"), uid, 5)
    good = row(MODEL.replace("100", "200"), uid_of(registry, VALVE), 5)
    agreement = registry.agree([bad, good])
    assert registry.books.stored(V1).generation == 1
    assert registry.books.stored(VALVE).generation == 5
    assert "nosuch" in documents_refused(registry)[V1]
    assert registry.books.state(V1) == bad.state  # agreed, so that the cloud does not send it again and again
    assert agreement.answer == ()
    registry.close()
    with Registry(path) as again:
        assert again.books.state(V1) == bad.state
        assert again.books.stored(V1).generation == 1
        again.agree([row(MODEL.replace("name: valve", "name: nosuch"), "n", 1)])
        assert again.books.stored(V1).generation == 5
        assert documents_refused(again) == {}


def test_unreadable_content_and_a_false_name_are_kept_aside_too(registry):
    broken = row(DEVICE)._replace(raw={"kind": "Device", "apiVersion": "edgetwin.dev/v1", "metadata": {"name": "v1"}})
    registry.agree([broken, row(MODEL)._replace(raw=documents(MODEL.replace("valve", "other"))[0].raw)])
    assert set(documents_refused(registry)) == {V1, VALVE}
    assert registry.view.stored == {}


def test_a_local_apply_replaces_what_stands_aside_on_both_sides(registry):
    registry.apply(documents(ALL))
    uid = uid_of(registry, V1)
    registry.agree([row(DEVICE.replace("name: valve", "name: nosuch"), uid, 5)])
    registry.apply(documents(DEVICE.replace("name: v1", "name: v1, labels: {a: b}")))
    state = registry.books.state(V1)
    assert (state.uid, state.generation) == (uid, 6)
    assert documents_refused(registry) == {}


def test_a_local_edit_while_the_line_is_cut_goes_up_and_stands(registry):
    registry.agree([row(MODEL, "m", 3)])
    registry.apply(documents(MODEL.replace("100", "50")))
    old = row(MODEL, "m", 3)
    agreement = registry.agree([old])
    assert agreement.answer == (VALVE,)
    assert registry.books.row(VALVE).state.generation == 4
    assert not registry.books.known.get(VALVE)


def test_a_name_made_on_both_sides_is_the_clouds_and_the_other_uid_is_gone(registry):
    registry.apply(documents(MODEL))
    mine = uid_of(registry, VALVE)
    agreement = registry.agree([row(MODEL.replace("100", "50"), "theirs")])
    state = registry.books.state(VALVE)
    assert (state.uid, state.gone) == ("theirs", {mine})
    assert agreement.answer == (VALVE,)  # the cloud has to know which uid is gone


def test_content_that_did_not_come_is_asked_for(registry):
    assert registry.agree([row(MODEL)._replace(raw=None)]).wanted == (VALVE,)
    assert registry.states() == []


def test_kinds_without_a_use_are_kept_and_carried(registry, path):
    raw = {"kind": "Job", "metadata": {"name": "web"}, "spec": {"image": "a"}}
    registry.agree([DocumentRow(DocumentState(JOB, "p", 2, "h", frozenset()), raw)])
    assert registry.books.row(JOB).raw == raw
    assert documents_refused(registry) == {}
    registry.carry(JOB, {**raw, "spec": {"image": "b"}})
    assert registry.books.state(JOB)[1:3] == ("p", 3)
    registry.close()
    with Registry(path) as again:
        assert again.books.row(JOB).raw["spec"] == {"image": "b"}
        again.carry(JOB, None)
        assert again.books.state(JOB) == DocumentState(JOB, "", 0, "", frozenset({"p"}))
        again.agree([DocumentRow(DocumentState(JOB, "p", 9, "h", frozenset()), raw)])
        assert again.books.row(JOB).raw is None


def test_an_edit_by_hand_counts_as_one_of_this_site(registry, path):
    registry.agree([row(MODEL, "m", 3), row(DEVICE, "d", 2)])
    registry.close()
    text = json.loads(path.read_text())
    rows = text["tables"]["documents"]
    number = next(number for number, one in rows.items() if one["kind"] == "Device")
    del rows[number]
    next(iter(rows.values()))["metadata"]["labels"] = {"a": "b"}
    path.write_text(json.dumps(text))
    with Registry(path) as again:
        assert again.books.state(VALVE)[1:3] == ("m", 4)
        assert again.books.state(V1) == DocumentState(V1, "", 0, "", frozenset({"d"}))


def test_a_bad_row_of_what_is_known_is_told(registry, path):
    registry.agree([row(MODEL, "m", 3)])
    registry.close()
    text = json.loads(path.read_text())
    text["tables"]["known"]["1"]["nosuch"] = 1
    path.write_text(json.dumps(text))
    with Registry(path) as again:  # the copy takes its place
        assert uid_of(again, VALVE) == "m"
    assert list(path.parent.glob("*.corrupt-1"))


def test_apply_tries_again_what_was_refused(path):
    with open_documents(path, "gw-1") as opened:
        opened.agree([row(DEVICE, "d")])
        assert list(opened.refused()) == ["Device default/v1"]
        opened.apply(ApplyRequest(sources=[DocumentSource(name="m.yaml", text=MODEL)]))
        assert opened.refused() == {}
        assert [str(spec.key) for spec in opened.specs()] == ["device/default/v1"]
        assert [str(key) for key in opened.by_cloud()] == ["device/default/v1"]


# -- Secrets -----------------------------------------------------------------------------------------------------

SECRET = """
apiVersion: v1
kind: Secret
metadata: {name: word}
data: {word: VALUE}
"""
OF_CLOUD = SECRET.replace("VALUE", "'sealed:2:AAAA'")
OF_HERE = SECRET.replace("VALUE", "aGVyZQ==")
WORD = DocumentRef("Secret", "default", "word")


def test_a_secret_that_was_made_here_is_told_to_nobody_whatever_becomes_of_it(registry):
    registry.apply(documents(OF_HERE))
    assert registry.states() == []
    assert registry.books.row(WORD).raw is None
    registry.apply(documents(OF_HERE.replace("aGVyZQ", "bm93")))
    registry.delete([one.ref for one in documents(OF_HERE)])
    assert registry.states() == []


def test_a_secret_of_the_cloud_is_told_back_as_it_came_and_its_end_too(registry, path):
    came = row(OF_CLOUD, "s")
    agreement = registry.agree([came])
    assert agreement.answer == ()
    assert registry.states() == [came.state]
    assert registry.books.stored(WORD).document.spec.data == {"word": "sealed:2:AAAA"}
    registry.close()
    with Registry(path) as again:
        assert again.states() == [came.state]
        assert again.agree([gone(WORD, "s")]).answer == ()
        assert again.books.stored(WORD) is None
        assert again.states() == [gone(WORD, "s").state]
        again.close()
    with Registry(path) as last:
        assert last.states() == [gone(WORD, "s").state]
        assert last.agree([row(OF_CLOUD, "t", gone=["s"])]).answer == ()
        assert last.books.stored(WORD).uid == "t"


def test_a_secret_of_the_cloud_does_not_take_the_place_of_one_that_was_made_here(registry, path):
    registry.apply(documents(OF_HERE))
    came = row(OF_CLOUD, "s")
    assert registry.agree([came]).answer == ()
    assert registry.books.stored(WORD).document.spec.data == {"word": "aGVyZQ=="}
    assert documents_refused(registry) == {
        WORD: "a Secret of this name was made at this gateway, and is used in its place"
    }
    assert registry.states() == [came.state]
    assert registry.books.row(WORD).raw == came.raw
    registry.agree([gone(WORD, "s")])
    assert registry.books.stored(WORD).document.spec.data == {"word": "aGVyZQ=="}
    assert registry.states() == [gone(WORD, "s").state]
    assert documents_refused(registry) == {}


def test_here_nobody_changes_a_secret_of_the_cloud(path):
    with Registry(path) as opened:
        opened.agree([row(OF_CLOUD, "s")])
    with open_documents(path, "gw-1") as found:
        sources = [DocumentSource(name="s.yaml", text=OF_HERE)]
        for mode in (ApplyMode.APPLY, ApplyMode.DELETE):
            with pytest.raises(InvalidManifest, match="was given by the cloud"):
                found.apply(ApplyRequest(sources=sources, mode=mode))
