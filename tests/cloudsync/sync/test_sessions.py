"""Who gets a session: fencing, restarts, repeated Hellos, strangers, herds, and a store that was restored."""

import pytest

from cloudsync.mailbox import Seen
from cloudsync.pacing import Pacing
from cloudsync.sessions import is_online
from cloudsync.writing import set_desired
from tests.cloudsync.sync.rig import TANK, desired, frame, hello, report
from twin.exchange import Ack, Alive, Ask, Digests, Frame, HistoryAck, Refusal, RefusedFor, Run, Twins, Welcome
from twin.model import Section, Site

pytestmark = pytest.mark.fast


def kinds(messages):
    return [type(one) for one in messages]


def test_a_hello_is_welcomed_and_followed_by_what_the_edge_lacks(cloud):
    answer = cloud.say(hello("n1"))
    assert kinds(answer) == [Welcome, HistoryAck, Frame]
    assert answer[0].nonce == "n1"
    assert answer[2] == Frame(answer[0].session, 0, 0, ())
    assert cloud.state().run == "e1"


def test_a_hello_that_comes_twice_gets_the_same_session(cloud):
    first, again = cloud.say(hello("n1"))[0], cloud.say(hello("n1"))[0]
    assert again.session == first.session


def test_the_same_gateway_started_again_takes_over_at_once(cloud):
    first = cloud.session(runs=("e1",))
    assert cloud.session(runs=("e1", "e2")) != first
    assert cloud.state().run == "e2"


def test_a_second_gateway_with_the_id_is_fenced_while_the_first_is_alive(cloud):
    first = cloud.session(runs=("e1",))
    (refusal,) = cloud.say(hello("n9", ("x1",)))
    assert (refusal.why, refusal.nonce) == (RefusedFor.FENCED, "n9")
    assert refusal.retry_after_s >= 30
    assert cloud.state().session == first
    assert [entry.outcome for entry in cloud.run(cloud.store.audit_log())] == ["fenced"]


def test_the_fence_holds_as_long_as_the_first_is_heard_of(cloud):
    session = cloud.session(runs=("e1",))
    for _ in range(5):
        cloud.wait(5)
        cloud.hub.receive("gw", Alive(session))
        cloud.run(cloud.hub.renew_leases())
        assert kinds(cloud.say(hello("n9", ("x1",)))) == [Refusal]


def test_a_silent_session_gives_way(cloud):
    cloud.session(runs=("e1",))
    cloud.wait(6.5)
    assert kinds(cloud.say(hello("n9", ("x1",))))[0] is Welcome
    assert cloud.state().run == "x1"
    (refusal,) = cloud.say(hello("n10", ("e1",)))
    assert refusal.why is RefusedFor.FENCED


def test_a_copy_of_the_disk_is_told_from_the_first_by_its_next_start(cloud):
    cloud.session(runs=("e1", "e2"))
    (refusal,) = cloud.say(hello("n9", ("e1", "x2")))
    assert refusal.why is RefusedFor.FENCED


def test_a_gateway_that_is_not_known_is_refused_and_nothing_of_it_is_taken(cloud):
    session = cloud.session()
    cloud.unknown.add("gw")
    (refusal,) = cloud.say(hello("n2"))
    assert refusal.why is RefusedFor.REVOKED
    assert cloud.say(frame(session, 0, report(10))) == []
    assert not cloud.slots()
    cloud.hub.receive("gw", Alive("other"))
    cloud.run(cloud.hub.renew_leases())
    assert cloud.hub.dropped == 1


def test_a_hello_without_a_run_is_nobodys(cloud):
    (refusal,) = cloud.say(hello("n1", ()))
    assert isinstance(refusal, Refusal)
    assert not cloud.state().session


def test_a_herd_is_told_to_come_again_one_after_the_other(cloud):
    hub = cloud.worker(pacing=Pacing(rate_hz=10, burst=2, max_wait_s=100))
    answers = [cloud.say(hello(f"n{n}"), hub=hub, gateway=f"g{n}")[0] for n in range(12)]
    waits = [one.retry_after_s for one in answers if isinstance(one, Refusal)]
    assert len(waits) == 10
    assert waits == pytest.approx([0.1 * n for n in range(1, 11)], abs=0.02)
    cloud.wait(1.5)
    assert isinstance(cloud.say(hello("n0b"), hub=hub, gateway="g0")[0], Welcome)


def test_messages_of_another_session_change_nothing_and_are_asked_to_begin_anew(cloud):
    cloud.session()
    assert cloud.say(frame("other", 0, report(10))) == [Ask("other", hello=True)]
    assert cloud.say(frame("other", 0, report(10))) == []  # at most one in a second
    cloud.wait(1.1)
    assert cloud.say(Ack("other", 5)) == [Ask("other", hello=True)]
    assert not cloud.slots()


def test_alive_of_another_session_is_asked_to_begin_anew(cloud):
    cloud.session()
    cloud.hub.receive("gw", Alive("other"))
    began = len(cloud.sent)
    cloud.run(cloud.hub.renew_leases())
    assert cloud.sent[began:] == [("gw", Ask("other", hello=True))]


def test_birth_and_will_say_who_is_online(cloud):
    now_ms = cloud.clock.now_us() // 1000
    assert not is_online(cloud.state(), now_ms)
    cloud.session()
    assert is_online(cloud.state(), now_ms)
    assert cloud.say(Seen(online=False)) == []
    assert not is_online(cloud.state(), now_ms)
    assert cloud.say(Seen(online=True)) == []
    assert is_online(cloud.state(), now_ms)
    assert not is_online(cloud.state(), now_ms + 13_000)


def test_a_session_does_not_outlive_the_start_of_the_store(cloud):
    """A backup holds the session of its time; to go on with it would skip the look for lost state."""
    session = cloud.session()
    cloud.run(cloud.store.begin_run("c2"))
    assert cloud.say(frame(session, 0, report(10))) == [Ask(session, hello=True)]
    assert not cloud.slots()
    assert [run.id for run in cloud.state().runs] == ["c1", "c2"]


def test_an_idle_gateway_learns_of_a_new_start_from_the_lease_holder(cloud):
    session = cloud.session()
    cloud.run_id = "c2"
    cloud.run(cloud.store.begin_run("c2"))
    began = len(cloud.sent)
    cloud.run(cloud.leases(cloud.hub, "w1").round())
    assert cloud.sent[began:] == [("gw", Ask(session, hello=True))]


def test_a_restored_store_mends_itself_before_it_sends(cloud):
    """What it wrote since the backup goes above what the edge holds, what it had lost comes back."""

    async def write(turn):
        await turn.merge([desired(turn.take_tick(), 40, site=Site.CLOUD)])

    cloud.change(write)
    mine = cloud.slots()[Section.DESIRED, "valve", Site.CLOUD]
    lost = desired(mine.tick, 99, site=Site.CLOUD, seen=7)  # given in the life that was lost
    answer = cloud.say(hello("n1", met=("c0",), cursor=mine.tick, top=mine.tick))
    assert kinds(answer) == [Welcome, HistoryAck, Digests]
    assert answer[2].recovering
    session = answer[0].session
    theirs = Twins(session, (lost, report(5)), answer=True, differing=frozenset({(lost.key, "u1")}))
    answer = cloud.say(theirs)
    assert kinds(answer) == [Frame]
    slot = cloud.slots()[Section.DESIRED, "valve", Site.CLOUD]
    assert slot.value == 40  # newer than the restore, so it stands
    assert slot.tick > mine.tick
    assert slot.seen == 7
    assert cloud.slots()[Section.REPORTED, "level", Site.EDGE].value == 1
    assert not cloud.state().forked


def test_a_first_frame_lets_the_cloud_meet_the_runs_of_the_edge(cloud):
    session = cloud.session(runs=("e1", "e2"))
    assert cloud.state().met == ()
    cloud.say(frame(session, 0))
    assert cloud.state().met == (Run("e1", 1), Run("e2", 1))


def test_no_tick_is_given_that_the_edge_has_seen_already(cloud):
    far = cloud.clock.now_us() + 10**12
    cloud.session(met=("c1",), cursor=far, top=far)
    cloud.change(lambda turn: set_desired(turn, TANK, {"valve": 1}, by="ann"))
    assert cloud.state().tick == far + 1


def test_a_store_that_mends_itself_sends_nothing_until_it_is(cloud):
    cloud.change(lambda turn: set_desired(turn, TANK, {"valve": 1}, by="ann"))
    tick = cloud.state().tick
    cloud.session(met=("c0",), cursor=tick, top=tick)
    assert cloud.state().forked
    _, sent = cloud.change(lambda turn: set_desired(turn, TANK, {"valve": 2}, by="ann"))
    assert not [one for one in sent if isinstance(one, Frame)]


def test_a_mending_goes_on_in_the_next_session_though_the_edge_has_met_all_runs(cloud):
    """So it is in a store restored from a backup of that time, where the mending did come to its end."""
    cloud.session(met=("c0",), cursor=9, top=9)
    tick = cloud.state().tick
    cloud.run(cloud.store.begin_run("c2"))
    answer = cloud.say(hello("n2", met=("c0", "c1"), cursor=tick, top=tick))
    assert not [one for one in answer if isinstance(one, Frame)]
    assert [one.recovering for one in answer if isinstance(one, Digests)] == [True]
