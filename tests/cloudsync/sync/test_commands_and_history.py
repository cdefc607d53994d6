"""Commands until they have ended, and history piece by piece."""

import pytest

from cloudsync.commands import KEPT_MS, put_command
from tests.cloudsync.sync.rig import TANK
from twin.exchange import Command, CommandDone, HistoryAck, HistoryFrame, Outcome, SeriesReadings
from twin.history import HistoryQuery, Reading

pytestmark = pytest.mark.fast


def command(cloud, number=1, expires_s=30):
    return Command("", f"c{number}", cloud.clock.now_us() // 1000 + expires_s * 1000, TANK, {"valve": 40}, "ann")


def put(cloud, one):
    return cloud.change(lambda turn: put_command(turn, one))[1]


def commands(messages):
    return [one for one in messages if isinstance(one, Command)]


def known(cloud, number=1):
    return cloud.run(cloud.store.command("gw", f"c{number}"))


def test_a_command_is_sent_at_once_and_again_until_it_has_ended(cloud):
    session = cloud.session()
    (sent,) = commands(put(cloud, command(cloud)))
    assert (sent.session, sent.id) == (session, "c1")
    leases = cloud.leases(cloud.hub, "w1")
    cloud.wait(6)
    began = len(cloud.sent)
    cloud.run(leases.round())
    assert commands(message for _, message in cloud.sent[began:]) == [sent]
    cloud.say(CommandDone(session, "c1", Outcome.DONE))
    assert known(cloud).done.outcome is Outcome.DONE
    assert cloud.state().waiting == 0
    cloud.wait(6)
    began = len(cloud.sent)
    cloud.run(leases.round())
    assert not commands(message for _, message in cloud.sent[began:])


def test_a_command_for_a_gateway_that_is_away_is_sent_with_its_next_session(cloud):
    put(cloud, command(cloud))
    began = len(cloud.sent)
    session = cloud.session()
    assert [one.session for one in commands(message for _, message in cloud.sent[began:])] == [session]


def test_the_first_word_of_what_became_of_it_counts(cloud):
    session = cloud.session()
    put(cloud, command(cloud))
    cloud.say(CommandDone(session, "c1", Outcome.REFUSED, "invalid_value", "too much"))
    cloud.say(CommandDone(session, "c1", Outcome.DONE), CommandDone(session, "c9", Outcome.DONE))
    assert known(cloud).done == CommandDone("", "c1", Outcome.REFUSED, "invalid_value", "too much")
    assert cloud.state().waiting == 0


def test_a_command_of_which_nobody_says_anything_is_given_up_at_last(cloud):
    cloud.session()
    put(cloud, command(cloud))
    cloud.wait(60)
    cloud.run(cloud.hub.repeat_commands("gw"))
    assert known(cloud).done is None  # expired, but the edge may still say what became of it
    cloud.wait(KEPT_MS / 1000)
    cloud.run(cloud.hub.repeat_commands("gw"))
    assert known(cloud).done.outcome is Outcome.EXPIRED


# -- history -----------------------------------------------------------------------------------------------------


def piece(session, from_, upto, *values, log="l1"):
    at = 1_700_000_000_000
    readings = tuple(Reading(at + value, value, value) for value in values)
    return HistoryFrame(session, log, from_, upto, (SeriesReadings(TANK, "u1", "level", readings),))


def readings(cloud):
    query = HistoryQuery(TANK, "u1", "level", 0, 2**52, 100)
    return [one.value for one in cloud.run(cloud.store.history(query)).readings]


def test_history_is_kept_with_the_place_that_it_reaches(cloud):
    session = cloud.session()
    assert cloud.say(piece(session, "", "a", 1, 2)) == [HistoryAck(session, "l1", "a")]
    assert cloud.say(piece(session, "a", "b", 3)) == [HistoryAck(session, "l1", "b")]
    assert readings(cloud) == [1, 2, 3]


def test_a_piece_that_comes_twice_or_too_early_changes_nothing(cloud):
    session = cloud.session()
    cloud.say(piece(session, "", "a", 1))
    assert cloud.say(piece(session, "", "a", 1)) == [HistoryAck(session, "l1", "a")]
    assert cloud.say(piece(session, "x", "y", 9)) == [HistoryAck(session, "l1", "a")]
    assert readings(cloud) == [1]


def test_another_log_begins_at_its_beginning(cloud):
    session = cloud.session()
    cloud.say(piece(session, "", "a", 1))
    assert cloud.say(piece(session, "q", "r", 5, log="l2")) == [HistoryAck(session, "l2", "")]
    assert cloud.say(piece(session, "", "r", 5, log="l2")) == [HistoryAck(session, "l2", "r")]
    assert readings(cloud) == [1, 5]


def test_the_end_of_one_command_is_not_that_of_another(cloud):
    session = cloud.session()
    put(cloud, command(cloud, 1))
    put(cloud, command(cloud, 2))
    cloud.say(CommandDone(session, "c2", Outcome.DONE))
    assert known(cloud, 1).done is None
    assert known(cloud, 2).done.outcome is Outcome.DONE
    assert cloud.state().waiting == 1
