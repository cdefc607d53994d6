"""A kit that cannot fail is worthless: each broken driver fails the very promise that it breaks."""

import asyncio
import gc

import pytest

from mappers.testkit.checks import PROMISES
from mappers.testkit.contract import Exempt, run
from tests.mappers.testkit import mutants
from tests.mappers.testkit.line_peer import LineAdapter

pytestmark = [  # of what mutants leave behind
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]

BROKEN = [
    ("LeaksSockets", "it-connects-and-reads", "connections that stand"),
    ("LeaksSockets", "many-reconnects-leave-nothing", "connections that stand"),
    ("LeaksTasks", "it-connects-and-reads", "tasks sleep"),
    ("LeaksThreads", "it-connects-and-reads", "threads"),
    ("SwallowsCancellation", "a-cancelled-read-ends-at-once", "swallows its cancellation"),
    ("SwallowsCancellation", "a-cancelled-write-ends-at-once", "swallows its cancellation"),
    ("IgnoresCancellation", "a-cancelled-read-ends-at-once", ""),
    ("LiesAboutWrites", "a-write-reaches-the-device", "the peer has"),
    ("LiesAboutWrites", "the-last-of-many-writes-stands", "the peer has"),
    ("LiesAboutWrites", "a-desired-value-is-written-and-reported", "is not reported"),
    ("WritesWithoutAnswer", "a-write-that-nobody-answers-is-raised", "as if nothing had happened"),
    ("RemembersWrites", "what-is-read-is-the-device-and-not-what-was-written", ""),
    ("NeverRefuses", "a-read-only-point-refuses-a-write", "as if nothing had happened"),
    ("NeverRefuses", "a-value-of-another-type-is-refused", "as if nothing had happened"),
    ("CrashesOnOddValues", "odd-values-are-written-or-refused", "no MapperError"),
    ("ReadsFromMemory", "a-plan-outlives-a-reconnect", ""),
    ("ReusesReadings", "earlier-readings-stay-as-they-were", "changed by a later read"),
    ("ReadsAfterClose", "reading-after-close-is-not-connected", "as if nothing had happened"),
    ("ReadsAfterClose", "it-comes-back-after-a-cut", "as if it stood"),
    ("ConnectsByItself", "reading-before-connect-is-not-connected", "as if nothing had happened"),
    ("WaitsForEver", "a-half-open-line-ends-a-read-in-time", "needs a time-out of its own"),
    ("WaitsForEver", "a-peer-that-says-nothing-ends-connect-in-time", "needs a time-out of its own"),
    ("BlocksTheLoop", "the-loop-goes-on-meanwhile", "held up"),
    ("TakesTheNextAnswer", "a-late-answer-is-not-that-of-the-next-request", "the peer has"),
    ("TakesTheNextAnswer", "a-read-cancelled-anywhere-harms-no-later-one", ""),
    ("TakesHalfAnswers", "a-cut-within-an-answer-is-noticed", "the peer has"),
    ("RaisesForOnePoint", "a-fault-stays-with-its-point", "fails the whole read"),
    ("RaisesWhatItLikes", "a-write-to-nobody-is-raised", "no MapperError"),
    ("ForgetsFaults", "a-fault-is-found-each-time", ""),
    ("FaultsWithoutWords", "faults-have-words", ""),
    ("CallsSilenceALoss", "a-silent-device-is-a-time-out", "NotConnected, not DeviceTimeout"),
    ("AnswersOthersToo", "every-point-is-answered-and-no-other", "extra"),
    ("GivesTexts", "values-fit-their-types", ""),
    ("GivesTexts", "it-reads-what-the-peer-has", "the peer has"),
    ("OpensInTheConstructor", "making-a-driver-does-nothing", "connections that stand"),
    ("PlansWithIo", "planning-does-no-io", "plan opens a connection"),
    ("KeepsTheFirstConnection", "connecting-twice-leaves-one-connection", "connections stand"),
    ("RaisesInClose", "closing-twice-is-fine", ""),
    ("RaisesInClose", "closing-what-was-never-open-is-fine", ""),
    ("ClosesOnce", "it-opens-again-after-close", ""),
    ("HangsInClose", "closing-is-quick-when-nobody-answers", "time-out of its own"),
    ("TellsAfterUnsubscribe", "nothing-is-told-after-unsubscribe", "tells on"),
    ("NeverTellsLosses", "a-loss-is-told", "not told"),
    ("TellsOnlyChanges", "present-values-are-told-first", "not told"),
    ("TellsOnce", "changes-are-told", "not told"),
    ("FindsWhatIsNotThere", "a-scan-finds-what-documents-can-say", ""),
    ("TellsNoProgress", "a-scan-tells-how-far-it-is", "tells nothing"),
    ("NamelessErrors", "errors-name-the-place", "is not in"),
    ("CountsItsNames", "names-mean-nothing-to-it", ""),
    ("CountsItsNames", "two-names-for-one-point-are-both-read", ""),
    ("ReadsOnlyAHundred", "a-huge-batch-is-read", "100 of 1000"),
]

SETTINGS = [
    ({"connection": mutants.Loose}, "unknown-keys-are-refused", "noSuchKey"),
    ({"device": mutants.Thawed}, "settings-are-values", "can be changed"),
    ({"connection": mutants.Shown}, "secrets-are-secret", "SecretStr"),
    ({"point": mutants.Curt}, "missing-keys-are-named", ""),
    ({"name": "Line Mapper"}, "the-mapper-has-a-name", "cannot be written"),
    ({"capabilities": frozenset()}, "capabilities-are-as-said", "MAPPER says"),
]


class MutantAdapter(LineAdapter):
    """The good adapter with another mapper."""

    timeout_s = 0.2
    patience_s = 1.0

    def __init__(self, mapper) -> None:
        self._mapper = mapper

    @property
    def mapper(self):
        return self._mapper


def broken(adapter, name: str, folder) -> BaseException:
    """What the check of this name finds."""
    (promise,) = [one for one in PROMISES if one.name == name]
    with pytest.raises((Exception, asyncio.CancelledError)) as caught:
        asyncio.run(run(promise, adapter, folder))
    mutants.KEPT.clear()
    gc.collect()  # what it left behind is of this test, not of a later one
    assert not isinstance(caught.value, Exempt)
    return caught.value


@pytest.mark.parametrize(("mutant", "name", "said"), BROKEN)
def test_a_driver_that_breaks_a_promise_fails_it(mutant, name, said, tmp_path):
    found = broken(MutantAdapter(mutants.mapper(getattr(mutants, mutant))), name, tmp_path)
    assert said in str(found)


@pytest.mark.parametrize(("parts", "name", "said"), SETTINGS, ids=[name for _, name, _ in SETTINGS])
def test_settings_that_break_a_promise_fail_it(parts, name, said, tmp_path):
    found = broken(MutantAdapter(mutants.mapper(**parts)), name, tmp_path)
    assert said in str(found)


def test_a_mapper_that_imports_its_library_at_once_fails(tmp_path, monkeypatch):
    (tmp_path / "heavy_mapper.py").write_text(
        "import yaml, asyncua\nfrom tests.mappers.testkit.line_driver import MAPPER\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    adapter = MutantAdapter(mutants.mapper())
    adapter.place = "heavy_mapper:MAPPER"
    assert "asyncua" in str(broken(adapter, "listing-imports-no-driver", tmp_path))


def test_an_adapter_that_leaves_something_out_must_say_why(tmp_path):
    adapter = MutantAdapter(mutants.mapper())
    adapter.missing = None
    assert "say in `exempt` why not: {'missing'" in str(broken(adapter, "faults-have-words", tmp_path))
    adapter.exempt = {"missing": "there is nothing that it has not"}
    (promise,) = [one for one in PROMISES if one.name == "faults-have-words"]
    with pytest.raises(Exempt, match="nothing that it has not"):
        asyncio.run(run(promise, adapter, tmp_path))


def test_every_promise_has_a_name_of_its_own_and_says_what_it_is():
    names = [promise.name for promise in PROMISES]
    assert len(set(names)) == len(names) > 40
    assert [promise.name for promise in PROMISES if not promise.text] == []
