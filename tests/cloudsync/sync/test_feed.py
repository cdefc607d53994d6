"""Frames, acks, digests and repeats at the cloud's end."""

import asyncio
import contextlib

import pytest

from cloudsync.writing import set_desired
from tests.cloudsync.sync.rig import SPEC, TANK, desired, frame, hello, report
from twin.errors import StoreError
from twin.exchange import Ack, Alive, Digests, Frame, Twins, Welcome
from twin.model import Kind, Section, Site, TwinKey

pytestmark = pytest.mark.fast


def acks(messages):
    return [one for one in messages if isinstance(one, Ack)]


def frames(messages):
    return [one for one in messages if isinstance(one, Frame)]


def written(value, name="valve"):
    return lambda turn: set_desired(turn, TANK, {name: value}, by="ann")


def test_a_frame_is_joined_and_acknowledged_after_the_commit(cloud):
    session = cloud.session()
    assert cloud.say(frame(session, 0, report(10, 41), desired(11, 7))) == [Ack(session, 11)]
    assert cloud.document().reported["level"].value == 41
    assert cloud.state().cursor == cloud.state().top == 11
    assert "gw" in cloud.hints


def test_nothing_is_acknowledged_that_is_not_on_disk(cloud):
    class Full:
        def __getattr__(self, name):
            return getattr(cloud.store, name)

        @contextlib.asynccontextmanager
        async def transaction(self, gateway):
            async with cloud.store.transaction(gateway) as tx:
                yield tx
                raise StoreError("the disk is full")

    session = cloud.session()
    assert cloud.say(frame(session, 0, report(10)), hub=cloud.worker(store=Full())) == []
    assert not cloud.slots()
    assert cloud.state().cursor == 0
    assert cloud.say(frame(session, 0, report(10))) == [Ack(session, 10)]


def test_the_same_frame_twice_is_joined_once(cloud):
    session = cloud.session()
    cloud.say(frame(session, 0, report(10)))
    version = cloud.document().version
    assert cloud.say(frame(session, 0, report(10))) == [Ack(session, 10)]
    assert cloud.document().version == version


def test_rows_at_or_below_the_cursor_are_not_taken_again(cloud):
    session = cloud.session()
    cloud.say(frame(session, 0, report(10, 1)))
    cloud.say(Frame(session, 0, 12, (report(9, 2, "old"), report(12, 3))))
    assert (Section.REPORTED, "old", Site.EDGE) not in cloud.slots()
    assert cloud.document().reported["level"].value == 3


def test_the_edge_writes_its_own_slots_only(cloud):
    session = cloud.session()
    cloud.say(frame(session, 0, desired(10, 5, site=Site.CLOUD)))
    assert not cloud.slots()


def test_an_early_frame_waits_for_the_one_before_it(cloud):
    """Each at another worker, as a shared subscription does it."""
    session = cloud.session()
    other = cloud.worker()

    async def both():
        other.receive("gw", frame(session, 10, report(20, 2)))
        await asyncio.sleep(0.1)
        cloud.hub.receive("gw", frame(session, 0, report(10, 1)))
        await cloud.settled()

    began = len(cloud.sent)
    cloud.run(both())
    assert [message for _, message in cloud.sent[began:]] == [Ack(session, 10), Ack(session, 20)]
    assert cloud.document().reported["level"].value == 2


def test_a_frame_whose_predecessor_does_not_come_is_asked_for_again(cloud):
    session = cloud.session()
    assert cloud.say(frame(session, 10, report(20))) == [Ack(session, 0, again=True)]
    assert not cloud.slots()
    assert cloud.state().cursor == 0


def test_frames_that_change_places_on_the_line_are_put_in_order(cloud):
    session = cloud.session()
    answer = cloud.say(frame(session, 10, report(20, 2)), frame(session, 0, report(10, 1)))
    assert answer == [Ack(session, 10), Ack(session, 20)]


def test_rows_of_a_twin_that_nothing_defines_wait_unseen(cloud):
    session = cloud.session()
    key = TwinKey(Kind.DEVICE, "plant", "new")
    cloud.say(frame(session, 0, report(10, key=key)))
    assert cloud.slots(place=(key, "u1"))
    assert key not in [one.spec.key for one in cloud.run(cloud.store.twins(limit=10))]


@pytest.mark.parametrize("kind", [Kind.MAPPER, Kind.GATEWAY, Kind.POD, Kind.ROUTE, Kind.SHADOW])
def test_twins_of_kinds_without_documents_are_made_by_their_rows(cloud, kind):
    session = cloud.session()
    key = TwinKey(kind, "default", "it")
    cloud.say(frame(session, 0, report(10, "ok", "health", key=key)))
    document = cloud.document(key)
    assert document.reported["health"].value == "ok"
    assert document.spec.gateway == "gw"


def test_a_change_in_the_cloud_is_sent_with_its_commit(cloud):
    session = cloud.session()
    cloud.say(Ack(session, 0))
    _, sent = cloud.change(written(40))
    (one,) = frames(sent)
    assert (one.session, one.from_, one.rows[0].slot.value) == (session, 0, 40)
    assert one.upto == one.rows[0].slot.tick == cloud.state().position


def test_only_own_rows_are_sent(cloud):
    session = cloud.session()
    cloud.say(frame(session, 0, report(10), desired(11)), Ack(session, 0))
    _, sent = cloud.change(written(40))
    assert {row.site for one in frames(sent) for row in one.rows} == {Site.CLOUD}


def test_at_most_four_frames_are_on_their_way(cloud):
    session = cloud.session()
    sent = [one for value in range(10) for one in frames(cloud.change(written(value))[1])]
    assert len(sent) == 3  # the empty first one counts
    assert len(cloud.state().sent) == 4
    (more,) = frames(cloud.say(Ack(session, sent[-1].upto)))
    assert [row.slot.value for row in more.rows] == [9]


def test_the_edge_asks_for_a_frame_again(cloud):
    session = cloud.session()
    _, sent = cloud.change(written(40))
    again = frames(cloud.say(Ack(session, 0, again=True)))
    assert again == frames(sent)


def test_the_lease_holder_repeats_what_nobody_acknowledged(cloud):
    session = cloud.session()
    cloud.change(written(40))
    leases, other = cloud.leases(cloud.hub, "w1"), cloud.leases(cloud.worker(), "w2")

    async def rounds(seconds):
        for _ in range(seconds):
            await leases.round()
            await other.round()
            await asyncio.sleep(1)

    cloud.run(rounds(2))
    began = len(cloud.sent)
    cloud.run(rounds(2))
    repeated = frames(message for _, message in cloud.sent[began:])
    assert [row.slot.value for one in repeated for row in one.rows] == [40]
    assert [one for _, one in cloud.sent[began:] if isinstance(one, Alive)] == [Alive(session)]
    cloud.say(Ack(session, repeated[-1].upto))
    began = len(cloud.sent)
    cloud.run(rounds(10))
    assert not frames(message for _, message in cloud.sent[began:])


def test_another_worker_takes_the_lease_of_a_dead_one(cloud):
    cloud.session()
    cloud.change(written(40))
    cloud.run(cloud.leases(cloud.hub, "w1").round())
    other = cloud.leases(cloud.worker(), "w2")
    cloud.run(other.round())
    assert cloud.state().worker == "w1"
    cloud.wait(11)
    cloud.run(other.round())
    assert cloud.state().worker == "w2"


def test_nothing_is_repeated_to_a_gateway_that_is_away(cloud):
    cloud.session()
    cloud.change(written(40))
    leases = cloud.leases(cloud.hub, "w1")
    cloud.run(leases.round())
    cloud.wait(40)
    began = len(cloud.sent)
    cloud.run(leases.round())
    assert cloud.sent[began:] == []


def test_ticks_of_two_workers_never_cross(cloud):
    """Two transactions of one gateway, open at once: the order of ticks is that of the commits."""
    other = cloud.worker()
    order = []

    async def write(hub, value, hold_s):
        async with hub.change("gw") as turn:
            await set_desired(turn, TANK, {"valve": value}, by="ann")
            await asyncio.sleep(hold_s)
        order.append(value)

    async def both():
        await asyncio.gather(write(cloud.hub, 1, 0.5), write(other, 2, 0.0), write(cloud.hub, 3, 0.2))

    cloud.run(both())
    assert cloud.slots()[Section.DESIRED, "valve", Site.CLOUD].value == order[-1]
    assert cloud.document().version == 1 + 3


def test_digests_are_answered_with_the_twins_that_differ(cloud):
    session = cloud.session()
    cloud.say(frame(session, 0, report(10, 41)))
    (answer,) = cloud.say(Digests(session, ()))
    assert isinstance(answer, Twins)
    assert answer.answer
    assert answer.rows == (report(10, 41),)
    assert answer.differing == {(TANK, "u1")}
    assert answer.upto is None


def test_twins_that_agree_are_not_sent(cloud):
    async def digests():
        async with cloud.store.transaction("gw") as tx:
            return await tx.digests(after=None, upto=None, limit=9, waiting=False)

    session = cloud.session()
    cloud.say(frame(session, 0, report(10, 41)))
    (answer,) = cloud.say(Digests(session, tuple(cloud.run(digests()))))
    assert (answer.rows, answer.differing) == ((), frozenset())


def test_an_answer_may_end_before_the_digests_do_and_says_where(cloud, monkeypatch):
    monkeypatch.setattr("cloudsync.feed.PAGE_TWINS", 3)
    session = cloud.session()
    keys = [TwinKey(Kind.SHADOW, "plant", f"s{number}") for number in range(8)]
    cloud.say(frame(session, 0, *(report(10 + number, key=key) for number, key in enumerate(keys))))
    seen, after = [], None
    for _ in range(9):
        (answer,) = cloud.say(Digests(session, (), after=after))
        seen += [row.key for row in answer.rows]
        after = answer.upto
        if after is None:
            break
    assert seen == keys


def test_whole_twins_of_the_edge_are_joined(cloud):
    session = cloud.session()
    assert cloud.say(Twins(session, (report(10, 41), desired(11, 5)))) == []
    assert cloud.document().reported["level"].value == 41
    assert cloud.state().top == 11
    assert cloud.state().cursor == 0  # only frames move it


def test_a_write_that_a_mending_lends_what_a_former_one_had_seen_gets_a_tick_of_its_own(cloud):
    cloud.session()
    cloud.change(written(40))
    valve = (Section.DESIRED, "valve", Site.CLOUD)
    tick = cloud.slots()[valve].tick
    session = cloud.session(top=5)  # has met no run of this store: the store was restored
    former = desired(5, 7, site=Site.CLOUD, seen=4)
    cloud.say(Twins(session, (former,), answer=True, differing=frozenset({(TANK, "u1")})))
    slot = cloud.slots()[valve]
    assert (slot.value, slot.seen) == (40, 4)
    assert slot.tick > tick


def test_a_spec_survives_its_rows(cloud):
    session = cloud.session()
    cloud.say(frame(session, 0, report(10)))
    assert cloud.document().spec == SPEC


def test_a_welcome_tells_where_the_cloud_stands(cloud):
    session = cloud.session()
    cloud.say(frame(session, 0, report(10)))
    welcome = next(one for one in cloud.say(hello("n2", ("e1", "e2"))) if isinstance(one, Welcome))
    assert (welcome.standing.cursor, welcome.standing.top, welcome.standing.met) == (10, 10, {"e1"})
    assert [run.id for run in welcome.standing.runs] == ["c1"]


def test_twins_that_wait_for_their_document_are_offered_to_a_store_that_mends_itself_only(cloud):
    session = cloud.session()
    key = TwinKey(Kind.DEVICE, "plant", "new")
    cloud.say(frame(session, 0, report(10, key=key)))
    (answer,) = cloud.say(Digests(session, ()))
    assert answer.rows == ()
    (answer,) = cloud.say(Digests(session, (), recovering=True))
    assert [row.key for row in answer.rows] == [key]


def test_a_session_begins_where_the_edge_stands(cloud):
    cloud.session()
    _, first = cloud.change(written(40))
    _, second = cloud.change(written(50))
    cloud.say(Ack(cloud.state().session, frames(second)[-1].upto))
    (again,) = frames(cloud.say(hello("n7", ("e1",), met=("c1",), cursor=frames(first)[0].upto - 1)))
    assert again.from_ == frames(first)[0].upto - 1
    assert [row.slot.value for row in again.rows] == [50]


class OneTransaction:
    """A store that dies after so many commits."""

    def __init__(self, store, commits=1):
        self._store = store
        self._left = commits

    def __getattr__(self, name):
        return getattr(self._store, name)

    @contextlib.asynccontextmanager
    async def transaction(self, gateway):
        if not self._left:
            raise StoreError("the power is gone")
        self._left -= 1
        async with self._store.transaction(gateway) as tx:
            yield tx


def test_rows_and_cursor_are_one_transaction(cloud):
    session = cloud.session()
    cloud.say(frame(session, 0, report(10)), hub=cloud.worker(store=OneTransaction(cloud.store)))
    assert cloud.state().cursor == 10
    assert cloud.document().reported["level"].tick == 10
