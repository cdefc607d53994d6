"""The wire, byte by byte: each message as ``encode`` makes it, against a file that only changes with a new version.

A new message gets its file once: ``(GOLDEN / f"{name}.json").write_bytes(encode(MESSAGES[name]))``.
"""

import json
from pathlib import Path

import pytest

from twin.errors import InvalidMessage
from twin.history import Why
from twin.model import Drop, Keep, Quality, Reason, Site
from twin.wire import api, cloud_api, messages, peers
from twin.wire.codec import decode, encode
from twin.wire.messages import Ack, Delta, DesiredValue, ErrorBody, MapperState, Mark, RefusedReport, Report

pytestmark = pytest.mark.fast

GOLDEN = Path(__file__).parents[2] / "golden" / "wire" / "v1"
AT = 1_700_000_000_123
REFUSAL = ErrorBody(code="invalid_value", message="device/plant/tank: valve: 101 is outside", remedy="Send less.")
BODY = api.TwinBody(
    twin="device/plant/tank",
    version=7,
    uid="u1",
    model="tank",
    gateway="gw1",
    labels={"site": "north"},
    desired={"valve": api.LeafBody(value=40, at=AT, by="cli", unit="%"), "off": api.LeafBody(value=False, at=AT)},
    reported={
        "level": api.LeafBody(value=41.0, at=AT, by="modbus"),
        "note": api.LeafBody(value={"ü": [1, 1.0, None]}, at=AT),
        "raw": api.LeafBody(value=None, at=AT, quality=Quality.BAD, reason=Reason.TIMEOUT),
    },
    delta={"valve": 40, "off": False},
)
MESSAGES = {
    "report": Report(
        id=12,
        at=AT,
        values={"level": 41.0, "count": 7, "on": True, "text": 'ü"', "none": None, "all": {"a": [1, 1.5]}},
        marks={"raw": Mark(reason=Reason.TIMEOUT), "level": Mark(quality=Quality.UNCERTAIN, reason=Reason.STALE)},
    ),
    "report-times": Report(id=13, at=AT, values={"level": 41.0, "count": 7}, times={"level": AT - 20}),
    "report-empty": Report(id=0, at=0),
    "ack": Ack(stored=[12, 13], refused=[RefusedReport(id=14, error=REFUSAL)]),
    "delta": Delta(version=7, desired={"valve": DesiredValue(value=40, tick=AT * 1000)}),
    "delta-empty": Delta(version=8),
    "mapper-state": MapperState(online=True),
    "mesh-endpoints": peers.MeshEndpoints(
        gateway="gw-2",
        run="r1",
        number=3,
        zone="hall-1",
        offers=[
            peers.MeshOffer(
                of=peers.MeshPort(namespace="shop", service="web", port=80),
                endpoints=[
                    peers.MeshEndpoint(address="192.0.2.20", port=8080, hostname="web-0", weight=3),
                    peers.MeshEndpoint(address="2001:db8::20", port=8080, ready=False, terminating=True),
                ],
            ),
        ],
    ),
    "mesh-votes": peers.MeshVotes(
        gateway="gw-2",
        run="r1",
        number=9,
        votes=[
            peers.MeshVote(
                of=peers.MeshPort(service="log", port=514, transport="UDP"), place="192.0.2.30:514", alive=False
            )
        ],
        silent=["gw-3"],
    ),
    "get-request": api.GetRequest(twin="plant/tank"),
    "get-request-page": api.GetRequest(kind="device", namespace="plant", after="device/plant/tank", limit=50),
    "get-reply": api.TwinList(twins=[BODY], after="device/plant/tank"),
    "set-request": api.SetRequest(twin="plant/tank", desired={"valve": 40}, unset=["mode"], version=6),
    "set-reply": api.SetReply(version=7),
    "query-request": api.QueryRequest(
        query="SELECT name, reported.level FROM twins WHERE tags.area = 'hall-2'", limit=50, after="device/plant/pump"
    ),
    "query-reply": api.QueryReply(
        columns=["name", "reported.level"],
        rows=[["tank", 41.0], ["ü", None], ["note", {"a": [1, True]}]],
        more=True,
        after="device/plant/tank",
    ),
    "query-reply-empty": api.QueryReply(columns=["count"]),
    "watch-request": api.WatchRequest(namespace="plant", renew=True),
    "watch-event": api.WatchEvent(twin="device/plant/tank", body=BODY, desired=["valve"], reported=["level"]),
    "watch-event-ready": api.WatchEvent(ready=True),
    "explain-request": api.ExplainRequest(twin="plant/tank", property="valve"),
    "explain-reply": api.ExplainReply(
        twin="device/plant/tank",
        property="valve",
        policy="latest",
        slots=[
            api.SlotBody(site=Site.EDGE, value=40, tick=9, seen=8, by="cli", at=AT),
            api.SlotBody(site=Site.CLOUD, deleted=True, tick=8),
        ],
        winner=Site.EDGE,
        why="the edge wrote knowing the cloud's value",
        reported=api.LeafBody(value=39, at=AT, unit="%"),
        pending=True,
        rules=["type INT", "access ReadWrite"],
    ),
    "history-request": api.HistoryRequest(
        twin="plant/tank", property="level", since=AT, until=AT + 1, limit=2, after=f"{AT}:{AT * 1000}"
    ),
    "history-reply": api.HistoryReply(
        twin="device/plant/tank",
        property="level",
        unit="%",
        keep=Keep.CHANGES,
        drop=Drop.THIN,
        readings=[
            api.ReadingBody(at=AT, value=41.5),
            api.ReadingBody(at=AT + 1, value=41.5, quality=Quality.BAD, reason=Reason.TIMEOUT),
        ],
        gaps=[api.GapBody(since=AT - 9, until=AT - 1, count=7, why=Why.SPACE)],
        after=f"{AT + 1}:{AT * 1000 + 1}",
    ),
    "apply-request": api.ApplyRequest(
        sources=[api.DocumentSource(name="tank.yaml", text="kind: Device\n")], mode=api.ApplyMode.DIFF, dry_run=True
    ),
    "apply-reply": api.ApplyReply(
        changes=[api.DocumentChange(document="Device/plant/tank", action="updated", diff="-a\n+b\n")], warnings=["w"]
    ),
    "status-request": api.StatusRequest(),
    "status-reply": api.StatusReply(
        gateway="gw1",
        version="0.1.0",
        pid=7,
        started_at=AT,
        state_folder="state",
        broker="127.0.0.1:1883",
        twins=3,
        devices=2,
        devices_bad=["device/plant/pump"],
        reports=5,
        updates=6,
        refused=1,
        children=[api.ChildStatus(name="broker", running=True, pid=8, restarts=1)],
        alarms=["the store takes no changes: disk full"],
    ),
    "status-reply-connections": api.StatusReply(
        gateway="gw1",
        version="0.1.0",
        pid=7,
        started_at=AT,
        state_folder="state",
        broker="127.0.0.1:1883",
        twins=3,
        devices=2,
        connections=[
            api.ConnectionStatus(
                name="plant/main-board",
                mapper="modbus",
                state="lost",
                devices=2,
                devices_silent=1,
                requests=41,
                errors=3,
                latency_ms=1.25,
                last_error="192.0.2.10:502 does not answer",
            )
        ],
    ),
    "status-reply-sync": api.StatusReply(
        gateway="gw1",
        version="0.1.0",
        pid=7,
        started_at=AT,
        state_folder="state",
        broker="127.0.0.1:1883",
        twins=3,
        devices=2,
        sync=api.SyncBody(
            state="offline",
            since=AT,
            cloud="cloud.example:8883",
            why="the connection to cloud.example:8883 was lost",
            unsent=12,
            oldest_unsent_s=31.5,
            lag_s=40.0,
            last_resync=AT - 1,
            last_resync_s=0.4,
            refused_documents={"Device plant/tank": "spec.connection: it needs the Connection plant/x"},
        ),
    ),
    "set-request-command": api.SetRequest(twin="plant/tank", desired={"valve": 40}, expires_ms=30_000),
    "set-reply-command": api.SetReply(command="c-1"),
    "get-request-gateway": api.GetRequest(kind="device", gateway="gw1"),
    "watch-request-query": api.WatchRequest(query="SELECT name FROM twins"),
    "watch-event-row": api.WatchEvent(
        twin="device/plant/tank", row={"name": "tank", "ü": None}, change=api.LiveChange.ENTERED, initial=True
    ),
    "watch-event-left": api.WatchEvent(twin="device/plant/tank", change=api.LiveChange.LEFT),
    "watch-event-alive": api.WatchEvent(alive=True),
    "renew-request": cloud_api.KeepWatchRequest(stop=True),
    "set-where-request": cloud_api.SetWhereRequest(
        where="tags.area = 'hall-2'", desired={"valve": 40}, unset=["pump"], dry_run=True
    ),
    "set-where-reply": cloud_api.SetWhereReply(
        matched=3,
        done=2,
        refused=1,
        errors=[cloud_api.RefusedTwin(twin="device/plant/t7", error=REFUSAL)],
        finished=True,
    ),
    "status-request-page": api.StatusRequest(gateway="gw2", after="gw1", limit=7),
    "cloud-status-reply": cloud_api.CloudStatusReply(
        version="0.1.0",
        gateways=[
            cloud_api.GatewayBody(
                gateway="gw1", online=True, heard_at=AT, session="a.b", mending=True, unacked=True, commands=2
            )
        ],
        after="gw1",
    ),
    "workloads-request": cloud_api.WorkloadsRequest(kind="deployments", namespace="plant", after="plant/a", limit=7),
    "workloads-reply": cloud_api.WorkloadsReply(
        pods=[
            cloud_api.CloudPodBody(
                pod="plant/web-1",
                deployment="web",
                gateway="gw1",
                phase="Running",
                ready=True,
                restarts=2,
                reason="r",
                message="m",
                cut_off=True,
                may_run_at=["gw2"],
                deleted=True,
            )
        ],
        deployments=[
            cloud_api.CloudDeploymentBody(
                deployment="plant/web", replicas=3, pods=2, current=2, placed=1, ready=1, reason="no gateway fits"
            )
        ],
        after="plant/web-1",
    ),
    "audit-request": cloud_api.AuditRequest(since=AT, account="ann", limit=5),
    "audit-reply": cloud_api.AuditReply(
        entries=[
            cloud_api.AuditBody(
                at=AT,
                account="ann",
                action="set",
                subject="device/plant/tank",
                what="valve=40",
                outcome="accepted",
            )
        ]
    ),
    "reply": api.Reply(result={"version": 7}),
    "reply-error": api.Reply(error=REFUSAL),
}


@pytest.mark.parametrize("name", MESSAGES)
def test_a_message_is_written_as_it_always_was(name):
    assert encode(MESSAGES[name]) == (GOLDEN / f"{name}.json").read_bytes()


@pytest.mark.parametrize("name", MESSAGES)
def test_an_old_message_is_read_as_it_always_was(name):
    message = MESSAGES[name]
    assert decode(type(message), (GOLDEN / f"{name}.json").read_bytes(), what=name) == message


def test_every_message_has_its_file_and_every_file_its_message():
    assert {file.stem for file in GOLDEN.iterdir()} == set(MESSAGES)
    parts = {"Wire", "Mark", "ErrorBody", "RefusedReport", "DesiredValue", "LeafBody", "TwinBody", "SlotBody"}
    parts |= {
        "DocumentSource",
        "DocumentChange",
        "ChildStatus",
        "ConnectionStatus",
        "ReadingBody",
        "GapBody",
        "SyncBody",
    }
    parts |= {"SpecBody", "RefusedTwin", "GatewayBody", "AuditBody", "CloudPodBody", "CloudDeploymentBody"}
    parts |= {"MeshPort", "MeshEndpoint", "MeshOffer", "MeshVote"}
    parts |= {
        "SyncBody",
    }
    defined = {
        name
        for module in (messages, api, cloud_api, peers)
        for name, one in vars(module).items()
        if isinstance(one, type) and issubclass(one, messages.Wire)
    }
    assert defined - parts == {type(message).__name__ for message in MESSAGES.values()}


@pytest.mark.parametrize("name", MESSAGES)
def test_a_key_we_do_not_know_is_refused(name):
    mapping = json.loads(encode(MESSAGES[name]))
    with pytest.raises(InvalidMessage, match="nosuch"):
        decode(type(MESSAGES[name]), json.dumps({**mapping, "nosuch": 1}).encode(), what=name)
