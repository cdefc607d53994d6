"""The scheduler on a real store: what it writes down, what gateways get, and what happens when it is killed."""

import base64
import dataclasses
from pathlib import Path

import pytest

from cloudsync.scheduler.errands import Changed
from cloudsync.store.workloads import Placement, PlacementState
from tests.cloudsync.scheduler.site import config, deployment, gateway, open_site, pod, secret
from twin.envelope import Reader
from twin.errors import InvalidDocuments, StoreError
from twin.exchange import DocumentRef, DocumentRow, DocumentState
from twin.manifest.problems import InvalidManifest
from twin.wire.api import ApplyMode

pytestmark = pytest.mark.fast

EXAMPLE = Path(__file__).parents[3] / "docs" / "examples" / "workloads.yaml"
MOVES = {"edgetwin.dev/move-after": "30s"}
USES_ENV = {"envFrom": [{"configMapRef": {"name": "env"}}]}


@pytest.fixture
def site(tmp_path):
    with open_site(tmp_path, "gw-1", "gw-2") as made:
        yield made


def test_a_pod_is_put_into_the_set_of_one_gateway_with_what_it_names(site):
    site.apply(pod(containers=USES_ENV, nodeSelector={}), config(LEVEL="debug"), config("other"))
    site.settle()
    ((name, (there,)),) = site.where().items()
    assert name == "plant/web"
    documents = site.documents(there)
    assert set(documents) == {"Pod plant/web", "ConfigMap plant/env"}
    raw = documents["Pod plant/web"].raw
    assert raw["spec"]["nodeName"] == there
    assert "nodeSelector" not in raw["spec"]
    assert raw["metadata"]["annotations"]["edgetwin.dev/workload"].startswith("uid-")
    assert site.whys() == {"web": ""}
    log = site.run(site.store.audit_log())
    assert ("scheduler", "schedule", "Pod plant/web", f"goes to {there}") in [
        (one.account, one.action, one.subject, one.what) for one in log
    ]


def test_what_nobody_needs_any_more_is_taken_away(site):
    site.apply(pod(containers=USES_ENV), config(LEVEL="debug"))
    site.settle()
    site.apply(config(LEVEL="info"))
    site.settle()
    (there,) = site.where()["plant/web"]
    assert site.documents(there)["ConfigMap plant/env"].raw["data"] == {"LEVEL": "info"}
    site.apply(pod())
    site.settle()
    assert set(site.documents(there)) == {"Pod plant/web"}
    site.apply(pod(), mode=ApplyMode.DELETE)
    site.settle(60)
    assert site.documents(there) == {}
    assert site.stays() == []


CANARY = "c4n4ry-of-a-workload"


def test_a_secret_is_kept_encrypted_and_goes_encrypted_for_the_one_gateway_that_needs_it(site, tmp_path):
    readers = {name: Reader(tmp_path / name) for name in ("gw-1", "gw-2")}
    site.apply(pod(containers={"envFrom": [{"secretRef": {"name": "word"}}]}), secret(word=CANARY))
    site.settle(3)
    (there,) = site.where()["plant/web"]
    assert "Secret plant/word" not in site.documents(there)  # it has told no key yet
    for name, reader in readers.items():
        site.report_own(name, secrets_key=reader.public())
    site.settle(70)
    (there,) = site.where()["plant/web"]
    row = site.documents(there)["Secret plant/word"]
    text = row.raw["data"]["word"]
    assert readers[there].opened(text, [b"plant", b"word", b"word"]) == CANARY.encode()
    site.settle(70)
    assert site.documents(there)["Secret plant/word"] == row  # it is not encrypted again for nothing
    assert [one.action for one in site.apply(secret(word=CANARY)).changes] == ["unchanged"]
    site.apply(secret(word="other"))
    site.settle(3)
    text = site.documents(there)["Secret plant/word"].raw["data"]["word"]
    assert readers[there].opened(text, [b"plant", b"word", b"word"]) == b"other"
    (other,) = {"gw-1", "gw-2"} - {there}
    assert "Secret plant/word" not in site.documents(other)
    site.apply(pod())
    site.settle(3)
    assert set(site.documents(there)) == {"Pod plant/web"}
    plain = (CANARY.encode(), base64.b64encode(CANARY.encode()))
    kept = b"".join(path.read_bytes() for path in tmp_path.glob("cloud.db*"))
    assert not any(one in kept for one in plain)


def test_a_gateways_own_documents_are_left_as_they_are(site):
    own, other = config(LEVEL="mine"), pod("web")

    async def made_there():
        for name in ("gw-1", "gw-2"):
            async with site.store.transaction(name) as tx:
                for raw, kind in ((own, "ConfigMap"), (other, "Pod")):
                    ref = (kind, "plant", raw["metadata"]["name"])
                    state = DocumentState(DocumentRef(*ref), f"e-{kind}", 1, "h", frozenset())
                    await tx.put_document(DocumentRow(state, raw))

    site.run(made_there())
    site.apply(pod(), pod("fits", containers=USES_ENV), config(LEVEL="clouds"))
    site.settle()
    assert site.whys()["web"] == "0/2 gateways fit: 2 have a pod of its name"
    (there,) = site.where()["plant/fits"]
    assert site.documents(there)["ConfigMap plant/env"].raw["data"] == {"LEVEL": "mine"}
    assert site.documents(there)["Pod plant/web"].state.uid == "e-Pod"


def test_a_pending_pod_says_why_and_gets_its_place_when_a_gateway_comes(site):
    site.apply(
        gateway("gw-1", taints=[{"key": "dedicated", "effect": "NoSchedule"}]),
        pod(containers={"resources": {"requests": {"memory": "2Gi"}}}),
    )
    site.settle(3)
    assert site.whys()["web"] == "0/2 gateways fit: 1 have not enough memory, 1 have the taint dedicated"
    site.join("gw-3", memory=4 * 2**30)
    site.settle(5)
    assert site.where() == {"plant/web": ["gw-3"]}
    assert site.whys()["web"] == ""


def test_replicas_are_made_named_and_spread_and_a_new_template_replaces_them(site):
    site.apply(deployment(4, strategy={"rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}))
    site.settle()
    first = site.where()
    assert sorted(map(tuple, first.values())) == [("gw-1",), ("gw-1",), ("gw-2",), ("gw-2",)]
    assert all(name.startswith("plant/shop-") for name in first)
    pods = site.run(site.store.workloads.page("Pod", limit=9))
    owners = {tuple(one.raw["metadata"]["ownerReferences"][0].values())[:3] for one in pods}
    assert owners == {("apps/v1", "Deployment", "shop")}
    site.apply(deployment(4, command="10", strategy={"rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}))
    for _ in range(60):
        site.settle(2)
        for name, (there,) in site.where().items():
            site.report(there, name, ready=True)
    last = site.where()
    assert len(last) == 4
    assert not first.keys() & last.keys()
    site.apply(deployment(), mode=ApplyMode.DELETE)
    site.settle(60)
    assert site.where() == {}
    assert site.stays() == []


def test_a_pod_that_moves_goes_where_it_is_heard_of_and_the_record_stays_until_the_gateway_is_back(site):
    site.apply(pod("moves", annotations=MOVES), pod("stays"))
    site.settle()
    before = site.where()
    for name in ("gw-1", "gw-2"):
        if before["plant/moves"] == [name]:
            site.cut(name)
            gone = name
    site.settle(25)
    assert site.where() == before
    site.settle(20)
    (there,) = site.where()["plant/moves"]
    assert there != gone
    assert site.where()["plant/stays"] == before["plant/stays"]
    assert ("plant/moves", gone, "LEAVING") in site.stays()
    site.join(gone)
    site.settle(5)
    assert ("plant/moves", gone, "ENDING") in site.stays()
    site.settle(40)
    assert [one for one in site.stays() if one[0] == "plant/moves"] == [("plant/moves", there, "BOUND")]


def test_if_no_gateway_is_heard_of_it_is_the_cloud_that_is_cut_off(site):
    site.apply(pod("moves", annotations=MOVES))
    site.settle()
    before = site.where()
    site.cut("gw-1")
    site.cut("gw-2")
    for _ in range(120):
        site.wait(1)
        site.tick()
    site.join({"gw-1": "gw-2", "gw-2": "gw-1"}[before["plant/moves"][0]])
    site.settle(20)  # the other one may need as long
    assert site.where() == before
    site.settle(20)
    assert site.where() != before


def test_silence_from_before_somebody_listened_does_not_count(site):
    site.apply(pod("moves", annotations=MOVES))
    site.settle()
    before = site.where()["plant/moves"]
    site.cut(before[0])
    site.wait(3600)  # no worker runs
    site.new_scheduler()
    site.settle(20)
    assert site.where()["plant/moves"] == before
    site.settle(20)
    assert site.where()["plant/moves"] != before


def test_two_schedulers_take_turns(site):
    first = site.scheduler
    site.apply(pod())
    site.settle(3)
    second = site.new_scheduler()
    site.apply(pod("b"))
    site.run(second.tick())
    assert "plant/b" not in site.where()
    site.run(first.duty.release())
    site.wait(3)
    site.run(second.tick())
    site.run(second.tick())
    assert "plant/b" in site.where()
    site.apply(pod("c"))
    site.wait(3)
    site.run(first.tick())
    assert "plant/c" not in site.where()


def test_one_who_was_held_up_does_not_undo_what_another_has_written(site):
    site.apply(pod())
    web = DocumentRef("Pod", "plant", "web")
    scheduler = site.scheduler

    async def held_up():
        (workload,) = await site.store.workloads.get([web])
        bound = Placement("gw-1", web, workload.uid)
        async with site.store.workloads.transaction() as tx:
            await tx.place([bound])
        seen = await scheduler._looking.look(await site.store.workloads.revision(), 1, 1)
        async with site.store.workloads.transaction() as tx:
            await tx.place([dataclasses.replace(bound, state=PlacementState.LEAVING)])
        with pytest.raises(Changed):
            await scheduler._carrier.carry_out(seen, 1)

    site.run(held_up())
    assert site.stays() == [("plant/web", "gw-1", "LEAVING")]
    site.settle(60)
    assert site.stays() in ([("plant/web", "gw-1", "BOUND")], [("plant/web", "gw-2", "BOUND")])


def test_a_dry_run_changes_nothing_and_a_delete_of_what_is_not_there_is_refused(site):
    reply = site.apply(deployment(), dry_run=True)
    assert [(one.document, one.action) for one in reply.changes] == [("Deployment plant/shop", "created")]
    assert site.run(site.store.workloads.identities()) == []
    reply = site.apply(deployment(), mode=ApplyMode.DIFF)
    assert "+  replicas: 2" in reply.changes[0].diff
    with pytest.raises((InvalidManifest, InvalidDocuments), match="there is no such document"):
        site.apply(deployment(), mode=ApplyMode.DELETE)
    site.apply(deployment())
    assert [one.action for one in site.apply(deployment()).changes] == ["unchanged"]
    assert [one.action for one in site.apply(deployment(3)).changes] == ["updated"]


def test_the_example_of_the_page_is_placed_where_the_page_says(site):
    site.join("hall-1")
    site.apply(EXAMPLE.read_text(encoding="utf-8"))
    site.settle()
    assert list(site.where().values()) == [["hall-1"], ["hall-1"]]
    assert "ConfigMap plant/press-watch" in site.documents("hall-1")
    site.apply(deployment(1, name="other"))
    site.settle(3)
    (other,) = [there for name, there in site.where().items() if name.startswith("plant/other-")]
    assert other != ["hall-1"]  # it is for those that tolerate it


def test_a_restored_store_takes_back_the_pods_that_it_remembers(site, tmp_path):
    site.apply(pod())
    site.settle()
    (there,) = site.where()["plant/web"]
    rows = site.run(site.store.workloads.placements())

    async def forget():
        async with site.store.workloads.transaction() as tx:
            await tx.forget([one.place for one in rows])

    site.run(forget())
    site.settle(3)
    assert site.where() == {"plant/web": [there]}
    assert site.stays() == [("plant/web", there, "BOUND")]


ONE_IN = [pytest.param(6, id="one in six"), pytest.param(1, id="all", marks=pytest.mark.torture)]


@pytest.mark.parametrize("late", [False, True], ids=["before its commit", "after its commit"])
@pytest.mark.parametrize("one_in", ONE_IN)
def test_killed_at_any_write_the_next_one_goes_on_and_nothing_runs_twice(tmp_path, late, one_in):
    at, killed = 1 + late, True
    while killed:
        with open_site(tmp_path / f"{at}", "gw-1", "gw-2", "gw-3") as site:
            site.writes, site.fails_at, site.is_late = 0, at, late
            killed = lived_through_kills(site)
            check(site)
        at += one_in
    assert at > 15


def lived_through_kills(site):
    """A life with a gateway that is lost and comes back; whether the scheduler was killed in it."""
    short = {"terminationGracePeriodSeconds": 2}
    several = deployment(3, annotations=MOVES, grace=2)
    steps = [
        lambda: site.apply(several, pod(containers=USES_ENV, **short), config(LEVEL="debug")),
        lambda: site.cut("gw-2"),
        lambda: site.join("gw-2"),
        lambda: site.apply(pod(**short), deployment(2, annotations=MOVES, grace=2)),
    ]
    killed = False
    for step in steps:
        step()
        for _ in range(2):
            try:
                site.settle(20, step=4)
            except StoreError:
                killed = True
                site.new_scheduler()
    site.settle(40, step=4)
    return killed


def check(site):
    found = site.where()
    assert len([name for name in found if name.startswith("plant/shop-")]) == 2
    assert "plant/web" in found
    assert all(len(there) == 1 for there in found.values())
    placements = site.run(site.store.workloads.placements())
    assert {one.state.name for one in placements} == {"BOUND"}
    gateways = ("gw-1", "gw-2", "gw-3")
    there = {(name, row.state.ref) for name in gateways for row in site.documents(name).values()}
    assert {one.place for one in placements} == there
    assert not [ref for _, ref in there if ref.kind == "ConfigMap"]
