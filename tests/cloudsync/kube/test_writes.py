"""How fast the cluster is written to, and what it is told."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudsync.kube.device_status import device_status, with_desired
from cloudsync.kube.nodes import Gateway, new_lease, new_node, node_status, said
from cloudsync.kube.pod_status import Reported, differs, refused_status, reported_status
from cloudsync.kube.writes import Lane, Writes
from tests.cloudsync.kube.words import container, obj, pod
from twin.document import Leaf, Slot, TwinDocument
from twin.model import Kind, PropertySpec, Quality, Reason, TwinKey, TwinSpec, ValueType

pytestmark = pytest.mark.fast

NOW = 1_800_000_000_000
STEPS = st.lists(st.tuples(st.sampled_from(list(Lane)), st.integers(0, 20), st.floats(0, 0.5)), max_size=200)


@given(STEPS, st.floats(0.5, 20), st.integers(1, 10))
def test_it_never_writes_faster_than_it_may(steps, rate_hz, burst):
    writes = Writes(rate_hz=rate_hz, burst=burst)
    now_s, written = 0.0, []
    for lane, name, wait_s in steps:
        now_s += wait_s
        writes.want(lane, name)
        while writes.due(now_s) is not None:
            writes.spend()
            written.append(now_s)
    for first, at_s in enumerate(written):
        for last in range(first, len(written)):
            assert last - first + 1 <= burst + 1 + (written[last] - at_s) * rate_hz + 1e-6


@given(st.sets(st.integers(0, 50), min_size=1), st.integers(0, 50))
def test_everybody_who_waits_has_a_turn_before_anybody_has_two(names, busy):
    writes = Writes(rate_hz=1.0, burst=1)
    for name in names:
        writes.want(Lane.DEVICES, name)
    turns = []
    for now_s in range(1, 2 * len(names) + 4):
        writes.want(Lane.PODS, busy)  # it changes all the time
        turns.append(writes.due(float(now_s)))
        writes.spend()
    assert {(Lane.DEVICES, name) for name in names} <= set(turns)


def test_one_that_changes_a_hundred_times_is_written_once():
    writes = Writes(rate_hz=1.0, burst=5)
    for _ in range(100):
        writes.want(Lane.DEVICES, "pump")
    assert writes.due(0.0) == (Lane.DEVICES, "pump")
    assert writes.due(0.0) is None
    assert writes.wait_s(0.0) is None


def test_it_says_when_to_ask_again():
    writes = Writes(rate_hz=2.0, burst=1)
    writes.want(Lane.PODS, "a")
    writes.want(Lane.PODS, "b")
    assert writes.due(0.0) == (Lane.PODS, "a")
    writes.spend()
    assert writes.due(0.0) is None
    assert writes.wait_s(0.0) == pytest.approx(0.5)
    assert writes.due(0.5) == (Lane.PODS, "b")


# -- pods ------------------------------------------------------------------------------------------------------------


def reported(at=NOW, **values):
    slots = {name: Slot(value, 1, at=at) for name, value in values.items()}
    return TwinDocument(TwinSpec(TwinKey(Kind.POD, "default", "web"), "uid-web", gateway="gw-1"), 1, {}, slots)


RUNNING = {"state": "running", "ready": True, "restarts": 0}
CONDITIONS = {"PodScheduled": True, "Initialized": True, "ContainersReady": True, "Ready": True}


def test_a_running_pod_is_told_and_telling_it_again_changes_nothing():
    one = pod()
    twin = reported(phase="Running", containers={"app": RUNNING}, conditions=CONDITIONS, reason="", message="")
    status = reported_status(one, Reported.of(twin, "uid-web"), "192.0.2.7", NOW)
    assert status["phase"] == "Running"
    assert status["podIP"] == "192.0.2.7"
    assert status["containerStatuses"][0]["state"]["running"] == {"startedAt": "2027-01-15T08:00:00Z"}
    assert differs(one, status)
    kept = {name: value for name, value in status.items() if value is not None}
    told = pod(status=kept)
    later = reported(NOW + 60_000, phase="Running", containers={"app": RUNNING}, conditions=CONDITIONS, reason="")
    assert not differs(told, reported_status(told, Reported.of(later, "uid-web"), "192.0.2.7", NOW + 60_000))


def test_a_pod_with_a_network_of_its_own_is_told_with_its_own_address():
    twin = reported(phase="Running", containers={"app": RUNNING}, conditions=CONDITIONS, address="10.89.0.4")
    status = reported_status(pod(), Reported.of(twin, "uid-web"), "192.0.2.7", NOW)
    assert (status["hostIP"], status["podIP"]) == ("192.0.2.7", "10.89.0.4")


def test_a_restart_has_another_time_and_the_conditions_of_others_stay():
    theirs = {"type": "DisruptionTarget", "status": "True"}
    before = {"containerStatuses": [{"name": "app", "restartCount": 0, "state": {"running": {"startedAt": "then"}}}]}
    one = pod(status={**before, "conditions": [theirs]})
    twin = reported(phase="Running", containers={"app": {**RUNNING, "restarts": 1}}, conditions=CONDITIONS)
    status = reported_status(one, Reported.of(twin, "uid-web"), "", NOW)
    assert status["containerStatuses"][0]["state"]["running"]["startedAt"] != "then"
    assert theirs in status["conditions"]
    assert "podIP" not in status


def test_a_crash_waits_and_an_end_has_its_code():
    containers = {
        "app": {"state": "waiting", "reason": "CrashLoopBackOff", "restarts": 3, "ready": False},
        "side": {"state": "exited", "exit_code": 3, "reason": "Error", "restarts": 0, "ready": False},
    }
    one = pod(containers=[container(), container("side")])
    twin = reported(phase="Running", containers=containers, conditions={"Initialized": True}, reason="CrashLoopBackOff")
    app, side = reported_status(one, Reported.of(twin, "uid-web"), "", NOW)["containerStatuses"]
    assert app["state"] == {"waiting": {"reason": "CrashLoopBackOff"}}
    assert side["state"]["terminated"].items() >= {"exitCode": 3, "reason": "Error"}.items()


def test_what_another_life_of_the_pod_reported_is_not_told():
    assert Reported.of(reported(phase="Running"), "another") is None
    assert Reported.of(None, "uid-web") is None


def test_a_pod_that_cannot_be_stays_pending_with_the_reason():
    status = refused_status(pod(), "spec.hostPID: no", NOW)
    assert status["phase"] == "Pending"
    assert {one["type"]: one["status"] for one in status["conditions"]} == {
        "PodScheduled": "True", "Initialized": "False", "ContainersReady": "False", "Ready": "False"
    }  # fmt: skip
    assert status["message"] == "spec.hostPID: no"


# -- devices ---------------------------------------------------------------------------------------------------------


def tank(reported=None, desired=None):
    properties = {"valve": PropertySpec("valve", ValueType.INT), "on": PropertySpec("on", ValueType.BOOLEAN)}
    spec = TwinSpec(TwinKey(Kind.DEVICE, "default", "pump"), "u", gateway="gw-1", properties=properties)
    return TwinDocument(spec, 1, desired or {}, reported or {})


def test_a_device_is_told_in_kubeedges_words():
    twin = tank({"valve": Slot(40, 1, at=NOW), "on": Slot(True, 1, at=NOW)}, {"valve": Leaf(cloud=Slot(50, 1, at=5))})
    assert device_status(twin, alive=True) == {
        "twins": [
            {
                "propertyName": "on",
                "reported": {"value": "true", "metadata": {"timestamp": str(NOW), "type": "boolean"}},
            },
            {
                "propertyName": "valve",
                "reported": {"value": "40", "metadata": {"timestamp": str(NOW), "type": "int"}},
                "observedDesired": {"value": "50", "metadata": {"timestamp": "5", "type": "int"}},
            },
        ],
        "state": "online",
        "lastOnlineTime": "2027-01-15T08:00:00Z",
    }


def test_a_device_that_does_not_answer_is_offline_and_one_out_of_sight_unknown():
    bad = tank({"valve": Slot(40, 1, at=NOW, quality=Quality.BAD, reason=Reason.TIMEOUT)})
    status = device_status(bad, alive=True)
    assert status["state"] == "offline"
    assert "lastOnlineTime" not in status
    assert status["twins"][0]["reported"]["metadata"].items() >= {"quality": "bad", "reason": "timeout"}.items()
    assert device_status(bad, alive=False)["state"] == "unknown"
    assert device_status(tank(), alive=True)["state"] == "unknown"


def test_what_people_desire_in_the_older_api_is_written_back_with_what_is_reported():
    there = obj("Device", "pump", spec={}, status={"twins": [{"propertyName": "valve", "desired": {"value": "7"}}]})
    status = with_desired(device_status(tank({"valve": Slot(40, 1, at=NOW)}), alive=True), there)
    assert status["twins"][0]["desired"] == {"value": "7"}
    assert status["twins"][0]["reported"]["value"] == "40"


# -- nodes -----------------------------------------------------------------------------------------------------------

SYSTEM = {"kernel": "6.1", "os": "Debian", "addresses": ["192.0.2.7"]}
SAID = {"cpu": 4, "memory": 2**30, "arch": "arm64", "system": SYSTEM, "version": "0.1.0"}


def node(**status):
    return obj("Node", "gw-1", "", status=status)


def test_a_node_says_what_its_gateway_is():
    gateway = Gateway("gw-1", alive=True, heard_at=NOW, said=SAID)
    status = node_status(gateway, node(), NOW)
    assert status["capacity"] == {"cpu": "4", "memory": "1048576Ki", "pods": "110"}
    assert status["nodeInfo"].items() >= {"architecture": "arm64", "kernelVersion": "6.1", "osImage": "Debian"}.items()
    assert status["addresses"][0] == {"type": "InternalIP", "address": "192.0.2.7"}
    assert new_node(gateway, "gw-1", taint=False)["spec"] == {}
    assert new_lease("gw-1", node(), NOW)["spec"]["renewTime"] == "2027-01-15T08:00:00.000000Z"


def test_a_condition_keeps_the_time_of_its_change_and_those_of_others_stay():
    gateway = Gateway("gw-1", alive=True, heard_at=NOW, said=SAID)
    theirs = {"type": "NetworkUnavailable", "status": "False", "lastTransitionTime": "once"}
    first = node_status(gateway, node(conditions=[theirs]), NOW)
    assert theirs in first["conditions"]
    later = node_status(gateway, node(**first), NOW + 60_000)
    assert said(later) == said(first)
    assert [one["lastTransitionTime"] for one in later["conditions"]] == [
        one["lastTransitionTime"] for one in first["conditions"]
    ]
    away = node_status(Gateway("gw-1", alive=False, heard_at=NOW, said=SAID), node(**later), NOW + 90_000)
    assert {one["type"]: one["status"] for one in away["conditions"]}["Ready"] == "Unknown"
    assert said(away) != said(later)
