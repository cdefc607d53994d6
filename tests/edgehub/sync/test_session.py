"""The session with the cloud, state by state: what it says, when it says it again, and when it stays away."""

import asyncio
import dataclasses
from itertools import pairwise

import pytest

from edgehub.sync.states import SyncState
from tests.edgehub.sync.conftest import TANK
from twin import exchange as ex
from twin.document import Slot
from twin.manifest.agreement import summary
from twin.model import Section, Site
from twin.wire import topics

pytestmark = pytest.mark.fast


def test_it_connects_resyncs_and_is_live(play):
    async def scene(rig):
        await rig.edge.set_desired(TANK, {"valve": 40}, by="cli").stored()
        await rig.live()
        assert rig.states == [SyncState.OFFLINE, SyncState.CONNECTING, SyncState.RESYNC, SyncState.LIVE]
        assert rig.equal()
        assert rig.session.dialogue.progress.unsent.leaves == 0
        assert 0 < rig.session.dialogue.last_resync_s < 2

    play(scene)


def test_it_is_not_live_before_the_documents_agree_and_asks_again(play):
    async def scene(rig):
        rig.cloud.knows_documents = False
        await rig.until(lambda: rig.cloud.heard_of(ex.Digests))
        await asyncio.sleep(25)
        assert rig.session.state is SyncState.RESYNC
        assert rig.equal()
        assert len(rig.cloud.heard_of(ex.DocumentDigests)) == 3
        rig.cloud.knows_documents = True
        await rig.live()

    play(scene)


def test_live_changes_go_both_ways_at_once(play):
    async def scene(rig):
        await rig.live()
        await rig.edge.set_desired(TANK, {"valve": 41}, by="cli").stored()
        assert await rig.until(rig.equal) < 0.1
        await rig.cloud.set(valve=42)
        assert await rig.until(rig.equal) < 0.1
        assert rig.edge.delta(TANK)["valve"].value == 42

    play(scene)


def test_a_cut_line_counts_what_is_unsent_and_sends_it_when_it_is_back(play):
    async def scene(rig):
        await rig.live()
        rig.broker.cut(rig.links[-1])
        await rig.until(lambda: rig.session.state is SyncState.OFFLINE)
        for value in range(5):
            rig.edge.report(TANK, {"level": value}, {}, at=rig.clock.now_us() // 1000, by="mapper")
        await rig.edge.set_desired(TANK, {"valve": 9}, by="cli").stored()
        await asyncio.sleep(30)
        assert rig.session.dialogue.progress.unsent.leaves == 2
        assert 25_000 < rig.session.dialogue.progress.lag_ms(rig.clock.now_us() // 1000) < 35_000
        assert "lost" in rig.session.stand.why
        rig.broker.restore(rig.links[-1])
        await rig.live()
        assert rig.equal()
        assert (
            rig.session.dialogue.progress.unsent.leaves,
            rig.session.dialogue.progress.lag_ms(rig.clock.now_us() // 1000),
        ) == (0, 0)

    play(scene)


def test_what_is_unsent_is_known_after_a_restart_without_a_line(play):
    async def scene(rig):
        await rig.edge.set_desired(TANK, {"valve": 1}, by="cli").stored()
        await rig.live()
        await asyncio.sleep(5)
        rig.place = None
        await rig.until(lambda: rig.session.state is SyncState.OFF)
        acked = int(rig.edge.notes("sync")["acked"])
        assert await rig.edge.replica.unsent(acked) == (0, 0)
        await rig.edge.set_desired(TANK, {"valve": 2}, by="cli").stored()
        assert (await rig.edge.replica.unsent(acked))[0] == 1

    play(scene)


def test_the_birth_is_told_at_each_connect_and_the_will_when_the_line_breaks(play):
    async def scene(rig):
        told = []
        watcher = rig.broker.link()
        await watcher.subscribe(topics.sync_state("gw-1"), lambda message: told.append(message.payload))
        async with watcher:
            await rig.live()
            rig.broker.cut(rig.links[-1])
            await asyncio.sleep(1)
            rig.broker.restore(rig.links[-1])
            await rig.live()
            assert told == [b'{"online":true}', b'{"online":false}', b'{"online":true}']

    play(scene)


def test_a_silent_cloud_is_asked_again_and_then_dialled_anew(play):
    async def scene(rig):
        await rig.live()
        rig.cloud.mute = True
        hellos = len(rig.cloud.heard_of(ex.Hello))
        await rig.until(lambda: rig.session.state is SyncState.CONNECTING)
        took_s = await rig.until(lambda: len(rig.links) == 2)
        assert len(rig.cloud.heard_of(ex.Hello)) - hellos in (3, 4)  # the new line has begun with one
        assert took_s < 20
        rig.cloud.mute = False
        await rig.live()
        assert rig.equal()

    play(scene)


def test_a_lost_frame_is_sent_again(play):
    async def scene(rig):
        await rig.live()
        rig.cloud.mute = True  # takes nothing and says nothing, but is alive again before the session counts as lost
        await rig.edge.set_desired(TANK, {"valve": 7}, by="cli").stored()
        await asyncio.sleep(3)
        rig.cloud.mute = False
        assert await rig.until(rig.equal) < 4
        assert rig.session.state is SyncState.LIVE

    play(scene)


def test_a_busy_cloud_is_waited_for_on_the_open_line(play):
    async def scene(rig):
        rig.cloud.refuse = lambda hello: ex.Refusal(hello.nonce, ex.RefusedFor.BUSY, 10.0)
        await rig.until(lambda: "busy" in rig.session.stand.why)
        began = len(rig.cloud.heard)
        rig.cloud.refuse = None
        took_s = await rig.live()
        assert 9 < took_s < 12
        assert len(rig.links) == 1
        assert [type(one) for one in rig.cloud.heard[began : began + 1]] == [ex.Hello]
        assert rig.session.stand.alarm == ""

    play(scene)


@pytest.mark.parametrize(
    ("why", "alarm"), [(ex.RefusedFor.FENCED, "another gateway with the name gw-1"), (ex.RefusedFor.REVOKED, "join")]
)
def test_a_fenced_or_revoked_gateway_stays_off_the_broker_and_says_so(play, why, alarm):
    async def scene(rig):
        told = []
        await rig.cloud.link.subscribe(topics.sync_state("gw-1"), lambda message: told.append(message.payload))
        rig.cloud.refuse = lambda hello: ex.Refusal(hello.nonce, why, 30.0)
        await rig.until(lambda: rig.session.stand.alarm)
        assert alarm in rig.session.stand.alarm
        await rig.until(lambda: rig.links[-1].state == "closed")
        heard = len(rig.cloud.heard)
        await rig.edge.set_desired(TANK, {"valve": 7}, by="cli").stored()
        await asyncio.sleep(28)
        assert len(rig.cloud.heard) == heard
        assert told == [b'{"online":true}']
        assert rig.session.state is SyncState.OFFLINE
        rig.cloud.refuse = None
        took_s = await rig.live(80)
        assert 1 < took_s < 35
        assert rig.session.stand.alarm == ""
        assert rig.equal()

    play(scene)


def test_a_refusal_that_answers_another_hello_changes_nothing(play):
    async def scene(rig):
        await rig.live()
        rig.cloud.say(ex.Refusal("other", ex.RefusedFor.FENCED, 30.0))
        await asyncio.sleep(1)
        assert (rig.session.state, rig.session.stand.alarm) == (SyncState.LIVE, "")

    play(scene)


def test_other_keys_or_another_cloud_are_noticed_without_a_restart(play):
    async def scene(rig):
        await rig.live()
        rig.place = dataclasses.replace(rig.place, identity=2)
        await rig.until(lambda: len(rig.links) == 2, 5)
        await rig.live()

    play(scene)


def test_the_cloud_may_ask_for_a_session_and_for_documents(play):
    async def scene(rig):
        await rig.live()
        session = rig.cloud.feed.session
        rig.cloud.say(ex.Ask(session, documents=True))
        await asyncio.sleep(1)
        assert [bool(one.summary) for one in rig.cloud.heard_of(ex.DocumentDigests)] == [True, False]
        rig.cloud.say(ex.Ask("another", hello=True))
        rig.cloud.say(ex.Ask(session, hello=True))
        await asyncio.sleep(1)
        assert len(rig.cloud.heard_of(ex.Hello)) == 2
        await rig.live()
        assert rig.cloud.feed.session != session

    play(scene)


def test_twins_and_documents_are_compared_now_and_then_and_what_slipped_through_is_mended(play):
    async def scene(rig):
        await rig.live()
        slot = Slot(5, rig.clock.now_us(), 0, "restored", 0)
        row = ex.Row(TANK, "u1", Section.DESIRED, "valve", Site.CLOUD, slot)
        await rig.cloud.engine.replica.merge([row]).stored()
        assert not rig.equal()
        took_s = await rig.until(rig.equal, 800)
        assert 530 < took_s < 670
        assert len(rig.cloud.heard_of(ex.DocumentDigests)) == 2

    play(scene, digests_every_s=600.0)


def test_an_idle_session_says_only_that_it_is_alive(play):
    async def scene(rig):
        await rig.live()
        await asyncio.sleep(3)
        heard = len(rig.cloud.heard)
        await asyncio.sleep(60)
        said = rig.cloud.heard[heard:]
        assert {type(one) for one in said} == {ex.Alive}
        assert 25 <= len(said) <= 31

    play(scene)


def test_documents_that_change_here_go_at_once_and_digests_follow(play):
    async def scene(rig):
        await rig.live()
        ref = ex.DocumentRef("Device", "plant", "tank")
        state = ex.DocumentState(ref, "u1", 1, "h", frozenset())
        rig.documents.books[ref] = ex.DocumentRow(state, {"kind": "Device"})
        rig.session.documents_changed([ref])
        await asyncio.sleep(0.5)
        (sent,) = rig.cloud.heard_of(ex.Documents)
        assert sent.rows == (rig.documents.books[ref],)
        await asyncio.sleep(5)
        assert rig.cloud.heard_of(ex.DocumentDigests)[-1].summary == summary([state])

    play(scene)


def test_documents_of_the_cloud_are_taken_and_wanted_ones_sent(play):
    async def scene(rig):
        await rig.live()
        ref = ex.DocumentRef("Device", "plant", "pump")
        mine = ex.DocumentRow(ex.DocumentState(ref, "u1", 1, "h", frozenset()), {"kind": "Device"})
        rig.documents.books[ref] = mine
        theirs = ex.DocumentRow(ex.DocumentState(ref._replace(name="tank"), "u2", 1, "h", frozenset()), {})
        rig.cloud.say(ex.Documents(rig.cloud.feed.session, (theirs,), (ref,)))
        await asyncio.sleep(0.5)
        assert rig.documents.taken == [theirs]
        assert rig.cloud.heard_of(ex.Documents)[-1].rows == (mine,)

    play(scene)


def test_history_drains_behind_live_state(play):
    async def scene(rig):
        for value in range(5000):
            rig.edge.report(TANK, {"level": value}, {}, at=rig.clock.now_us() // 1000, by="mapper")
            if value % 100 == 0:
                await rig.edge.settled()
        await rig.edge.settled()
        await rig.live()
        await asyncio.sleep(5)
        frames = rig.cloud.heard_of(ex.HistoryFrame)
        values = [one.value for frame in frames for series in frame.series for one in series.readings]
        assert values == list(range(5000))
        assert all(before.upto == after.from_ for before, after in pairwise(frames))
        kinds = [type(one) for one in rig.cloud.heard]
        assert kinds.index(ex.HistoryFrame) > max(at for at, kind in enumerate(kinds) if kind is ex.Digests)

    play(scene)


def test_a_command_runs_once_however_often_it_comes(play):
    async def scene(rig):
        await rig.live()
        session, now_ms = rig.cloud.feed.session, rig.clock.now_us() // 1000
        command = ex.Command(session, "k1", now_ms + 30_000, TANK, {"valve": 77}, "ada")
        for _ in range(3):
            rig.cloud.say(command)
        rig.cloud.say(dataclasses.replace(command, id="k2", expires_at=now_ms - 1))
        await asyncio.sleep(1)
        done = rig.cloud.heard_of(ex.CommandDone)
        assert [(one.id, one.outcome) for one in done] == [("k1", ex.Outcome.DONE)] * 3 + [("k2", ex.Outcome.EXPIRED)]
        assert rig.edge.document(TANK).version == 2
        assert rig.edge.document(TANK).desired["valve"].edge.by == "ada"

    play(scene)


def test_unreadable_messages_are_dropped_and_the_session_lives(play):
    async def scene(rig):
        await rig.live()
        for payload in (b"", b"{", b"\x78\x01", b'{"type":"nosuch"}'):
            rig.cloud.link.publish(topics.sync_down("gw-1"), payload, qos=1)
        await rig.cloud.set(valve=3)
        assert await rig.until(rig.equal) < 1
        assert rig.session.dialogue.down.dropped == 4

    play(scene)
