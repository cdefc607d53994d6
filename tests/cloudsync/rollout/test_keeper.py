"""Rollouts carried out on a real store: workers that die, several at once, gateways that come and go."""

import contextlib

import pytest

from cloudsync.duty import GAP_MS, LEASE_MS, RENEW_MS
from cloudsync.rollout.fleet import SOMEBODY, look
from cloudsync.rollout.keeper import Keeper
from cloudsync.rollout.plan import turned
from cloudsync.store.rollouts import Outcome, Phase
from cloudsync.writing import update
from tests.cloudsync.rollout.test_plan import rollout
from tests.cloudsync.scheduler.site import Faulty, SchedulerSite
from twin.document import DELETED
from twin.errors import StoreError
from twin.merge import standing
from twin.model import ConflictPolicy, Kind, TwinKey
from twin.release import RELEASE, UPDATE, ReleaseReport, ReleaseState, read_release, written

GATEWAYS = ("gw-1", "gw-2", "gw-3")


class FaultyRollouts:
    """Its writes are counted, and fail, as those of gateways do."""

    def __init__(self, inner, owner):
        self._inner = inner
        self._owner = owner
        self.rollouts = inner.rollouts

    async def put(self, one, *, looked_after):
        self._owner.writes += 1
        fails = self._owner.writes == self._owner.fails_at
        if fails and not self._owner.is_late:
            message = "killed before the commit"
            raise StoreError(message)
        done = await self._inner.put(one, looked_after=looked_after)
        if fails:
            message = "killed after the commit"
            raise StoreError(message)
        return done


class FaultyStore(Faulty):
    @property
    def rollouts(self):
        return FaultyRollouts(self._inner.rollouts, self._owner)


class Site(SchedulerSite):
    def __init__(self, folder):
        super().__init__(folder, *GATEWAYS)
        self.faulty = FaultyStore(self.store, self)
        self.beat()
        self.ticks = dict.fromkeys(GATEWAYS, 100)
        self.keeper = self.new_keeper()

    def new_keeper(self):
        name = f"w{next(self.names)}"
        return Keeper(self.worker(store=self.faulty), self.faulty, name, known=self._known, clock=self.clock)

    def begin(self, **more):
        made = rollout(GATEWAYS, **more)
        self.run(self.store.rollouts.put(made, looked_after=True))
        return made

    def step(self, seconds=5.0):
        self.wait(seconds)
        self.beat()
        self.run(self.keeper.tick())

    def kept(self):
        (found,) = self.run(self.store.rollouts.rollouts())
        return found

    def desired(self, gateway):
        leaf = self.document(TwinKey(Kind.GATEWAY, "default", gateway)).desired.get(RELEASE)
        slot = standing(leaf, ConflictPolicy.LATEST) if leaf is not None else None
        return read_release(slot.value) if slot is not None else None

    def say(self, gateway, state, *, order="r-1", version="2.0"):
        self.ticks[gateway] += 1
        said = ReleaseReport(version=version, state=state, wanted="2.0", order=order, reason="no broker")
        self.report_own(gateway, tick=self.ticks[gateway], **{UPDATE: written(said)})

    def obey(self):
        """Gateways do what is desired of them, at once."""
        for name in GATEWAYS:
            if (wanted := self.desired(name)) is not None:
                self.say(name, ReleaseState.HEALTHY, order=wanted.order)


@pytest.fixture
def site(tmp_path):
    made = Site(tmp_path / "site")
    yield made
    made.close()


def test_a_release_goes_from_wave_to_wave_through_the_twins(site):
    made = site.begin()
    first, *others = (one.gateway for one in made.places)
    site.step()
    assert site.desired(first) == made.release
    assert [site.desired(name) for name in others] == [None, None]
    for _ in range(20):
        site.obey()
        site.step()
    assert site.kept().phase is Phase.DONE
    assert [site.desired(name) for name in GATEWAYS] == [made.release] * 3
    audited = [one.what for one in site.run(site.store.audit_log()) if one.subject == "r-1"]
    assert f"2.0 ordered at {first}" in audited
    assert audited[-1] == "2.0: done"


def test_what_failed_stops_it_and_what_nobody_began_is_taken_back(site):
    made = site.begin(canary=2)
    first, second, third = (one.gateway for one in made.places)
    site.step()
    site.say(first, ReleaseState.ROLLED_BACK, version="1.0")
    site.step()
    site.step()
    assert site.kept().phase is Phase.STOPPED
    assert site.kept().why == f"1 failed: {first}: no broker"
    assert [site.desired(name) for name in (second, third)] == [None, None]


@pytest.mark.parametrize("is_late", [False, True])
@pytest.mark.parametrize("fails_at", range(1, 12))
def test_whatever_write_is_the_last_of_a_worker_the_next_one_goes_on(site, fails_at, is_late):
    site.begin()
    site.fails_at, site.is_late = fails_at, is_late
    for _ in range(30):
        try:
            site.step()
        except StoreError:
            site.keeper = site.new_keeper()
            site.wait(LEASE_MS / 1000 + 1)
        site.obey()
    assert site.kept().phase is Phase.DONE
    assert {one.outcome for one in site.kept().places} == {Outcome.HEALTHY}


def test_one_worker_at_a_time_does_and_another_takes_over(site):
    site.begin()
    second = site.new_keeper()
    site.step()
    revision = site.kept().revision
    site.run(second.tick())
    assert site.kept().revision == revision
    site.obey()
    site.run(site.keeper.duty.release())
    site.wait(RENEW_MS / 1000)
    site.run(second.tick())
    assert site.kept().revision == revision + 1


def test_a_command_and_a_worker_at_once_lose_nothing(site):
    site.begin()
    site.step()
    site.run(site.store.rollouts.put(turned(site.kept(), Phase.ABORTED), looked_after=True))
    site.step()
    site.step()
    assert site.kept().phase is Phase.ABORTED
    assert [site.desired(name) for name in GATEWAYS] == [None] * 3
    for _ in range(15):
        site.step()
    assert site.run(site.store.rollouts.rollouts(looked_after=True)) == []


def test_nobody_is_late_by_a_time_in_which_no_worker_ran(site):
    made = site.begin()
    site.step()
    site.keeper = site.new_keeper()
    site.wait((made.limit_ms + GAP_MS) / 1000)
    site.step()
    assert Outcome.LATE not in {one.outcome for one in site.kept().places}


def test_a_release_that_a_person_orders_is_not_written_over(site):
    made = site.begin()
    first = made.places[0].gateway
    site.step()
    site.step()
    own = made.release.model_copy(update={"order": "", "version": "3.0"})

    async def order(value):
        async with site.hub.change(first) as turn:
            await update(turn, TwinKey(Kind.GATEWAY, "default", first), {RELEASE: value}, by="ann")

    site.run(order(written(own)))
    for _ in range(10):
        site.obey()
        site.step()
    assert site.desired(first) == own
    assert site.kept().places[0].outcome is Outcome.OVERTAKEN
    site.run(order(DELETED))
    with contextlib.suppress(StoreError):
        site.step()
    assert site.desired(first) is None


def test_the_fleet_is_read_as_it_is_and_what_is_not_understood_is_nothing(site):
    site.report_own("gw-1", **{RELEASE: {"version": "9", "state": "of tomorrow"}})

    async def order():
        async with site.hub.change("gw-2") as turn:
            await update(turn, TwinKey(Kind.GATEWAY, "default", "gw-2"), {RELEASE: "what?"}, by="ann")

    site.run(order())
    site.say("gw-3", ReleaseState.HEALTHY)
    site.cut("gw-3")
    site.unknown.add("gw-2")
    now = site.clock.now_us() // 1000
    seen = site.run(look(site.store, site._known, now, labels=True))
    assert sorted(seen) == ["gw-1", "gw-3"]
    assert (seen["gw-1"].seen.report, seen["gw-1"].runs) == (None, "1")
    assert (seen["gw-3"].seen.online, seen["gw-3"].runs) == (False, "2.0")
    assert seen["gw-1"].labels == {"kubernetes.io/hostname": "gw-1"}
    site.unknown.clear()
    assert site.run(look(site.store, site._known, now))["gw-2"].seen.order == SOMEBODY
