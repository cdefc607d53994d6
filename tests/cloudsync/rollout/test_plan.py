"""The rules of a rollout: who is next, when it stops, and what an end of it leaves."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudsync.rollout.plan import AFTER_MS, Seen, advance, assigned, current_wave, failures, turned, wave_ends
from cloudsync.store.rollouts import Outcome, Phase, Rollout
from twin.errors import Refused
from twin.release import Release, ReleaseReport, ReleaseState

pytestmark = pytest.mark.fast

SHA = "ab" * 32
SECOND = 1000


def rollout(names, *, canary=1, percents=(50,), stop_on=1, online=()):
    ends = wave_ends(len(names), canary, percents)
    places = assigned({name: name in online or not online for name in names}, ends, "seed")
    release = Release(version="2.0", url=f"https://cloud.example/bundles/{SHA}", sha256=SHA, size=9, order="r-1")
    return Rollout("r-1", release, places, tuple(ends), stop_on, 600 * SECOND, 10 * SECOND, made_at=1_000_000)


class World:
    """Gateways that do as a table says, and a cloud that may die between writing down and writing twins."""

    def __init__(self, made, plans, offline=()):
        self.kept = made
        self.now = made.made_at
        self.orders = dict.fromkeys((one.gateway for one in made.places), "")
        self.reports = {}
        self.plans = plans
        self.offline = set(offline)

    @property
    def seen(self):
        return {
            name: Seen(name not in self.offline, order, self.reports.get(name)) for name, order in self.orders.items()
        }

    def step(self, *, dies=False):
        step = advance(self.kept, self.seen, self.now)
        self.kept = step.rollout
        if not dies:
            for name in step.order:
                self.orders[name] = self.kept.id
            for name in step.withdraw:
                self.orders[name] = ""
        return step

    def gateways_act(self):
        for name, order in self.orders.items():
            if order == self.kept.id and name not in self.offline:
                state = self.plans.get(name, ReleaseState.HEALTHY)
                version = "2.0" if state is ReleaseState.HEALTHY else "1.0"
                self.reports[name] = ReleaseReport(
                    version=version, state=state, wanted="2.0", order=order, reason="no broker" if state.lost else ""
                )

    def run(self, *, times=200, every_ms=5 * SECOND, dies=()):
        deaths = iter(dies)
        for _ in range(times):
            self.step(dies=next(deaths, False))
            self.gateways_act()
            self.now += every_ms
            if self.kept.phase.over:
                break
        return self.kept

    def outcome(self, name):
        return next(one.outcome for one in self.kept.places if one.gateway == name)


names = st.lists(st.integers(0, 99), min_size=1, max_size=12, unique=True).map(lambda ns: [f"gw-{n}" for n in ns])
fates = st.sampled_from([*([ReleaseState.HEALTHY] * 6), ReleaseState.ROLLED_BACK, ReleaseState.FAILED])


@given(st.integers(0, 300), st.integers(1, 20), st.lists(st.integers(1, 100), max_size=4).map(sorted))
def test_waves_grow_and_the_last_one_has_all(total, canary, percents):
    ends = list(wave_ends(total, canary, percents).values())
    assert ends == sorted(set(ends))
    assert (ends[-1] if ends else 0) == total
    if total:
        assert ends[0] == min(canary, total)


def test_a_percent_is_rounded_up_and_a_wave_without_anyone_is_left_out():
    assert wave_ends(10, 1, [10, 25, 50]) == {"canary": 1, "25 %": 3, "50 %": 5, "100 %": 10}


@given(names, st.sets(st.integers(0, 11)))
def test_each_gateway_has_one_wave_and_those_that_are_there_come_first(gateways, away):
    online = {name: index not in away for index, name in enumerate(gateways)}
    places = assigned(online, wave_ends(len(gateways), 1, [50]), "s")
    assert sorted(one.gateway for one in places) == sorted(gateways)
    assert [one.wave for one in places] == sorted(one.wave for one in places)
    there = [online[one.gateway] for one in places]
    assert there == sorted(there, reverse=True)


@given(names, st.integers(1, 3), st.lists(st.booleans(), max_size=40))
def test_a_healthy_fleet_gets_it_whole_however_often_a_worker_dies(gateways, canary, deaths):
    world = World(rollout(gateways, canary=canary), {})
    assert world.run(dies=deaths).phase is Phase.DONE
    assert {one.outcome for one in world.kept.places} == {Outcome.HEALTHY}
    assert not advance(world.kept, world.seen, world.now + 2 * AFTER_MS).looked_after


@given(st.data(), names, st.integers(1, 3), st.lists(st.booleans(), max_size=40))
def test_a_wave_begins_only_when_those_before_are_healthy_and_never_after_too_many_failed(
    data, gateways, stop_on, dies
):
    plans = {name: data.draw(fates) for name in gateways}
    world = World(rollout(gateways, stop_on=stop_on), plans)
    deaths = iter(dies)
    for _ in range(120):
        before = world.kept
        step = world.step(dies=next(deaths, False))
        if current_wave(step.rollout) > max(current_wave(before), 0):
            begun = [one for one in before.places if one.wave <= current_wave(before)]
            assert all(
                one.outcome is Outcome.HEALTHY or one.outcome.failed
                for one in step.rollout.places
                if one.wave <= current_wave(before)
            )
            assert len(failures(step.rollout)) < stop_on
            latest = [one for one in step.rollout.places if one.wave == current_wave(before)]
            assert any(one.outcome is Outcome.HEALTHY for one in latest)
            assert begun
        if before.phase.over:
            assert step.order == ()
            assert current_wave(step.rollout) == current_wave(before)
            break
        world.gateways_act()
        world.now += 5 * SECOND
    tried = [one.gateway for one in world.kept.places if one.outcome is not Outcome.PLANNED]
    assert len(failures(world.kept)) == sum(plans[name] is not ReleaseState.HEALTHY for name in tried)
    if len(failures(world.kept)) >= stop_on:
        assert world.kept.phase is Phase.STOPPED
    assert world.kept.phase.over


@pytest.mark.parametrize("phase", [Phase.ABORTED, Phase.STOPPED])
def test_an_end_takes_back_what_nobody_has_begun_and_leaves_what_is_being_tried(phase):
    made = rollout(["a", "b", "c", "d"], canary=4, stop_on=1)
    first, second, third, fourth = (one.gateway for one in made.places)
    world = World(made, {}, offline={first})
    world.step()
    world.reports[second] = report(ReleaseState.TRYING)
    world.reports[third] = report(ReleaseState.DOWNLOADING)
    if phase is Phase.STOPPED:
        world.reports[fourth] = report(ReleaseState.ROLLED_BACK)
    else:
        world.kept = turned(world.kept, Phase.ABORTED)
    world.step()
    world.step()
    assert world.kept.phase is phase
    assert [world.orders[name] for name in (first, second, third)] == ["", "r-1", ""]
    assert [world.outcome(name) for name in (first, second, third)] == [
        Outcome.WITHDRAWN, Outcome.ORDERED, Outcome.WITHDRAWN,
    ]  # fmt: skip


def report(state, *, version="1.0", order="r-1"):
    return ReleaseReport(version=version, state=state, wanted="2.0", order=order, reason="no broker")


def test_an_order_that_a_held_up_worker_writes_after_the_end_is_taken_back_too():
    made = rollout(["a"])
    world = World(made, {}, offline={"a"})
    world.step(dies=True)
    world.kept = turned(world.kept, Phase.ABORTED)
    assert world.step().looked_after
    assert world.step().looked_after
    assert world.outcome("a") is Outcome.WITHDRAWN
    world.orders["a"] = "r-1"
    assert world.step().withdraw == ("a",)
    world.now += 2 * AFTER_MS
    assert not world.step().looked_after


def test_who_is_away_holds_up_nobody_and_is_waited_for_at_the_end():
    made = rollout(["a", "b", "c", "d"], canary=2, percents=(), online=("a", "b", "c"))
    away = made.places[3].gateway
    world = World(made, {}, offline={away})
    world.run(times=30)
    assert world.kept.phase is Phase.RUNNING
    assert world.outcome(away) is Outcome.ORDERED
    assert [one.outcome for one in world.kept.places[:3]] == [Outcome.HEALTHY] * 3
    world.now += 10_000 * SECOND  # its time begins when it comes
    world.offline.clear()
    world.run(times=5)
    assert world.kept.phase is Phase.DONE


def test_a_canary_that_is_away_holds_up_all():
    made = rollout(["a", "b"], online=("a",))
    world = World(made, {}, offline={"a", "b"})
    world.run(times=30)
    assert [one.outcome for one in world.kept.places] == [Outcome.ORDERED, Outcome.PLANNED]


def test_one_that_begins_and_is_not_heard_of_again_is_late_and_counts():
    made = rollout(["a", "b"])
    first = made.places[0].gateway
    world = World(made, {})
    world.step()
    world.reports[first] = report(ReleaseState.TRYING)
    world.step()
    world.offline.add(first)
    world.now += made.limit_ms
    world.step()
    assert world.outcome(first) is Outcome.ORDERED
    world.now += 1
    world.step()
    assert world.outcome(first) is Outcome.LATE
    assert world.kept.phase is Phase.STOPPED
    assert f"{first}: not healthy after 600 s" in world.kept.why


def test_nobody_is_late_by_a_time_in_which_the_cloud_did_not_listen():
    made = rollout(["a", "b"])
    world = World(made, {})
    world.step()
    world.now += 10 * made.limit_ms
    step = advance(world.kept, world.seen, world.now, listening=world.now - 1)
    assert step.rollout.places[0].outcome is Outcome.ORDERED


def test_a_late_one_that_is_healthy_after_all_counts_no_more():
    made = rollout(["a", "b", "c"], canary=2, stop_on=2)
    first, second = (one.gateway for one in made.places[:2])
    world = World(made, {})
    world.step()
    world.reports[second] = report(ReleaseState.HEALTHY, version="2.0")
    world.step()
    world.now += made.limit_ms + 1
    world.step()
    assert world.outcome(first) is Outcome.LATE
    world.reports[first] = report(ReleaseState.HEALTHY, version="2.0")
    world.step()
    assert world.outcome(first) is Outcome.HEALTHY
    assert failures(world.kept) == []


def test_the_next_wave_waits_until_the_one_before_was_healthy_for_a_while():
    made = rollout(["a", "b"])
    world = World(made, {})
    world.step()
    world.gateways_act()
    world.step()
    world.now += made.soak_ms - 1
    assert current_wave(world.step().rollout) == 0
    world.now += 1
    assert current_wave(world.step().rollout) == 1


def test_the_next_wave_waits_for_one_that_is_still_at_it_and_not_for_one_that_is_away():
    made = rollout(["a", "b", "c"], canary=2)
    first, second = (one.gateway for one in made.places[:2])
    world = World(made, {})
    world.step()
    world.reports[first] = report(ReleaseState.HEALTHY, version="2.0")
    world.reports[second] = report(ReleaseState.TRYING)
    world.step()
    world.now += made.soak_ms
    assert current_wave(world.step().rollout) == 0
    del world.reports[second]
    world.offline.add(second)
    world.kept = replace(made, places=tuple(replace(one, began=False) for one in world.kept.places))
    assert current_wave(world.step().rollout) == 1


def test_what_a_gateway_says_of_another_order_counts_for_nothing():
    world = World(rollout(["a"]), {})
    world.reports["a"] = report(ReleaseState.ROLLED_BACK, order="r-0")
    world.step()
    world.step()
    assert world.kept.phase is Phase.RUNNING
    world.reports["a"] = report(ReleaseState.HEALTHY, version="2.0", order="r-0")
    world.step()
    assert world.outcome("a") is Outcome.ORDERED


def test_healthy_on_another_version_is_not_healthy():
    world = World(rollout(["a"]), {})
    world.step()
    world.reports["a"] = report(ReleaseState.HEALTHY, version="1.0")
    world.step()
    assert world.outcome("a") is Outcome.ORDERED


def test_an_order_of_somebody_else_is_left_alone_and_nobody_waits_for_it():
    made = rollout(["a", "b"])
    first = made.places[0].gateway
    world = World(made, {})
    world.step()
    world.step()
    world.orders[first] = "r-2"
    step = world.step()
    assert first not in step.order
    assert world.outcome(first) is Outcome.OVERTAKEN
    assert world.run().phase is Phase.DONE
    assert world.orders[first] == "r-2"


def test_nobody_waits_for_a_gateway_that_is_gone():
    made = rollout(["a", "b", "c"], canary=2)
    world = World(made, {})
    world.step()
    del world.orders[made.places[0].gateway]
    assert world.run().phase is Phase.DONE


def test_a_wave_of_which_all_failed_stops_it_even_if_more_were_allowed():
    made = rollout(["a", "b", "c"], stop_on=3)
    world = World(made, {made.places[0].gateway: ReleaseState.REFUSED})
    assert world.run(times=5).phase is Phase.STOPPED
    assert "nobody of wave canary is healthy" in world.kept.why


def test_a_pause_orders_nothing_and_a_resume_goes_on():
    made = rollout(["a", "b"])
    world = World(made, {})
    world.kept = turned(made, Phase.PAUSED)
    world.run(times=20)
    assert set(world.orders.values()) == {""}
    assert {one.outcome for one in world.kept.places} == {Outcome.PLANNED}
    world.kept = turned(world.kept, Phase.RUNNING)
    assert world.run().phase is Phase.DONE


def test_a_pause_holds_back_an_order_that_was_written_down_only():
    world = World(rollout(["a"]), {})
    world.step(dies=True)
    world.kept = turned(world.kept, Phase.PAUSED)
    assert world.step().order == ()
    world.kept = turned(world.kept, Phase.RUNNING)
    assert world.step().order == ("a",)


@pytest.mark.parametrize("phase", [Phase.STOPPED, Phase.ABORTED, Phase.DONE])
def test_what_is_over_stays_over(phase):
    with pytest.raises(Refused, match=f"is {phase} already"):
        turned(replace(rollout(["a"]), phase=phase), Phase.RUNNING)


def test_the_reasons_of_a_stop_name_the_first_few():
    gateways = [f"gw-{number}" for number in range(5)]
    world = World(rollout(gateways, canary=5, stop_on=5), dict.fromkeys(gateways, ReleaseState.FAILED))
    world.run(times=3)
    assert world.kept.why.startswith("5 failed: ")
    assert world.kept.why.count("no broker") == 3
    assert world.kept.why.endswith("and 2 more")
