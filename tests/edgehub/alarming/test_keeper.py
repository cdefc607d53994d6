"""The keeper of alarms over a real engine and store: twins, messages, answers, restarts, and a disk that refuses."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor

import pytest

from edgehub.alarming.keeper import MOST, RETRY_S, Alarming
from edgehub.alarming.looking import Facts, Looking
from edgehub.alarming.own import OWN
from edgehub.alarming.rule import EVERY, Metric, Operator, Rule, Selector, Subject, alarm_key
from twin.alarm import AlarmState, Severity
from twin.engine import TwinEngine
from twin.errors import LinkError, StoreError
from twin.model import Access, Kind, PropertySpec, Quality, Reason, TwinKey, TwinSpec, ValueType
from twin.reading import PropertyMark
from twin.sqlite_store import SqliteStore
from twin.wire.mesh import Alert

pytestmark = pytest.mark.fast

BOILER = TwinKey(Kind.DEVICE, "plant", "boiler")
GATEWAY = TwinKey(Kind.GATEWAY, "default", "gw-1")
POD = TwinKey(Kind.POD, "plant", "web-1")
PROPERTIES = {
    "t": PropertySpec("t", ValueType.DOUBLE),
    "mode": PropertySpec("mode", ValueType.STRING, Access.READ_WRITE),
}
HOT = Rule(
    *("hot", Selector("device", "plant"), Metric.PROPERTY, "plant", "t"),
    **{"threshold": 80.0, "hysteresis": 5.0, "for_s": 10.0, "keep_s": 20.0, "severity": Severity.CRITICAL},
)
DEAD = PropertyMark(Quality.BAD, Reason.TIMEOUT)


class Clock:
    def __init__(self):
        self.s = 1000.0
        self.wall_s = 1_000_000.0

    def monotonic_s(self):
        return self.s

    def now_us(self):
        return int(self.wall_s * 1_000_000)

    def go(self, seconds):
        self.s += seconds
        self.wall_s += seconds


class Mesh:
    def __init__(self):
        self.alerts = {}
        self.judges = False

    def judged(self, rule, service):
        return self.alerts.get((rule, service))

    def is_judging(self, for_s):
        return self.judges


class NoFacts:
    def load(self):
        pass


class Refusing(SqliteStore):
    full = False

    def write(self, batch):
        if self.full:
            raise StoreError("no space left", remedy="Make room.")
        super().write(batch)


class Site:
    """What lives from a start to the next kill."""

    def __init__(self, folder, clock, executor, rules=(HOT,), own=False):
        self.clock = clock
        self.store = Refusing(folder / "state.db")
        self.store.open()
        self.engine = TwinEngine(self.store, clock=clock, executor=executor)
        self.engine.open()
        self.mesh = Mesh()
        self.looking = Looking(self.engine, self.mesh)
        self.alarming = Alarming(self.engine, self.looking, NoFacts(), clock, "gw-1")
        self.messages = []
        self.link_full = False
        self.alarming.publish = self.publish
        self.alarming.load()
        self.specs = [
            TwinSpec(BOILER, "u1", labels=(("hall", "north"),), properties=PROPERTIES),
            TwinSpec(POD, "u2"),
            TwinSpec(GATEWAY, ""),
        ]
        self.services = [Subject("service", "plant", "web")]
        self.follow(rules)
        self.stop = self.engine.watch_deltas(self.alarming._on_delta)

    def publish(self, topic, payload):
        if self.link_full:
            raise LinkError("too many wait")
        self.messages.append((topic, json.loads(payload) if payload else None))

    def follow(self, rules):
        """As the hub does when documents change."""
        labelled = [(Subject(one.key.kind, one.key.namespace, one.key.name), dict(one.labels)) for one in self.specs]
        self.alarming.follow(rules, [*labelled, *((one, {}) for one in self.services)])
        known = {spec.key: spec for spec in (*self.specs, *self.alarming.specs())}
        for key in list(self.engine):
            if key not in known:
                self.engine.remove(key)
        for spec in known.values():
            self.engine.define(spec)

    def report(self, key=BOILER, marks=None, **values):
        self.engine.report(key, values, marks or {}, at=self.clock.now_us() // 1000, by="m")

    async def look(self, seconds=0.0):
        self.clock.go(seconds)
        await self.alarming.look()

    def alarm(self, key="hot.boiler.gw-1", namespace="plant"):
        reported = self.engine.document(TwinKey(Kind.ALARM, namespace, key)).reported
        return {name: slot.value for name, slot in reported.items()}

    def alarms(self):
        return sorted(key.name for key in self.engine if key.kind is Kind.ALARM)

    async def hot(self):
        """An alarm that fires."""
        self.report(t=90.0)
        await self.look()
        await self.look(10)
        assert self.alarm()["state"] == "firing"

    async def kill(self):
        """End without a word; what is on its way to the disk gets there, for its thread is ours."""
        self.stop()
        await self.engine.close()
        self.store.close()


@pytest.fixture
async def sites(tmp_path):
    with ThreadPoolExecutor(1) as executor:
        made, clock = [], Clock()

        def make(rules=(HOT,)):
            made.append(Site(tmp_path, clock, executor, rules))
            return made[-1]

        yield make
        for site in made:
            await site.engine.close()
            site.store.close()


async def test_a_value_over_its_threshold_becomes_an_alarm_that_is_told_and_kept(sites):
    site = sites()
    site.report(t=90.0)
    await site.look()
    assert site.alarms() == []
    await site.look(6)
    assert site.alarm()["state"] == "pending"
    assert site.messages == []  # nobody is to be told yet
    await site.look(4)
    told = site.alarm()
    assert told["state"] == "firing"
    assert told["since"] == 1_000_000_000
    assert (told["severity"], told["value"]) == ("critical", 90)
    assert (told["rule"], told["subject"]) == ("plant/hot", "device/plant/boiler")
    assert told["message"] == "t is 90 (> 80 is an alarm)"
    ((topic, message),) = site.messages
    assert topic == "et/1/alert/plant/boiler/hot"
    assert (message["kind"], message["about"], message["firing"]) == ("device", "plant/boiler", True)
    assert message["since"] == told["since"]


async def test_what_is_over_soon_costs_no_write(sites):
    site = sites()
    for _ in range(20):
        site.report(t=90.0)
        await site.look(1)
        site.report(t=70.0)
        await site.look(1)
    assert site.alarms() == []
    assert site.messages == []


async def test_it_is_over_when_the_value_came_back_far_enough_for_long_enough(sites):
    site = sites()
    await site.hot()
    site.report(t=78.0)
    await site.look(100)
    assert site.alarm()["state"] == "firing"
    site.report(t=75.0)
    await site.look(1)
    await site.look(19)
    assert site.alarm()["state"] == "firing"
    await site.look(1)
    assert site.alarm()["state"] == "resolved"
    told = [(message["firing"], message["since"]) for _, message in site.messages]
    assert list(dict.fromkeys(told)) == [(True, 1_000_000_000), (False, 1_000_000_000)]


async def test_a_value_that_moves_is_not_written_each_second(sites):
    site = sites()
    await site.hot()
    before = site.engine.version(TwinKey(Kind.ALARM, "plant", "hot.boiler.gw-1"))
    for number in range(30):
        site.report(t=100.0 + number)
        await site.look(1)
    after = site.engine.version(TwinKey(Kind.ALARM, "plant", "hot.boiler.gw-1"))
    assert after - before == 3
    assert site.alarm()["value"] >= 120


async def test_an_answer_is_of_one_firing(sites):
    site = sites()
    await site.hot()
    assert site.alarming.unseen() == ["critical: plant/hot of device/plant/boiler: t is 90 (> 80 is an alarm)"]
    key, since = TwinKey(Kind.ALARM, "plant", "hot.boiler.gw-1"), site.alarm()["since"]
    site.engine.set_desired(key, {"acknowledged": since, "note": "on my way"}, by="ada")
    await site.engine.settled()
    await site.look()
    assert site.alarm()["state"] == "acknowledged"
    assert (site.alarm()["acknowledged_by"], site.alarm()["note"]) == ("ada", "on my way")
    assert site.engine.delta(key) == {}
    assert site.messages[-1][1]["acknowledged_by"] == "ada"
    assert site.alarming.unseen() == []
    site.report(t=20.0)
    await site.look(1)
    await site.look(20)
    assert site.alarm()["state"] == "resolved"
    site.report(t=90.0)
    await site.look(1)
    await site.look(10)
    assert site.alarm()["state"] == "firing"
    assert site.messages[-1][1].get("acknowledged_by", "") == ""


async def test_an_answer_to_another_firing_changes_nothing(sites):
    site = sites()
    await site.hot()
    key = TwinKey(Kind.ALARM, "plant", "hot.boiler.gw-1")
    site.engine.set_desired(key, {"acknowledged": 5}, by="ada")
    await site.engine.settled()
    await site.look()
    assert site.alarm()["state"] == "firing"
    assert site.engine.delta(key) == {}  # it was taken note of


async def test_a_restart_is_no_new_alarm(sites, caplog):
    site = sites()
    await site.hot()
    key = TwinKey(Kind.ALARM, "plant", "hot.boiler.gw-1")
    site.engine.set_desired(key, {"acknowledged": site.alarm()["since"]}, by="ada")
    await site.look()
    await site.engine.settled()
    await site.look()
    before = site.alarm()
    await site.kill()
    caplog.clear()
    again = sites()
    await again.look(3)
    assert again.alarm() == before
    assert [message["since"] for _, message in again.messages] == [before["since"]]  # retained anew, the same
    assert not caplog.records


async def test_an_answer_that_came_while_the_hub_was_down_counts(sites):
    site = sites()
    await site.hot()
    key = TwinKey(Kind.ALARM, "plant", "hot.boiler.gw-1")
    site.engine.set_desired(key, {"acknowledged": site.alarm()["since"]}, by="cloud-user")
    await site.engine.settled()
    await site.kill()
    again = sites()
    await again.look(1)
    assert again.alarm()["state"] == "acknowledged"


async def test_a_pending_alarm_goes_on_after_a_restart(sites):
    site = sites()
    site.report(t=90.0)
    await site.look()
    await site.look(7)
    await site.kill()
    again = sites()
    await again.look(3)
    assert again.alarm()["state"] == "firing"
    assert again.alarm()["since"] == 1_000_000_000


async def test_what_is_bad_ends_no_alarm_and_begins_none(sites):
    site = sites()
    site.report(t=90.0, marks={"t": DEAD})
    await site.look()
    await site.look(100)
    assert "hot.boiler.gw-1" not in site.alarms()
    site.report(t=90.0)
    await site.look()
    await site.look(10)
    site.report(t=10.0, marks={"t": DEAD})
    await site.look()
    await site.look(100)
    assert site.alarm()["state"] == "firing"


async def test_a_device_is_silent_when_none_of_its_values_is_good(sites):
    site = sites(())
    await site.look(1)
    site.report(t=1.0, mode="auto")
    site.report(marks={"t": DEAD})
    await site.look(1)
    await site.look(70)
    assert site.alarms() == []
    site.report(marks={"t": DEAD, "mode": DEAD})
    await site.look(1)
    await site.look(60)
    assert site.alarm("device-silent.boiler.gw-1")["message"] == "no value of it is good (timeout)"
    site.report(t=1.0)
    await site.look(1)
    await site.look(5)
    assert site.alarm("device-silent.boiler.gw-1")["state"] == "resolved"


SOON = Rule(
    *("device-silent", Selector("device", "plant"), Metric.DEVICE_SILENT, "plant"),
    **{"after_s": 300.0, "severity": Severity.CRITICAL, "keep_s": 5.0},
)


async def test_a_device_that_just_stops_is_silent_after_its_time(sites):
    site = sites((SOON,))
    for _ in range(4):
        site.report(t=1.0)  # always the same: it lives
        await site.look(200)
    assert site.alarms() == []
    site.report(marks={"t": PropertyMark(Quality.UNCERTAIN, Reason.STALE)})  # no word of the device's
    site.report(mode="auto")
    await site.look()
    site.report(marks={"t": DEAD})
    await site.look(299)
    assert site.alarms() == []
    await site.look(1)
    told = site.alarm("device-silent.boiler.gw-1")
    assert (told["state"], told["message"]) == ("firing", "no report of it for 300 s")
    site.engine.update(BOILER, reported={"mode": "auto"}, by="app")
    await site.look(1)
    await site.look(5)
    assert site.alarm("device-silent.boiler.gw-1")["state"] == "resolved"
    assert site.alarm("device-silent.boiler.gw-1")["message"] == "it reports"


async def test_a_device_that_was_never_heard_of_is_silent_after_its_time(sites):
    site = sites((SOON,))
    await site.look()
    await site.look(299)
    assert site.alarms() == []
    await site.look(1)
    assert site.alarm("device-silent.boiler.gw-1")["state"] == "firing"


async def test_a_restart_neither_ends_a_silence_nor_begins_one(sites):
    site = sites((SOON,))
    site.report(t=1.0)
    await site.look()
    await site.kill()
    again = sites((SOON,))
    await again.look(299)
    assert again.alarms() == []
    await again.look(300)
    assert again.alarm("device-silent.boiler.gw-1")["state"] == "firing"
    await again.kill()
    third = sites((SOON,))
    await third.look(10)
    await third.look(10)
    assert third.alarm("device-silent.boiler.gw-1")["state"] == "firing"
    third.report(t=1.0)
    await third.look(1)
    await third.look(5)
    assert third.alarm("device-silent.boiler.gw-1")["state"] == "resolved"


async def test_a_device_with_a_time_is_silent_by_quality_too(sites):
    site = sites((SOON,))
    site.report(t=1.0)
    site.report(marks={"t": DEAD})
    await site.look(1)
    assert site.alarm("device-silent.boiler.gw-1")["message"] == "no value of it is good (timeout)"


async def test_the_time_of_a_new_device_begins_anew(sites):
    site = sites((SOON,))
    await site.look(1)
    others = [spec for spec in site.specs if spec.key != BOILER]
    first, site.specs = site.specs, others
    site.follow((SOON,))
    await site.look(1000)
    site.specs = first
    site.follow((SOON,))
    await site.look(1)
    await site.look(100)
    assert site.alarms() == []


async def test_a_pod_that_crashes_again_and_again_is_an_alarm_until_it_has_run_for_a_while(sites):
    site = sites(())
    site.report(POD, reason="CrashLoopBackOff", restarts=4)
    await site.look(1)
    told = site.alarm("pod-crash-loop.web-1.gw-1")
    assert (told["state"], told["value"]) == ("firing", 4)
    site.report(POD, reason="")
    await site.look(1)
    await site.look(299)
    assert site.alarm("pod-crash-loop.web-1.gw-1")["state"] == "firing"
    await site.look(1)
    assert site.alarm("pod-crash-loop.web-1.gw-1")["state"] == "resolved"


async def test_the_gateway_itself_is_looked_at(sites):
    site = sites(())
    site.looking.facts = Facts(
        unsent_leaves=20_000, offline_s=901, disk_free_percent=2.0, clock="ahead", certificate_days=1.0, drops=3
    )
    await site.look(1)
    await site.look(400)
    found = [name.removesuffix(".gw-1") for name in site.alarms()]
    assert found == ["certificate", "clock", "disk-full", "disk-low", "drops", "offline", "unsent"]
    assert site.alarm("disk-full.gw-1", "default")["severity"] == "critical"
    site.looking.facts = Facts(unsent_leaves=0, offline_s=0, disk_free_percent=50, certificate_days=90, drops=0)
    await site.look(1)
    await site.look(700)
    assert {site.alarm(name, "default")["state"] for name in site.alarms()} == {"resolved"}


async def test_what_the_mesh_judges_is_kept_like_all_others(sites):
    site = sites(())
    site.mesh.alerts["default/breaker-open", "plant/web"] = Alert(
        rule="default/breaker-open", about="plant/web", firing=True, since=5, value=1.0, text="its breaker is open"
    )
    await site.look(1)
    told = site.alarm("breaker-open.web.gw-1")
    assert (told["state"], told["message"]) == ("firing", "its breaker is open")
    assert site.messages[-1][0] == "et/1/alert/plant/web/breaker-open"
    site.mesh.alerts.clear()
    await site.look(1)
    assert site.alarm("breaker-open.web.gw-1")["state"] == "firing"  # its process has just begun
    site.mesh.judges = True
    await site.look(1)
    assert site.alarm("breaker-open.web.gw-1")["state"] == "resolved"


async def test_an_alarm_goes_with_its_rule_and_with_what_it_is_about(sites):
    site = sites()
    await site.hot()
    site.follow(())
    await site.look(1)
    assert "hot.boiler.gw-1" not in site.alarms()
    assert site.messages[-1] == ("et/1/alert/plant/boiler/hot", None)


async def test_a_document_takes_the_place_of_an_own_rule(sites):
    quick = Rule("device-silent", Selector("device", "plant"), Metric.DEVICE_SILENT, "plant", for_s=1)
    site = sites((quick,))
    site.report(t=1.0)
    site.report(marks={"t": DEAD})
    await site.look(1)
    await site.look(1)
    assert site.alarm("device-silent.boiler.gw-1")["rule"] == "plant/device-silent"
    off = Rule("device-silent", Selector("device", EVERY), Metric.DEVICE_SILENT, enabled=False)
    site.follow((off,))
    await site.look(100)
    assert site.alarms() == []
    elsewhere = Rule("device-silent", Selector("device", "hall"), Metric.DEVICE_SILENT, "hall", enabled=False)
    site.follow((elsewhere,))
    await site.look(1)
    await site.look(60)
    assert site.alarm("device-silent.boiler.gw-1")["rule"] == "default/device-silent"


async def test_a_selector_takes_names_labels_and_namespaces(sites):
    fits = {
        "by-label": Selector("device", "plant", labels=(("hall", "north"),)),
        "by-name": Selector("device", "plant", "boiler"),
        "of-all": Selector("device", EVERY),
        "other-label": Selector("device", "plant", labels=(("hall", "south"),)),
        "other-name": Selector("device", "plant", "pump"),
        "other-place": Selector("device", "hall"),
        "other-kind": Selector("pod", "plant"),
    }
    rules = [Rule(name, one, Metric.PROPERTY, property="t", threshold=80.0) for name, one in fits.items()]
    site = sites(rules)
    site.report(t=90.0)
    await site.look(1)
    assert site.alarms() == ["by-label.boiler.gw-1", "by-name.boiler.gw-1", "of-all.boiler.gw-1"]


async def test_a_disk_that_takes_nothing_keeps_nobody_from_being_told(sites):
    site = sites()
    site.report(t=90.0)
    await site.look()
    site.store.full = True
    with pytest.raises(StoreError):
        await site.look(10)
    assert site.messages[-1][1]["firing"]
    await site.look(1)  # it is not asked again at once
    site.store.full = False
    await site.look(RETRY_S)
    assert site.alarm()["state"] == "firing"
    assert site.alarm()["since"] == 1_000_000_000


async def test_a_broker_that_was_away_is_told_again_and_one_that_is_full_later(sites):
    site = sites()
    site.link_full = True
    await site.hot()
    assert site.messages == []
    site.link_full = False
    await site.look(1)
    await site.look(1)
    assert len(site.messages) == 1
    site.alarming.broker_up()
    await site.look(1)
    assert len(site.messages) == 2


async def test_there_are_never_more_alarms_than_can_be_kept(sites, monkeypatch):
    rules = [Rule(f"r{number}", HOT.selector, Metric.PROPERTY, "plant", "t", threshold=80.0) for number in range(MOST)]
    site = sites([*rules, HOT])
    site.report(t=90.0)
    await site.look(1)
    await site.look(20)
    assert len(site.alarms()) == MOST
    assert "hot.boiler.gw-1" not in site.alarms()
    site.report(t=10.0)
    await site.look(1)
    site.report(t=90.0)
    site.follow([HOT])
    await site.look(10)
    await site.look(10)
    assert site.alarms() == ["hot.boiler.gw-1"]


def test_names_of_alarms_are_names_and_never_the_same():
    boiler = Subject("device", "plant", "b.c")
    keys = [
        alarm_key(Rule("a", HOT.selector, Metric.PROPERTY), boiler, "gw-1"),
        alarm_key(Rule("a.b", HOT.selector, Metric.PROPERTY), Subject("device", "plant", "c"), "gw-1"),
        alarm_key(Rule("a" * 63, HOT.selector, Metric.PROPERTY), boiler, "gw-1"),
        alarm_key(Rule("a" * 63, HOT.selector, Metric.PROPERTY), boiler, "gw-2"),
        alarm_key(Rule("a", HOT.selector, Metric.PROPERTY), Subject("gateway", "default", "gw-1"), "gw-1"),
    ]
    assert len(set(keys)) == len(keys)
    assert all(TwinKey.parse(str(key)) == key for key in keys)
    assert str(keys[-1]) == "alarm/default/a.gw-1"


def test_every_own_rule_is_of_a_kind_of_its_own_name():
    assert len({rule.name for rule in OWN}) == len(OWN)
    assert all(rule.own and rule.enabled and rule.selector.namespace == EVERY for rule in OWN)
    assert AlarmState.FIRING.fires
    assert not AlarmState.PENDING.fires
    assert Operator("==") is Operator.EQUAL
