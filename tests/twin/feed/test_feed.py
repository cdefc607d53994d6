"""Each rule of the exchange by itself: what a site answers to one message, and what it keeps of it."""

import pytest

from tests.twin.feed.world import NOW_US, PROPERTIES, TANK, Inline, World, spec
from twin.document import DELETED, Slot
from twin.engine import TwinEngine
from twin.exchange import Ack, Digests, Frame, Row, Standing, Twins, Welcome, digest
from twin.feed import WINDOW
from twin.model import Kind, Section, Site, TwinKey, TwinSpec

EDGE, CLOUD = Site.EDGE, Site.CLOUD


@pytest.fixture
def world():
    made = World(digests=False)
    yield made
    made.close()


@pytest.fixture
def met(world):
    """Two sites in a session, with nothing on the line."""
    world.resync()
    return world


def frame_row(site, number, tick, section=Section.DESIRED, name="a", uid="u1", seen=0):
    return Row(TANK, uid, section, name, site, Slot(number, tick, seen, str(number), 0))


def give(world, to, message):
    world.run(world.sides[to].feed.receive(message))
    return world.lines[to]


def session(world):
    return world.sides[EDGE].feed.session


def cursor(world, site):
    return world.sides[site].store.feed().cursors[site.peer]


def test_rows_go_both_ways_with_what_was_overruled(world):
    world.edit(EDGE, "a")
    world.edit(CLOUD, "a", "object")
    world.edit(CLOUD, "b")
    world.report()
    world.resync()
    assert len(world.sides[EDGE].slots()) == 4


def test_the_cloud_wins_a_tie_of_the_same_instant_on_both_sides(world):
    for site in Site:
        world.sides[site].clock.us = NOW_US
        number = world.edit(site, "a")  # the cloud's is the second
    world.resync()
    assert world.stands("a") == number


def test_a_frame_beyond_the_cursor_is_answered_with_the_cursor_and_not_taken(met):
    at = cursor(met, CLOUD)
    sent = give(met, CLOUD, Frame(session(met), at + 5, at + 9, (frame_row(EDGE, 7, at + 9),)))
    assert sent == [Ack(session(met), at, again=True)]
    assert cursor(met, CLOUD) == at
    assert met.sides[CLOUD].slots() == {}


def test_the_same_frame_twice_is_a_no_op(met):
    frame = Frame(session(met), 0, 9, (frame_row(EDGE, 7, 9),))
    give(met, CLOUD, frame)
    before = met.sides[CLOUD].engine.document(TANK)
    assert give(met, CLOUD, frame) == [Ack(session(met), 9)] * 2
    assert met.sides[CLOUD].engine.document(TANK) == before


def test_a_message_of_another_session_changes_nothing(met):
    for message in (
        Frame("other", 0, 9, (frame_row(EDGE, 7, 9),)),
        Twins("other", (frame_row(EDGE, 7, 9),)),
        Digests("other", ()),
        Ack("other", 5),
    ):
        assert give(met, CLOUD, message) == []
    assert met.sides[CLOUD].slots() == {}


@pytest.mark.parametrize("when", ["before", "after"])
def test_an_ack_follows_the_commit_and_cursor_and_rows_share_their_fate(met, when):
    met.sides[CLOUD].store.fuse = (0, when)
    assert give(met, CLOUD, Frame(session(met), 0, 9, (frame_row(EDGE, 7, 9),))) == []
    met.revive()
    assert bool(met.sides[CLOUD].slots()) is (when == "after")
    assert cursor(met, CLOUD) == (9 if when == "after" else 0)


def test_a_failing_disk_sends_no_ack_and_the_frame_is_taken_later(met):
    side = met.sides[CLOUD]
    frame = Frame(session(met), 0, 9, (frame_row(EDGE, 7, 9),))
    side.store.fuse = (0, "before")
    assert give(met, CLOUD, frame) == []
    assert side.slots() == {}
    assert cursor(met, CLOUD) == 0
    side.dead, side.store.fuse = False, None
    assert give(met, CLOUD, frame) == [Ack(session(met), 9)]


def test_rows_of_another_uid_do_not_touch_the_twin_and_wait_for_a_document_of_theirs(met):
    met.edit(CLOUD, "b")
    give(met, CLOUD, Frame(session(met), 0, 9, (frame_row(EDGE, 7, 9, uid="u2"),)))
    assert {name for _, name, _ in met.sides[CLOUD].slots()} == {"b"}
    assert cursor(met, CLOUD) == 9
    met.sides[CLOUD].take_document("u2")
    assert [slot.value for slot in met.sides[CLOUD].slots().values()] == [7]


def test_a_removed_twin_that_the_peer_still_writes_is_shown_to_nobody(met):
    engine, told = met.sides[CLOUD].engine, []

    async def remove():
        await engine.remove(TANK).stored()

    met.run(remove())
    stops = [engine.watch(lambda key, names: told.append(key)), engine.watch_deltas(told.append)]
    give(met, CLOUD, Frame(session(met), 0, 9, (frame_row(EDGE, 7, 9),)))
    assert (TANK in engine, len(engine), list(engine), told) == (False, 0, [], [])
    for stop in stops:
        stop()
    again = TwinEngine(met.sides[CLOUD].store, clock=met.sides[CLOUD].clock, executor=Inline(), site=CLOUD)
    again.open()
    assert (TANK in again, len(again.replica.rows(TANK, "u1"))) == (False, 1)


def test_what_waits_for_its_document_is_offered_only_to_a_peer_that_mends_itself(met):
    give(met, CLOUD, Frame(session(met), 0, 9, (frame_row(EDGE, 7, 9, uid="u2"),)))
    (answer,) = give(met, CLOUD, Digests(session(met), ()))[1:]
    assert answer.rows == ()
    (answer,) = give(met, CLOUD, Digests(session(met), (), recovering=True))[2:]
    assert [row.uid for row in answer.rows] == ["u2"]


def test_a_wiped_edge_gets_back_what_waits_in_the_cloud_for_a_document_that_is_late(world):
    world.resync()
    world.recreate(EDGE)
    number = world.edit(EDGE, "a")
    world.quiesce()
    world.sides[EDGE].clock.us = 0
    world.restore(EDGE, None)
    world.connect()
    world.quiesce()
    world.resync()
    assert world.stands("a") == number


def test_rows_that_come_before_the_twins_document_are_kept_for_it(met):
    async def no_document():
        await met.sides[CLOUD].engine.remove(TANK).stored()

    met.run(no_document())
    give(met, CLOUD, Frame(session(met), 0, 9, (frame_row(EDGE, 7, 9),)))

    async def document():
        await met.sides[CLOUD].engine.define(spec("u1")).stored()

    met.run(document())
    assert [slot.value for slot in met.sides[CLOUD].slots().values()] == [7]


def test_only_the_edge_reports(met):
    rows = (
        frame_row(CLOUD, 7, 9, Section.REPORTED, "r"),
        Row(TANK, "u1", Section.REPORTED, "r", CLOUD, Slot(7, 9)),
    )
    give(met, EDGE, Frame(session(met), 0, 9, rows))
    give(met, EDGE, Twins(session(met), rows))
    assert met.sides[EDGE].slots() == {}


def test_a_peer_cannot_write_our_slots_by_a_frame(met):
    give(met, CLOUD, Frame(session(met), 0, 9, (frame_row(CLOUD, 7, 9),)))
    assert met.sides[CLOUD].slots() == {}


def test_a_delete_stays_as_a_tombstone_and_an_old_value_does_not_come_back(world):
    world.edit(EDGE, "a")
    world.resync()
    old = world.sides[EDGE].slots()
    world.edit(EDGE, "a", "delete")
    world.resync()
    place = (Section.DESIRED, "a", EDGE)
    give(world, CLOUD, Twins(session(world), (Row(TANK, "u1", *place, old[place]),)))
    for side in world.sides.values():
        assert side.slots()[place].value is DELETED
        assert side.on_disk()[place].value is DELETED


def test_a_leaf_that_changed_many_times_is_sent_once(met):
    met.up = False
    for _ in range(20):
        number = met.edit(EDGE, "a")
    met.up = True
    met.connect()
    met.deliver(EDGE)
    met.deliver(CLOUD)
    (frame,) = met.lines[EDGE]
    assert [row.slot.by for row in frame.rows] == [str(number)]


def test_a_wiped_edge_gets_its_own_slots_back_and_its_new_write_stands(world):
    world.edit(EDGE, "a")
    world.edit(EDGE, "b")
    world.report()
    world.resync()
    world.sides[EDGE].clock.us = 0
    world.restore(EDGE, None)
    number = world.edit(EDGE, "a")
    world.resync()
    assert world.stands("a") == number
    assert len(world.sides[EDGE].slots()) == 3


def test_a_restored_edge_with_its_clock_set_back_loses_no_edit_of_either_history(world):
    world.edit(EDGE, "a")
    world.resync()
    image = world.sides[EDGE].backup()
    later = world.edit(EDGE, "b")
    world.resync()
    world.sides[EDGE].clock.us = 0
    world.restore(EDGE, image)
    newest = world.edit(EDGE, "c")
    world.resync()
    assert (world.stands("b"), world.stands("c")) == (later, newest)


def test_a_backup_from_before_a_mending_raised_a_write_above_what_it_had_not_seen_is_noticed(world):
    world.edit(CLOUD, "a")
    world.resync()
    world.edit(EDGE, "a")  # has seen the cloud's
    world.resync()
    world.restore(EDGE, None)
    number = world.edit(EDGE, "a")  # has seen nothing
    image = world.sides[EDGE].backup()
    world.resync()  # the former write comes back and lends this one what it had seen
    world.restore(EDGE, image)
    world.resync()
    assert world.stands("a") == number


def test_a_hello_whose_welcome_is_lost_does_not_hide_what_was_lost(world):
    lost = world.edit(EDGE, "a")
    world.resync()
    world.restore(EDGE, None)
    world.connect()
    world.deliver(EDGE)
    world.lines = {site: [] for site in Site}
    world.resync()
    assert world.stands("a") == lost


def test_a_recovery_cut_short_begins_anew(world):
    world.edit(EDGE, "a")
    world.resync()
    world.sides[EDGE].clock.us = 0
    world.restore(EDGE, None)
    for steps in range(1, 6):
        world.lines = {site: [] for site in Site}
        world.connect()
        for _ in range(steps):
            world.deliver(EDGE)
            world.deliver(CLOUD)
    world.resync()


def test_digests_mend_a_row_that_the_feed_never_sent(world):
    world.edit(EDGE, "a")
    world.resync()
    (row,) = world.sides[EDGE].engine.replica.rows(TANK, "u1")

    async def slip_in():
        hidden = row._replace(property="b", slot=row.slot._replace(tick=1))
        await world.sides[EDGE].engine.replica.merge([hidden]).stored()

    world.run(slip_in())
    with pytest.raises(AssertionError):
        world.resync()
    world.digests = True
    world.resync()


def test_a_digest_says_all_of_a_twin_and_not_the_order_of_its_rows():
    rows = [frame_row(EDGE, 1, 9), frame_row(CLOUD, 2, 8)]
    assert digest(rows) == digest(reversed(rows))
    assert digest(rows) != digest([frame_row(EDGE, 1, 9), frame_row(CLOUD, 2, 8, seen=1)])
    assert digest(rows) != digest(rows[:1])
    deleted = rows[0]._replace(slot=rows[0].slot._replace(value=DELETED))
    null = rows[0]._replace(slot=rows[0].slot._replace(value=None))
    assert digest([deleted]) != digest([null])


def test_a_second_edge_with_the_same_name_fences_the_first(met):
    first = session(met)
    met.connect()
    met.deliver(EDGE)
    assert give(met, CLOUD, Frame(first, 0, 9, (frame_row(EDGE, 7, 9),)))[-1:] != [Ack(first, 9)]
    assert met.sides[CLOUD].slots() == {}


def test_an_older_frame_does_not_move_the_cursor_back(met):
    give(met, CLOUD, Frame(session(met), 0, 9, (frame_row(EDGE, 7, 9),)))
    assert give(met, CLOUD, Frame(session(met), 0, 5, ()))[-1] == Ack(session(met), 9)
    assert cursor(met, CLOUD) == 9


def test_a_welcome_that_nobody_asked_for_begins_no_session(met):
    before = session(met)
    give(met, EDGE, Welcome("old", "other", Standing((), frozenset(), 0, 0)))
    assert session(met) == before


def sent_rows(world, site):
    return [row for message in world.lines[site] if isinstance(message, Frame) for row in message.rows]


def in_session(world):
    """A new session: hello and welcome come through, and all that was on the line is lost."""
    world.lines = {site: [] for site in Site}
    world.connect()
    world.deliver(EDGE)
    world.deliver(CLOUD)


def test_after_a_restart_only_what_the_peer_lacks_is_sent(world):
    world.edit(EDGE, "a")
    world.edit(EDGE, "b")
    world.resync()
    number = world.edit(EDGE, "c")
    world.sides[EDGE].start()
    in_session(world)
    assert [row.slot.by for row in sent_rows(world, EDGE)] == [str(number)]


def test_after_a_cut_the_first_frame_begins_where_the_peer_stands(met):
    met.edit(EDGE, "a")
    in_session(met)
    (frame,) = met.lines[EDGE]
    assert (frame.from_, len(frame.rows)) == (cursor(met, CLOUD), 1)


def test_a_restored_site_gives_again_a_row_that_its_lost_history_had_overwritten_before_it_was_sent(world):
    number = world.edit(EDGE, "a")
    image = world.sides[EDGE].backup()
    world.edit(EDGE, "b")
    world.edit(EDGE, "c")
    world.edit(EDGE, "a")
    in_session(world)
    world.deliver(EDGE)  # one frame of two rows, b and c: the cursor is now beyond the first a, which never went
    world.lines = {site: [] for site in Site}
    assert (Section.DESIRED, "a", EDGE) not in world.sides[CLOUD].slots()
    world.restore(EDGE, image)
    world.resync()
    assert world.stands("a") == number


def test_an_edit_made_while_a_wiped_site_is_mended_is_newer_than_all_it_ever_wrote(world):
    world.edit(EDGE, "a")
    world.resync()
    world.sides[EDGE].clock.us = 0
    world.restore(EDGE, None)
    in_session(world)
    number = world.edit(EDGE, "a")
    world.quiesce()  # its former slots come in the same session
    assert world.stands("a") == number
    world.resync()
    assert world.stands("a") == number


def test_a_restored_site_goes_beyond_rows_that_only_an_exchange_of_twins_had_brought_to_the_peer(world):
    world.edit(EDGE, "a")
    world.resync()
    image = world.sides[EDGE].backup()
    world.edit(EDGE, "b")
    in_session(world)
    world.lines = {site: [] for site in Site}  # the frame with b is lost
    world.sides[EDGE].feed.compare()
    world.quiesce()
    assert (Section.DESIRED, "b", EDGE) in world.sides[CLOUD].slots()
    world.sides[EDGE].clock.us = 0
    world.restore(EDGE, image)
    number = world.edit(EDGE, "b")
    world.resync()
    assert world.stands("b") == number


def test_a_site_that_is_being_mended_sends_no_rows_yet(world):
    lost = world.edit(EDGE, "a")
    world.resync()
    world.sides[EDGE].clock.us = 0
    world.restore(EDGE, None)
    in_session(world)
    world.edit(EDGE, "b")
    early = sent_rows(world, EDGE)
    while world.lines[EDGE]:
        world.deliver(EDGE)
    in_session(world)  # the mending is cut short, and has to begin anew
    world.resync()
    assert (early, world.stands("a")) == ([], lost)


def test_a_backup_of_a_store_that_is_being_mended_is_mended_in_its_turn(world):
    lost = world.edit(EDGE, "a")
    world.resync()
    world.restore(EDGE, None)
    in_session(world)
    image = world.sides[EDGE].backup()  # its ticks are beyond rows that it has not got yet
    world.quiesce()
    assert world.stands("a") == lost
    world.restore(EDGE, image)
    world.resync()
    assert world.stands("a") == lost


def test_a_mending_that_the_store_did_not_let_begin_is_begun_with_the_next_retry(world):
    lost = world.edit(EDGE, "a")
    world.resync()
    world.sides[EDGE].clock.us = 0
    world.restore(EDGE, None)
    kept = world.edit(EDGE, "b")
    world.connect()
    world.deliver(EDGE)
    side = world.sides[EDGE]
    side.store.fuse = (0, "before")
    for message in world.lines[CLOUD]:
        world.run(side.feed.receive(message))
    world.lines[CLOUD].clear()
    assert side.dead
    assert side.feed.session
    assert not side.feed.comparing
    side.dead, side.store.fuse = False, None
    world.run(side.feed.retry())
    world.quiesce()
    assert (world.stands("a"), world.stands("b", CLOUD)) == (lost, kept)


def test_a_write_has_seen_no_less_than_the_one_before_it(world):
    """Though the other site has lost what that one had seen."""
    former = frame_row(EDGE, 1, 5, seen=NOW_US)

    async def merge():
        await world.sides[EDGE].engine.replica.merge([former]).stored()

    world.run(merge())
    world.edit(EDGE, "a")
    assert world.sides[EDGE].slots()[Section.DESIRED, "a", EDGE].seen == NOW_US


def test_no_more_than_a_window_of_frames_is_on_its_way(world):
    rows = [frame_row(EDGE, n, NOW_US + n, name=f"p{n}", uid="u2") for n in range(3 * 2 * WINDOW)]

    async def many():
        await world.sides[EDGE].engine.replica.merge(rows).stored()

    world.run(many())
    in_session(world)
    assert len(world.lines[EDGE]) == WINDOW
    world.resync()
    assert len(world.sides[CLOUD].engine.replica.rows(TANK, "u2")) == len(rows)


# -- pages of digests --------------------------------------------------------------------------------------------

OTHERS = [TwinKey(Kind.DEVICE, "plant", f"t{number}") for number in range(4)]


def define_others(world):
    for side in world.sides.values():
        for key in OTHERS:

            async def define(side=side, key=key):
                await side.engine.define(TwinSpec(key, "u1", properties=PROPERTIES)).stored()

            world.run(define())


def slip_in(world, site, key, value, tick):
    """A row that no feed sends: its tick is not new."""
    row = Row(key, "u1", Section.DESIRED, "a", site, Slot(value, tick))

    async def merge():
        await world.sides[site].engine.replica.merge([row]).stored()

    world.run(merge())


def rows_of_others(world, site):
    return [row for key in OTHERS for row in world.sides[site].engine.replica.rows(key, "u1")]


def test_pages_follow_each_other_and_mend_twins_of_both_sites_on_any_page(world):
    world.resync()
    define_others(world)
    world.quiesce()
    for number, key in enumerate(OTHERS):
        slip_in(world, list(Site)[number % 2], key, number, 5 + number)
    assert rows_of_others(world, EDGE) != rows_of_others(world, CLOUD)
    world.sides[EDGE].feed.compare()
    pages = 0
    while any(world.lines.values()):
        pages += sum(isinstance(message, Digests) for message in world.lines[EDGE])
        for sender in Site:
            world.deliver(sender)
    assert pages >= len(OTHERS)
    assert rows_of_others(world, EDGE) == rows_of_others(world, CLOUD)
    assert not world.sides[EDGE].feed.comparing


def test_a_lost_page_or_answer_is_asked_for_again(world):
    world.resync()
    define_others(world)
    slip_in(world, CLOUD, OTHERS[2], 7, 5)
    feed = world.sides[EDGE].feed
    feed.compare()
    for turn in range(60):
        if turn % 3 == 0 and world.lines[EDGE]:
            world.drop(EDGE)
        elif turn % 7 == 0 and world.lines[CLOUD]:
            world.drop(CLOUD)
        for sender in Site:
            world.deliver(sender)
        if not any(world.lines.values()):
            world.run(feed.retry())
    world.quiesce()
    assert not feed.comparing
    assert rows_of_others(world, EDGE) == rows_of_others(world, CLOUD)


def test_an_answer_stops_where_it_is_full_and_the_asker_goes_on_from_there(world):
    world.resync()
    define_others(world)
    for number, key in enumerate(OTHERS):
        slip_in(world, CLOUD, key, "x" * 300, 5 + number)
    edge, cloud = (world.sides[site].feed for site in Site)
    edge._page_twins, cloud._frame_bytes = 100, 700
    edge.compare()
    (page,) = world.lines[EDGE]
    assert page.upto is None
    world.deliver(EDGE)
    (answer,) = world.lines[CLOUD]
    assert answer.upto is not None
    assert 0 < len(answer.differing) < len(OTHERS)
    world.quiesce()
    assert rows_of_others(world, EDGE) == rows_of_others(world, CLOUD)


def test_an_answer_that_comes_twice_turns_no_page(world):
    world.resync()
    define_others(world)
    edge = world.sides[EDGE].feed
    edge.compare()
    world.deliver(EDGE)
    world.deliver(CLOUD, keep=True)
    sent = len(world.lines[EDGE])
    world.deliver(CLOUD)
    assert len(world.lines[EDGE]) == sent
    world.quiesce()
    assert not edge.comparing


def test_pages_wait_while_rows_are_on_their_way(world):
    world.resync()
    define_others(world)
    edge = world.sides[EDGE].feed
    edge.compare()
    world.edit(EDGE, "a")
    assert not edge.caught_up
    world.lines[EDGE].pop()  # the frame is lost
    world.deliver(EDGE)
    world.deliver(CLOUD)
    assert [type(message) for message in world.lines[EDGE]] == []
    world.run(edge.retry())
    world.quiesce()
    assert not edge.comparing
    world.resync()


def test_a_new_session_forgets_the_page(world):
    world.resync()
    define_others(world)
    edge = world.sides[EDGE].feed
    edge.compare()
    edge.disconnect()
    assert not edge.comparing
    assert edge.session == ""
    world.lines = {site: [] for site in Site}
    world.resync()
