"""The service does what the cloud wants, once, goes on with what others began, and ends when a new release is there."""

from __future__ import annotations

import pytest

from hardware.errors import UpdateBusy, UpdateFailed
from hardware.update.agent import GLANCES, IDLE_S, Agent, wanted_of
from hardware.update.records import Records
from tests.hardware.update.test_machine import WANTED
from tests.hardware.update.world import NEW, OLD, Gateway, Killed
from twin.release import Release, ReleaseState

pytestmark = pytest.mark.fast

RELEASE = Release(version=NEW, url="https://cloud.example/x", sha256="a" * 64, size=100, order="r-1")


class Enough(Exception):
    """The service has had as many turns as the test gives it."""


class Backoff:
    def __init__(self) -> None:
        self.asked = 0

    def next_s(self) -> float:
        self.asked += 1
        return 10.0

    def reset(self) -> None:
        self.asked = 0


class Service:
    """A service with so many turns; what is wanted may change between them."""

    def __init__(self, gateway: Gateway, folder) -> None:
        self.gateway = gateway
        self.records = Records(folder / "update")
        self.wanted: Release | None = None
        self.backoff = Backoff()
        self.waits: list[float] = []
        self.turns = 0

    def run(self, turns: int) -> bool:
        """Whether it ended by itself."""
        self.turns = turns
        agent = Agent(
            self.gateway, self.gateway.updater(), self.records, lambda: self.wanted, self._sleep, self.backoff
        )
        try:
            agent.run()
        except Enough:
            return False
        return True

    def _sleep(self, seconds: float) -> None:
        self.waits.append(seconds)
        self.turns -= 1
        if not self.turns:
            raise Enough


@pytest.fixture
def service(tmp_path):
    return Service(Gateway(), tmp_path)


def state(service: Service) -> ReleaseState:
    return service.gateway.record.state


def test_what_the_cloud_wants_is_installed_and_the_service_ends_to_be_started_from_it(service):
    assert not service.run(2)
    assert state(service) is ReleaseState.IDLE
    service.wanted = RELEASE
    assert service.run(2)
    assert (state(service), service.gateway.runs) == (ReleaseState.HEALTHY, NEW)
    assert service.gateway.record.wanted == wanted_of(RELEASE)
    assert not service.run(3)  # started from it; there is nothing more to do
    assert service.waits[-3:] == [IDLE_S] * 3


def test_what_went_wrong_is_tried_again_only_with_another_order(service):
    service.gateway.good = False
    service.wanted = RELEASE
    assert not service.run(3)
    assert (state(service), service.gateway.starts_of_new) == (ReleaseState.ROLLED_BACK, 3)
    service.gateway.good = True
    assert not service.run(3)
    assert state(service) is ReleaseState.ROLLED_BACK
    service.wanted = RELEASE.model_copy(update={"order": "r-2"})
    assert service.run(3)
    assert state(service) is ReleaseState.HEALTHY


def test_a_bundle_that_cannot_be_had_is_asked_for_with_growing_waits_and_given_up_when_it_is_wanted_no_more(service):
    service.gateway.unreachable = 100
    service.wanted = RELEASE
    assert not service.run(3)
    assert service.waits == [IDLE_S + 10.0] * 3
    assert (state(service), service.gateway.record.reason) == (ReleaseState.DOWNLOADING, "no answer")
    service.wanted = None
    assert not service.run(2)
    assert (state(service), service.gateway.record.reason) == (ReleaseState.FAILED, "it is wanted no more")
    assert service.backoff.asked == 0


def test_what_the_command_line_left_undone_is_finished_and_what_it_does_is_not_disturbed(service):
    service.gateway.cuts = {10: Killed}
    updater = service.gateway.updater()
    updater.want(WANTED)
    with pytest.raises(Killed):
        updater.run()
    with service.records.locked():
        assert not service.run(2)
        assert service.gateway.runs == OLD
    assert service.run(2)
    assert (state(service), service.gateway.runs) == (ReleaseState.HEALTHY, NEW)


def test_a_service_at_rest_asks_the_back_end_nothing_until_there_is_something_new_or_a_minute_is_over(service):
    asked = []
    standing = service.gateway.standing
    service.gateway.standing = lambda: asked.append(1) or standing()
    assert not service.run(2)
    first = len(asked)
    assert not service.run(GLANCES - 1)
    assert len(asked) <= 2 * first
    service.records.folder.joinpath("record.json").write_text("{}")  # the command line was here
    asked.clear()
    assert not service.run(1)
    assert asked


def test_a_back_end_that_does_not_answer_when_the_service_starts_is_asked_again(service):
    standing, left = service.gateway.standing, [UpdateFailed("rauc is at work", remedy="wait")]

    def busy():
        if left:
            raise left.pop()
        return standing()

    service.gateway.standing = busy
    service.wanted = RELEASE
    assert service.run(5)
    assert service.waits == [IDLE_S + 10.0]
    assert state(service) is ReleaseState.HEALTHY


def test_the_command_line_waits_for_a_look_of_the_service_and_no_longer(tmp_path):
    records = Records(tmp_path / "update")
    with records.locked(), pytest.raises(UpdateBusy, match="under way"), records.locked(0.15):
        pass
    with records.locked(0.1):
        pass
