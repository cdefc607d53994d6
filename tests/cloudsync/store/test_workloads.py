"""Workloads, placements and leases: one contract on either database; and a database of the release before."""

import dataclasses
import sqlite3

import pytest

from cloudsync.store import AuditEntry
from cloudsync.store.opening import open_store
from cloudsync.store.workloads import Identity, Lease, Placement, PlacementState, PodReport, Workload
from tests.cloudsync.store.words import reported
from twin.clock import SystemClock
from twin.exchange import DocumentRef, DocumentRow, DocumentState
from twin.model import Kind, TwinKey, TwinSpec

SHOP = DocumentRef("Deployment", "plant", "shop")
WEB = DocumentRef("Pod", "plant", "web")
ENV = DocumentRef("ConfigMap", "plant", "web")
POD = TwinKey(Kind.POD, "plant", "web")


def workload(ref=WEB, **more):
    raw = {"kind": ref.kind, "spec": {"a\0": [1, 1.5, None, "ü"]}}
    return dataclasses.replace(Workload(ref, "u1", 1, "h1", raw), **more)


async def put(store, *workloads):
    async with store.workloads.transaction() as tx:
        await tx.put(workloads)


async def test_workloads_are_kept_by_kind_namespace_and_name(store):
    web = workload(owner="d1", made="t1", why="0/0 gateways\0", at=17)
    await put(store, web, workload(SHOP))
    assert await store.workloads.get([WEB]) == [web]
    assert await store.workloads.owned("d1", limit=2) == [web]
    assert await store.workloads.owned("", limit=2) == []
    newer = workload(generation=2, hash="h2", raw={})
    await put(store, newer)
    assert await store.workloads.get([WEB, ENV]) == [newer]
    assert sorted(await store.workloads.identities()) == [Identity(SHOP, "u1", 1), Identity(WEB, "u1", 2)]
    async with store.workloads.transaction() as tx:
        await tx.delete([WEB, ENV])
        assert await tx.get([WEB]) == []
    assert [one.ref for one in await store.workloads.identities()] == [SHOP]


async def test_pages_of_a_kind_come_in_order(store):
    refs = [DocumentRef("Pod", namespace, name) for namespace in ("a", "b") for name in ("x", "y", "z")]
    await put(store, *(workload(ref) for ref in refs), workload(SHOP))
    first = await store.workloads.page("Pod", limit=4)
    assert [one.ref for one in first] == refs[:4]
    assert [one.ref for one in await store.workloads.page("Pod", after="b/x", limit=4)] == refs[4:]
    assert [one.ref for one in await store.workloads.page("Pod", namespace="a", after="a/x", limit=9)] == refs[1:3]


async def test_why_a_pod_waits_is_written_and_taken_back(store):
    await put(store, workload(), workload(ENV))
    async with store.workloads.transaction() as tx:
        await tx.explain({WEB: "no room", SHOP: "there is none"})
    assert [(one.ref, one.why) for one in await store.workloads.get([WEB, ENV])] in (
        [(WEB, "no room"), (ENV, "")],
        [(ENV, ""), (WEB, "no room")],
    )
    async with store.workloads.transaction() as tx:
        await tx.explain({WEB: ""})
    assert (await store.workloads.get([WEB]))[0].why == ""


async def test_placements_are_by_gateway_and_document(store):
    here = Placement("gw-1", WEB, "u1", "d1", since=5, grace_s=30)
    there = Placement("gw-2", WEB, "u1", "d1", PlacementState.LEAVING, 7, 30, "u1:1", "h")
    config = Placement("gw-1", ENV, "c1")
    async with store.workloads.transaction() as tx:
        await tx.place([here, there, config])
    assert await store.workloads.placements() == [config, here, there]
    assert await store.workloads.placements([WEB]) == [here, there]
    ending = dataclasses.replace(there, state=PlacementState.ENDING)
    async with store.workloads.transaction() as tx:
        await tx.place([ending])
        await tx.forget([here.place, ("gw-3", WEB)])
    assert await store.workloads.placements() == [config, ending]


async def test_the_revision_rises_with_each_change_and_not_with_one_that_failed(store):
    began = await store.workloads.revision()
    async with store.workloads.transaction() as tx:
        assert tx.revision == began + 1
    assert await store.workloads.revision() == began + 1

    async def fail():
        async with store.workloads.transaction() as tx:
            await tx.put([workload(ENV)])
            await tx.place([Placement("gw-1", ENV, "c1")])
            await tx.audit(AuditEntry(1, "ann", "apply", "x"))
            1 / 0  # noqa: B018  # anything that raises

    with pytest.raises(ZeroDivisionError):
        await fail()
    assert await store.workloads.revision() == began + 1
    assert await store.workloads.identities() == []
    assert await store.workloads.placements() == []
    assert await store.audit_log() == []


async def test_what_gateways_have_and_whether_they_are_there_is_read_for_all_at_once(store):
    row = DocumentRow(DocumentState(WEB, "p1", 3, "h", frozenset()), {"spec": {}})
    gone = DocumentRow(DocumentState(ENV, "", 0, "", frozenset({"c"})), None)
    async with store.transaction("gw-1") as tx:
        await tx.put_document(row)
        await tx.put_document(gone)
        tx.state.online, tx.state.heard_at, tx.state.agreed = True, 99, True
    async with store.transaction("gw-2"):
        pass
    assert await store.workloads.in_sets(("Pod", "ConfigMap")) == [("gw-1", Identity(WEB, "p1", 3), "h")]
    assert await store.workloads.in_sets(("Secret",)) == []
    assert await store.workloads.presences() == [("gw-1", True, 99, True), ("gw-2", False, 0, False)]


async def test_what_gateways_report_of_pods_is_found_by_pod(store):
    async with store.transaction("gw-1") as tx:
        await tx.join(
            [
                reported("Running", 1, key=POD, uid="p1", name="phase"),
                reported(True, 2, key=POD, uid="p1", name="ready"),
                reported("long", 3, key=POD, uid="p1", name="message"),
            ]
        )
    other = TwinKey(Kind.POD, "plant", "nosuch")
    found = await store.workloads.reports([POD, other], ("phase", "ready"))
    assert found == {POD: PodReport("p1", "gw-1", {"phase": "Running", "ready": True})}
    assert await store.workloads.reports([POD], ("nosuch",)) == {POD: PodReport("p1", "gw-1", {})}
    assert await store.workloads.reports([], ("phase",)) == {}


async def test_what_a_gateway_reports_of_itself_is_found_in_the_same_way(store):
    key = TwinKey(Kind.GATEWAY, "default", "gw-1")
    async with store.transaction("gw-1") as tx:
        await tx.join([reported({"interest": ["a/b"]}, 1, key=key, uid="", name="mesh")])
        await tx.define(TwinSpec(key, "", gateway="gw-1"))
    found = await store.workloads.reports([POD, key], ("mesh",))
    assert found == {key: PodReport("", "gw-1", {"mesh": {"interest": ["a/b"]}})}


async def test_many_documents_are_kept_at_once(store):
    rows = [
        DocumentRow(DocumentState(DocumentRef("Pod", "plant", f"p{number}"), "u", 1, "h", frozenset()), {"n": number})
        for number in range(300)
    ]
    async with store.transaction("gw-1") as tx:
        await tx.put_documents(rows)
        await tx.put_documents([])
        await tx.put_documents([rows[7]._replace(raw={"n": -1})])
    async with store.transaction("gw-1") as tx:
        found = await tx.documents()
    assert [found[row.state.ref].raw for row in rows] == [{"n": -1 if n == 7 else n} for n in range(300)]


async def test_a_lease_has_one_holder_and_tells_since_when_it_was_held_without_a_gap(store):
    async def take(holder, now, until=None):
        return await store.workloads.lease("s", holder, now=now, until=until or now + 100, gap_ms=50)

    assert await take("a", 1000) == Lease(held=True, since=1000)
    assert (await take("b", 1050)).held is False
    assert await take("a", 1050) == Lease(held=True, since=1000)
    assert await take("b", 1190) == Lease(held=True, since=1000)  # 40 ms after its end
    assert await take("a", 1400) == Lease(held=True, since=1400)
    await store.workloads.release("s", "b", now=1410)
    assert (await take("b", 1410)).held is False
    await store.workloads.release("s", "a", now=1410)
    assert await take("b", 1410) == Lease(held=True, since=1400)


async def test_a_lease_of_a_clock_that_was_ahead_holds_nothing(store):
    await store.workloads.lease("s", "a", now=10**9, until=10**9 + 100, gap_ms=50)
    assert await store.workloads.lease("s", "b", now=1000, until=1100, gap_ms=50) == Lease(held=True, since=1000)


async def test_a_database_of_the_release_before_gets_the_new_tables_and_keeps_what_it_has(tmp_path):
    path = tmp_path / "cloud.db"
    made = open_store(f"sqlite:///{path}", SystemClock())
    await made.open()
    async with made.transaction("gw-1") as tx:
        tx.state.tick = 7
    await made.close()
    with sqlite3.connect(path) as old:  # what 0001 left
        for table in ("workload_state", "workload", "placement", "lease", "bundle", "rollout"):
            old.execute(f"DROP TABLE {table}")
        old.execute("ALTER TABLE gateway DROP COLUMN agreed")
        old.execute("UPDATE cloud_schema SET version = 1")
    old.close()
    again = open_store(f"sqlite:///{path}", SystemClock())
    await again.open()
    (state,) = await again.gateways()
    assert (state.tick, state.agreed) == (7, False)
    assert await again.workloads.revision() == 0
    await again.close()
