"""Whatever ends the updater, and whenever: a good release stays, a bad one goes, and something that ran runs."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from hardware.errors import UpdateBusy, UpdateFailed
from hardware.update import machine
from hardware.update.agent import wanted_of
from hardware.update.machine import MAX_TRIES, Record, Stage, Wanted
from hardware.update.records import running_of
from tests.hardware.update.world import NEW, OLD, Gateway, Killed, PowerCut
from twin.release import Release, ReleaseState, written

pytestmark = pytest.mark.fast

WANTED = Wanted(NEW, "a" * 64, 100, url="https://cloud.example/x")
KINDS = st.sampled_from([Killed, PowerCut])


def update(gateway: Gateway) -> Record:
    return gateway.live(lambda updater: updater.want(WANTED))


@pytest.mark.parametrize("image", [False, True])
def test_a_good_release_is_tried_once_and_stays(image):
    gateway = Gateway(image=image)
    record = update(gateway)
    assert (record.state, record.reason, record.tries) == (ReleaseState.HEALTHY, "", 1)
    assert (gateway.proven, gateway.runs, gateway.previous) == (NEW, NEW, OLD)
    states = [one.state for one, _ in gateway.reports]
    wanted = [ReleaseState.DOWNLOADING, ReleaseState.INSTALLING, ReleaseState.TRYING, ReleaseState.HEALTHY]
    assert [one for number, one in enumerate(states) if one is not states[number - 1] or not number][1:] == wanted


@pytest.mark.parametrize("image", [False, True])
def test_a_release_that_is_not_well_is_started_three_times_and_goes_with_its_reason(image):
    gateway = Gateway(image=image, good=False)
    record = update(gateway)
    assert (record.state, record.tries) == (ReleaseState.ROLLED_BACK, MAX_TRIES)
    assert "does not answer" in record.reason
    assert (gateway.proven, gateway.runs, gateway.starts_of_new) == (OLD, OLD, MAX_TRIES)
    assert NEW not in gateway.confirmed


@pytest.mark.parametrize("good", [False, True])
def test_what_runs_is_asked_for_once_a_step(good):
    gateway = Gateway(image=True, good=good)
    update(gateway)
    assert gateway.asked <= len(gateway.reports) + 3


def test_an_image_that_never_comes_up_is_left_by_the_boot_loader_and_that_is_said():
    gateway = Gateway(image=True, boots=False)
    record = update(gateway)
    assert record.state is ReleaseState.ROLLED_BACK
    assert "boot loader" in record.reason
    assert (gateway.proven, gateway.runs) == (OLD, OLD)


def steps_of(**what: bool) -> int:
    gateway = Gateway(**what)
    update(gateway)
    return gateway.steps


@pytest.mark.parametrize("cut", [Killed, PowerCut])
@pytest.mark.parametrize("image", [False, True])
@pytest.mark.parametrize("good", [False, True])
def test_ended_at_any_single_moment_it_comes_to_the_same_end(image, good, cut):
    for moment in range(1, steps_of(image=image, good=good) + 1):
        gateway = Gateway(image=image, good=good, cuts={moment: cut})
        record = update(gateway)
        if record.state is ReleaseState.IDLE:  # before the wish was on disk: as if nobody had asked
            assert moment <= 1
            assert gateway.runs == OLD
            continue
        check_end(gateway, record, good=good)


def check_end(gateway: Gateway, record: Record, *, good: bool) -> None:
    assert record.state is (ReleaseState.HEALTHY if good else ReleaseState.ROLLED_BACK), gateway.cuts
    wanted = NEW if good else OLD
    assert (gateway.runs, gateway.active, gateway.proven) == (wanted, wanted, wanted), gateway.cuts
    assert gateway.starts_of_new <= MAX_TRIES + 1, gateway.cuts  # one that was not written down may be done again
    assert good or NEW not in gateway.confirmed


@settings(max_examples=200, deadline=None)
@example(image=False, good=False, boots=True, cuts={12: PowerCut, 14: PowerCut, 16: PowerCut})
@given(image=st.booleans(), good=st.booleans(), boots=st.booleans(), cuts=st.dictionaries(st.integers(2, 120), KINDS))
def test_ended_again_and_again_it_ends_in_a_release_that_runs(image, good, boots, cuts):
    gateway = Gateway(image=image, good=good, boots=boots or not image, cuts=cuts)
    record = update(gateway)
    assert gateway.runs == gateway.proven == gateway.active
    if record.state is ReleaseState.IDLE:
        return
    assert record.state in (ReleaseState.HEALTHY, ReleaseState.ROLLED_BACK)
    assert gateway.runs == (NEW if record.state is ReleaseState.HEALTHY else OLD)
    assert (good and gateway.boots) or gateway.runs == OLD
    assert record.tries <= MAX_TRIES
    if len(cuts) < MAX_TRIES:
        assert (gateway.runs == NEW) is (good and gateway.boots), record


def test_what_cannot_be_had_now_is_waited_for_with_its_reason():
    gateway = Gateway(unreachable=2)
    updater = gateway.updater()
    updater.want(WANTED)
    record = updater.run()
    assert (record.state, record.reason) == (ReleaseState.DOWNLOADING, "no answer")
    assert update(gateway).state is ReleaseState.HEALTHY


def test_another_wish_replaces_one_that_is_only_fetched_and_waits_for_one_that_is_tried():
    gateway = Gateway(unreachable=1)
    updater = gateway.updater()
    updater.want(WANTED)
    updater.run()
    other = Wanted("1.2.0", "b" * 64, 5)
    assert updater.want(other).wanted == other
    gateway.record = Record(ReleaseState.TRYING, WANTED, stage=Stage.JUDGE, boot="1")
    with pytest.raises(UpdateBusy, match=NEW):
        updater.want(other)


def test_what_runs_already_is_healthy_at_once():
    gateway = Gateway()
    record = gateway.live(lambda updater: updater.want(Wanted(OLD, "a" * 64, 1)))
    assert (record.state, gateway.steps) == (ReleaseState.HEALTHY, 2)


def test_a_wish_that_came_to_an_end_is_new_only_with_another_order():
    record = Record(ReleaseState.ROLLED_BACK, WANTED)
    assert not machine.is_new(record, WANTED)
    assert machine.is_new(record, Wanted(NEW, "a" * 64, 100, order="r-2"))
    assert machine.is_new(Record(), WANTED)


@pytest.mark.parametrize("image", [False, True])
def test_one_can_go_back_on_purpose_and_the_wish_from_before_is_not_new(image):
    gateway = Gateway(image=image)
    update(gateway)
    record = gateway.live(lambda updater: updater.go_back())
    assert (record.state, gateway.runs, gateway.proven) == (ReleaseState.ROLLED_BACK, OLD, OLD)
    assert "asked" in record.reason
    assert not machine.is_new(record, WANTED)


def test_one_cannot_go_back_to_nothing():
    with pytest.raises(UpdateFailed, match="no release from before"):
        Gateway().updater().go_back()


def test_going_back_ends_a_trial_and_gives_up_what_is_only_fetched():
    gateway = Gateway(unreachable=1)
    updater = gateway.updater()
    updater.want(WANTED)
    updater.run()
    assert updater.go_back().state is ReleaseState.FAILED
    gateway = Gateway(cuts={12: Killed})
    update_cut = gateway.updater()
    update_cut.want(WANTED)
    with pytest.raises(Killed):
        update_cut.run()
    assert gateway.record.state is ReleaseState.TRYING
    record = gateway.live(lambda updater: updater.go_back())
    assert (record.state, gateway.runs) == (ReleaseState.ROLLED_BACK, OLD)


@pytest.mark.parametrize("image", [False, True])
def test_a_machine_that_came_up_is_not_started_again_for_each_try(image):
    gateway = Gateway(image=image, good=False)
    update(gateway)
    assert gateway.starts_of_new == MAX_TRIES
    assert gateway.boot == (3 if image else 1)  # into the new release and back


def switched_by_hand(*, image: bool, good: bool) -> Gateway:
    """Somebody has laid out a release and made it the next, and started the machine anew."""
    gateway = Gateway(image=image, good=good)
    gateway.installed.add(NEW)
    gateway.active = NEW
    gateway.power_on()
    return gateway


@pytest.mark.parametrize("image", [False, True])
def test_what_somebody_switched_to_by_other_means_is_tried_like_any_other(image):
    good = switched_by_hand(image=image, good=True)
    record = good.live()
    assert (record.state, good.runs, good.proven, good.previous) == (ReleaseState.HEALTHY, NEW, NEW, OLD)
    bad = switched_by_hand(image=image, good=False)
    record = bad.live()
    assert (record.state, record.tries, bad.runs, bad.proven) == (ReleaseState.ROLLED_BACK, MAX_TRIES, OLD, OLD)
    assert "does not answer" in record.reason
    assert NEW not in bad.confirmed


@pytest.mark.parametrize("image", [False, True])
@pytest.mark.parametrize("cut", [Killed, PowerCut])
def test_such_a_trial_comes_to_the_same_end_whatever_ends_the_updater(image, cut):
    for moment in range(1, 40):
        gateway = switched_by_hand(image=image, good=False)
        gateway.cuts = {moment: cut}
        assert gateway.live().state is ReleaseState.ROLLED_BACK
        assert (gateway.runs, gateway.proven) == (OLD, OLD)


def test_a_new_image_that_has_nothing_to_go_back_to_is_kept_without_a_trial():
    gateway = Gateway(image=True)
    standing = replace(gateway.standing(), confirmed=False, proven=False, before="")
    assert machine.seen(Record(), standing, 1) == Record()
    assert machine.next_step(Record(), standing) is machine.Step.CONFIRM


def test_what_was_gone_back_to_on_purpose_is_no_trial():
    back = replace(Gateway().standing(), confirmed=False, proven=False, before=NEW)
    record = machine.went_back(Record(ReleaseState.TRYING, WANTED, back_to="slot A"), back, 5)
    assert machine.seen(record, back, 6) == record
    other = replace(back, version="0.9")
    assert machine.seen(record, other, 6).state is ReleaseState.TRYING


@pytest.mark.parametrize("image", [False, True])
def test_what_was_ordered_and_is_healthy_is_reported_as_it_was_desired_and_nothing_else_is(image):
    release = Release(version=NEW, url="https://cloud.example/x", sha256="a" * 64, size=100, order="r-1")
    gateway = Gateway(image=image, good=False)
    record = gateway.live(lambda updater: updater.want(wanted_of(release)))
    assert written(running_of(record, gateway.standing())) == {"version": OLD}
    gateway = Gateway(image=image)
    record = gateway.live(lambda updater: updater.want(wanted_of(release)))
    assert written(running_of(record, gateway.standing())) == written(release)
    again = release.model_copy(update={"order": "r-2"})
    record = gateway.live(lambda updater: updater.want(wanted_of(again)))
    assert written(running_of(record, gateway.standing())) == written(again)
    record = gateway.live(lambda updater: updater.go_back())
    assert written(running_of(record, gateway.standing())) == {"version": OLD}
