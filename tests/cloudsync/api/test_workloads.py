"""The verb workloads: the cloud's own pods and Deployments, joined with what gateways report."""

import json

import pytest

from cloudsync.store.workloads import Placement, PlacementState
from tests.cloudsync.scheduler.site import config, deployment, pod
from twin.document import Slot
from twin.errors import NotAllowed
from twin.exchange import DocumentRef, Row
from twin.model import Kind, Section, Site, TwinKey
from twin.wire.api import ApplyMode, DocumentSource
from twin.wire.cloud_api import WorkloadsRequest

WEB = DocumentRef("Pod", "plant", "web")


def sources(*documents):
    return [DocumentSource(name="f.json", text="\n---\n".join(map(json.dumps, documents)))]


async def place(cloud, *placements):
    async with cloud.store.workloads.transaction() as tx:
        await tx.place(placements)


async def report(cloud, gateway, **values):
    key = TwinKey(Kind.POD, "plant", "web")
    async with cloud.hubs[0].change(gateway) as turn:
        turn.state.online, turn.state.heard_at = True, turn.now_ms
        await turn.merge(
            [
                Row(key, "p1", Section.REPORTED, name, Site.EDGE, Slot(value, number, 0, "hub", 1))
                for number, (name, value) in enumerate(values.items(), 1)
            ]
        )


async def test_pods_are_shown_where_they_are_with_what_their_gateway_says(cloud, client_of):
    root, vic = await client_of("root"), await client_of("vic")
    await root.apply(sources(pod(), config()))
    (one,) = (await vic.workloads(WorkloadsRequest())).pods
    assert (one.pod, one.gateway, one.phase, one.reason) == ("plant/web", "", "Pending", "it was not looked at yet")
    leaving = Placement("gw-0", WEB, "u0", state=PlacementState.LEAVING)
    await place(cloud, Placement("gw-1", WEB, "u1"), leaving)
    (one,) = (await vic.workloads(WorkloadsRequest())).pods
    assert (one.gateway, one.cut_off, one.may_run_at) == ("gw-1", False, ["gw-0"])
    await report(cloud, "gw-1", phase="Running", ready=True, restarts=2, reason="", message="", odd="x")
    (one,) = (await vic.workloads(WorkloadsRequest())).pods
    assert (one.phase, one.ready, one.restarts, one.cut_off) == ("Running", True, 2, False)
    await report(cloud, "gw-2", phase="Failed")
    (one,) = (await vic.workloads(WorkloadsRequest())).pods
    assert one.phase == "Running"


async def test_a_pod_that_was_deleted_is_shown_while_it_may_run(cloud, client_of):
    root = await client_of("root")
    await root.apply(sources(pod()))
    await place(cloud, Placement("gw-1", WEB, "u1", state=PlacementState.ENDING))
    await root.apply(sources(pod()), mode=ApplyMode.DELETE)
    (one,) = (await root.workloads(WorkloadsRequest(namespace="plant"))).pods
    assert (one.pod, one.deleted, one.phase, one.may_run_at) == ("plant/web", True, "Deleted", ["gw-1"])
    assert (await root.workloads(WorkloadsRequest(namespace="other"))).pods == []


async def test_pages_and_deployments(cloud, client_of):
    root = await client_of("root")
    await root.apply(sources(*(pod(f"p{number}") for number in range(5)), deployment(3)))
    first = await root.workloads(WorkloadsRequest(limit=3))
    rest = await root.workloads(WorkloadsRequest(limit=3, after=first.after))
    assert [one.pod for one in (*first.pods, *rest.pods)] == [f"plant/p{number}" for number in range(5)]
    assert rest.after == ""
    (one,) = (await root.workloads(WorkloadsRequest(kind="deployments"))).deployments
    assert (one.deployment, one.replicas, one.pods, one.placed, one.ready) == ("plant/shop", 3, 0, 0, 0)


async def test_workloads_are_for_all_to_see_and_for_admins_to_change(client_of):
    with pytest.raises(NotAllowed):
        await (await client_of("ann")).apply(sources(pod()))
    assert (await (await client_of("vic")).workloads(WorkloadsRequest())).pods == []
